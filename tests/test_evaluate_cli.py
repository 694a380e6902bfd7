"""`tempprop evaluate` at its border: real files in, a report out, and clear words for bad input."""

import json
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import with_random_weights
from media_files import commit_clip, write_clip
from PIL import Image
from safetensors.torch import save_file

from tempprop.errors import ClipError
from tempprop.evaluation.clip_metrics import picture_figures
from tempprop.evaluation.evaluate import MEASURING, Request, evaluate
from tempprop.evaluation.frechet import frechet_distance, gaussian_of
from tempprop.evaluation.i3d import video_features
from tempprop.evaluation.judges import JUDGES, description, judge_path, load_judge
from tempprop.evaluation.lpips import perceptual_distances
from tempprop.evaluation.metrics import METRICS
from tempprop.evaluation.sources import named_sources
from tempprop.mini.world import draw_video
from tempprop.objects import open_store
from tempprop.studies.films import LIVELY, drawn_film
from tempprop.studies.subjects import subjects

FRAMES = 5
ROOT = Path(__file__).parents[1]
PLAIN = ("--metrics", "motion,jump,frozen", "--resamples", 50)


def films(count=3):
    return [(subject, drawn_film(subject, FRAMES)) for subject in subjects(count)]


def noisy(frames):
    noise = np.random.default_rng(0).normal(0, 12, frames.shape)
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Two directories of the same three clips, without loss; the second one is noisy."""
    root = tmp_path_factory.mktemp("library")
    for number, (subject, film) in enumerate(films()):
        write_clip(root / f"good/{number}.mkv", film, subject.prompt)
        write_clip(root / f"noisy/{number}.mkv", noisy(film), subject.prompt)
    return root


@pytest.fixture(scope="module")
def judges(tmp_path_factory):
    """Judges of random weights, as files."""
    directory = tmp_path_factory.mktemp("judges")
    for name, judge in JUDGES.items():
        weights = with_random_weights(judge.network()).state_dict()
        save_file(weights, judge_path(name, directory), description(name, weights))
    return directory


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TEMPPROP_JUDGES", str(tmp_path / "no-judges"))
    return tmp_path


def still(path, num_frames=3, size=32):
    return write_clip(path, np.full((num_frames, size, size, 3), 90, np.uint8))


def test_the_figures_are_those_of_the_clips(call, library):
    answer = call("evaluate", library / "good", "--json", "--resamples", 50)
    assert answer.code == 0
    (row,) = answer.json["rows"]
    assert (row["clips"], row["width"], row["height"], row["fewest_frames"]) == (3, 128, 128, 5)
    for number, (_, film) in enumerate(films()):
        expected = picture_figures(film)
        found = row["by_clip"][str(number)]
        assert found == pytest.approx({"recognized": 1} | expected)
    for name, estimate in row["figures"].items():
        values = [clip[name] for clip in row["by_clip"].values()]
        assert estimate["value"] == pytest.approx(np.mean(values))
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
        assert (estimate["clips"], estimate["reference_clips"]) == (3, None)


def test_what_cannot_be_had_is_left_out_with_a_word(call, here):
    still(here / "clips/a.mkv")
    answer = call("evaluate", "clips", "--json")
    assert answer.code == 0
    assert "recognized" in answer.json["left_out"]
    assert "recognized" not in answer.json["metrics"]
    assert "left out: recognized: it takes a prompt in the words of the embedded" in answer.err


@pytest.mark.slow
def test_distances_are_those_of_the_features(call, here, judges):
    films = [draw_video(subject.scene, LIVELY, 9, 48) for subject in subjects(4)]
    for number, film in enumerate(films):
        write_clip(here / f"{'real' if number < 2 else 'ours'}/{number}.mkv", film)
    write_clip(here / "ours/short.mkv", films[0][:8])
    answer = call(
        *("evaluate", "ours", "again=real", "--reference", "real", "--frames", 9, "--json"),
        *(
            "--judges",
            judges,
            "--resamples",
            20,
            "--metrics",
            "fvd,fid,lpips,consistency",
            "--out",
            "report",
        ),
    )
    ours, again = answer.json["rows"]
    assert (answer.json["reference"], answer.json["reference_clips"]) == ("real", 2)

    i3d = load_judge("i3d", judges)
    real, made = (
        gaussian_of(np.stack([video_features(i3d, film) for film in group]))
        for group in (films[:2], films[2:])
    )
    fvd, fid = ours["figures"]["fvd"], ours["figures"]["fid"]
    assert fvd["value"] == pytest.approx(frechet_distance(real, made), rel=1e-4)
    # The short clip counts for what looks at single frames only.
    assert (fvd["clips"], fvd["reference_clips"], fid["clips"]) == (2, 2, 3)
    assert "ours: FVD is of 2 of its 3 clips, those with all of the frames" in answer.err
    assert "FVD has a large bias where clips are few (2 of each)" in answer.err
    for name in ("fvd", "fid"):
        own = again["figures"][name]
        assert own["value"] == pytest.approx(0, abs=1e-3 * ours["figures"][name]["value"])
        assert own["low"] == 0 < own["high"]
    lpips = load_judge("lpips", judges)
    expected = perceptual_distances(lpips, films[3]).mean()
    assert ours["by_clip"]["3"]["lpips"] == pytest.approx(expected, rel=1e-4)
    assert ours["by_clip"]["3"]["consistency"] <= 1
    assert "fvd" not in ours["by_clip"]["3"]


def test_judges_that_are_missing(call, refused, here):
    still(here / "clips/a.mkv")
    answer = call("evaluate", "clips", "--reference", "clips", "--json", "--resamples", 0)
    assert answer.code == 0
    missing = {"fvd", "fid", "lpips", "consistency"}
    assert set(answer.json["left_out"]) == missing | {"fvmd", "recognized"}
    assert "left out: fvd: the weights of the judge 'i3d' are not at" in answer.err
    remedy = f"python -m tempprop.evaluation.prepare_judges {here / 'no-judges'}"
    assert remedy in answer.err
    message = refused("evaluate", "clips", "--metrics", "motion,lpips")
    assert "lpips cannot be had: the weights of the judge 'lpips' are not at" in message
    assert remedy in message


def test_distances_take_a_reference(call, refused, here):
    still(here / "clips/a.mkv")
    reason = "it compares with real clips. Give them with --reference"
    assert f"left out: fvd, fvmd, fid: {reason}" in call("evaluate", "clips", "--json").err
    assert f"fvd cannot be had: {reason}" in refused("evaluate", "clips", "--metrics", "fvd,motion")


def test_rows_with_the_same_clips_are_compared_clip_by_clip(call, library):
    sources = (f"plain={library}/good", f"noise={library}/noisy")
    answer = call("evaluate", *sources, "--json", "--resamples", 100, "--metrics", "flicker,motion")
    plain, noise = answer.json["rows"]
    assert (plain["name"], noise["name"]) == ("plain", "noise")
    assert plain["differences"] == {}
    difference = noise["differences"]["flicker"]
    means = [row["figures"]["flicker"]["value"] for row in (plain, noise)]
    assert difference["value"] == pytest.approx(means[1] - means[0])
    assert 0 < difference["low"] < difference["high"]
    # Clip by clip, the noise is nearly the same: their difference is surer than each of them.
    spread = difference["high"] - difference["low"]
    own = noise["figures"]["flicker"]
    assert spread < own["high"] - own["low"]


def test_an_evaluation_is_the_same_again_and_follows_its_seed(call, library):
    few = ("--json", "--metrics", "motion", "--resamples", 9)

    def interval(*options):
        answer = call("evaluate", library / "good", *few, *options)
        return answer.json["rows"][0]["figures"]["motion"]

    assert interval() == interval()
    assert interval("--seed", 1) != interval()
    assert interval("--seed", 1)["value"] == interval()["value"]
    sharp = interval("--resamples", 0)
    assert sharp["low"] == sharp["value"] == sharp["high"]


def test_only_the_first_frames_count(call, here):
    film = films(1)[0][1]
    write_clip(here / "long/a.mkv", film)
    write_clip(here / "short/a.mkv", film[:3])
    answer = call("evaluate", "long", "short", "--frames", 3, "--json", *PLAIN)
    long, short = answer.json["rows"]
    assert long["by_clip"] == short["by_clip"]
    assert long["fewest_frames"] == 3


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_report_says_what_was_found(call, here, library):
    answer = call("evaluate", library / "good", f"b|ad={library}/noisy", "--out", "report", *PLAIN)
    assert answer.code == 0
    assert "measuring good, 0 of 6 done" in answer.err
    assert "resampling b|ad, 1 of 2 done" in answer.err
    assert [line.split()[0] for line in answer.out.splitlines()[1:5]] == [
        *("clips", "jump"),
        *("motion,", "frozen"),
    ]
    found = json.loads((here / "report/evaluation.json").read_text())
    page = (here / "report/evaluation.md").read_text()
    with Image.open(here / "report/evaluation.png") as plot:
        assert plot.format == "PNG"
        assert np.asarray(plot).std() > 5
    header, _, good, bad, *_ = (line for line in page.splitlines() if line.startswith("| "))
    assert cells(header) == ["clips of", "clips", "jump →1", "motion, px/frame", "frozen ↓"]
    figure = found["rows"][0]["figures"]["motion"]
    assert cells(good)[:2] == ["good", "3"]
    assert cells(good)[3].startswith(f"{figure['value']:.2f} [{figure['low']:.2f}, ")
    assert bad.startswith("| b\\|ad | 3 |")
    assert "The mean difference to good, clip by clip" in page
    assert page.count("- **") == 3
    for name in ("evaluation.json", "evaluation.md", "evaluation.png"):
        assert f"report/{name}" in answer.out


def test_a_second_evaluation_measures_only_what_is_new(call, here, library):
    options = ("--out", "report", "--json", "--metrics", "motion,recognized", "--resamples", 20)
    first = call("evaluate", library / "good", *options).json
    kept = {path: path.stat().st_mtime_ns for path in (here / "report/features").iterdir()}
    # Three clips, each looked at, and seen by two instruments.
    assert len(kept) == 9
    again = call("evaluate", library / "good", *options).json
    assert again == first
    assert {p: p.stat().st_mtime_ns for p in (here / "report/features").iterdir()} == kept

    # What is kept is what is used, found by content, not by name; damaged files count for none.
    (here / "moved").mkdir()
    (here / "moved/other.mkv").write_bytes((library / "good/0.mkv").read_bytes())
    moved = call("evaluate", "moved", *options).json["rows"][0]
    assert moved["by_clip"]["other"] == first["rows"][0]["by_clip"]["0"]
    assert len(list((here / "report/features").iterdir())) == 9
    for path in kept:
        path.write_bytes(path.read_bytes()[:-30])
    assert call("evaluate", library / "good", *options).json == first
    call("evaluate", library / "good", library / "noisy", *options)
    assert len(list((here / "report/features").iterdir())) == 18


def test_an_interrupted_evaluation_goes_on(here, library):
    request = Request((str(library / "good"),), metrics=("motion",), resamples=10)
    store = open_store("report")

    def interrupt(doing, done, total):
        assert 0 <= done < total == 3
        if doing.startswith(MEASURING) and done == 2:
            raise KeyboardInterrupt

    def kept():
        return {path: path.stat().st_mtime_ns for path in (here / "report/features").iterdir()}

    with pytest.raises(KeyboardInterrupt):
        evaluate(request, store, interrupt)
    before = kept()
    # Three clips were looked at, two were measured.
    assert len(before) == 5
    whole = evaluate(request, store, lambda *_: None)
    assert len(kept()) == 6
    assert before.items() <= kept().items()
    assert whole == evaluate(request, None, lambda *_: None)


@pytest.mark.parametrize("place", ["local", "memory"])
def test_an_output_location_brings_its_prompts(call, here, place):
    store = open_store("out" if place == "local" else f"memory://{uuid.uuid4().hex}")
    one, other = films(2)
    commit_clip(store, "right", one[1], prompt=one[0].prompt)
    commit_clip(store, "wrong", one[1], prompt=other[0].prompt)
    commit_clip(store, "another-world", one[1], prompt="a dragon")
    answer = call("evaluate", store.uri, "--json", "--metrics", "recognized,motion", "--out", "r")
    (row,) = answer.json["rows"]
    assert [clip.get("recognized") for clip in row["by_clip"].values()] == [None, 1, 0]
    assert row["figures"]["recognized"]["clips"] == 2
    assert row["figures"]["motion"]["clips"] == 3
    assert call("evaluate", store.uri, "--json", "--out", "r", "--metrics", "motion").code == 0


def test_a_bucket_can_hold_the_report(call, library):
    out = f"memory://{uuid.uuid4().hex}"
    assert call("evaluate", library / "good", "--out", out, *PLAIN).code == 0
    store = open_store(out)
    assert store.fs.isfile(store.path("evaluation.md"))
    assert store.fs.isfile(store.path("evaluation.json"))


def test_a_file_says_what_clips_show(call, here):
    one, other = films(2)
    write_clip(here / "clips/one.mkv", one[1], prompt="a dragon")
    write_clip(here / "clips/deep/other.mkv", one[1])
    write_clip(here / "clips/third.mkv", one[1])
    lines = [
        {"clip": "one", "prompt": one[0].prompt, "seed": 3},
        {"clip": "deep/other", "prompt": other[0].prompt},
        {"clip": "gone", "prompt": "a boat"},
    ]
    (here / "p.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    answer = call("evaluate", "clips", "--prompts", "p.jsonl", "--json", "--metrics", "recognized")
    clips = answer.json["rows"][0]["by_clip"]
    assert clips == {"deep/other": {"recognized": 0}, "one": {"recognized": 1}, "third": {}}


# Bad input


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("{}", "line 1: Field required"),
        ('{"clip": "a", "prompt": "b"}\n[]', "line 2: "),
        ("\xff", "line 1: "),
        ('{"clip": "b", "prompt": "c"}', "no clip has a name of the prompts: these are of 'b'"),
    ],
)
def test_prompts_that_are_none(refused, here, text, words):
    still(here / "clips/a.mkv")
    if text is not None:
        (here / "p.jsonl").write_text(text)
    message = refused("evaluate", "clips", "--prompts", "p.jsonl")
    assert words in message


def test_there_is_nothing_to_evaluate(refused, here, library):
    (here / "empty").mkdir()
    assert "there are no clips at empty" in refused("evaluate", "empty")
    assert "there are no clips at gone" in refused("evaluate", library / "good", "gone")
    assert "there are no clips at gone" in refused(
        "evaluate", library / "good", "--reference", "gone", "--out", "report"
    )


def test_all_clips_that_cannot_be_evaluated_are_told_at_once(refused, here):
    still(here / "clips/good.mkv")
    (here / "clips/text.mp4").write_text("no film")
    (here / "clips/empty.webm").touch()
    still(here / "clips/single.mkv", num_frames=1)
    still(here / "clips/tiny.mkv", size=8)
    still(here / "others/small.mkv")
    still(here / "others/large.mkv", size=48)
    message = refused("evaluate", "clips", "others", "--out", "report").splitlines()
    assert message[0] == "error: some clips cannot be evaluated:"
    for name, reason in {
        "clips/text.mp4": "it does not decode",
        "clips/empty.webm": "it does not decode",
        "clips/single.mkv": "it has one frame, and a clip takes two",
        "clips/tiny.mkv": "it has 8x8 pixels, and the optical flow takes 16 each way",
        "others": "its clips differ in size: 48x48 (1, such as large), 32x32 (1, such as small)",
    }.items():
        assert len([line for line in message if name in line and reason in line]) == 1
    assert not any("good.mkv" in line for line in message)


def test_metrics_that_there_are_not(refused, library):
    message = refused("evaluate", library / "good", "--metrics", "motion,flikker")
    assert "there is no metric 'flikker'. Did you mean 'flicker'?" in message


def test_a_metric_that_no_clip_can_have(refused, here):
    still(here / "clips/a.mkv")
    message = refused("evaluate", "clips", "--metrics", "recognized")
    assert "recognized cannot be had: it takes a prompt in the words of the embedded" in message


def test_sources_of_one_name(refused, library):
    message = refused("evaluate", f"a={library}/good", f"a={library}/noisy")
    assert "several sources are called 'a'. Name them" in message


def test_a_report_that_cannot_be_written(refused, here, library):
    (here / "file").touch()
    assert "file" in refused("evaluate", library / "good", "--out", "file", *PLAIN)


@pytest.mark.parametrize("package", ["cv2", "matplotlib"])
def test_a_package_that_is_not_installed(library, package):
    script = f"import sys; sys.modules[{package!r}] = None; from flows.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", script, "evaluate", str(library / "good")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "error: an evaluation needs OpenCV and Matplotlib. "
        "Run: pip install 'tempprop[evaluation]'\n"
    )


def test_the_command_line_loads_nothing_before_it_is_asked():
    script = (
        "import sys, flows.cli; print(sorted({'cv2', 'matplotlib', 'torch'} & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"


def test_metrics_have_names_of_their_own():
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert len({metric.heading for metric in METRICS}) == len(METRICS)
    assert all(metric.meaning.endswith(".") for metric in METRICS)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="=/:*?[\0"), min_size=1)


@settings(deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=4, unique=True), st.sampled_from(["a/b", "s3://x/y"]))
def test_names_that_are_given_are_kept(names, source):
    words = [f"{name}={source}" for name in names]
    if len({name.strip() for name in names}) < len(names) or not all(map(str.strip, names)):
        return
    assert named_sources(words) == {name.strip(): source for name in names}


def test_sources_are_named_by_what_tells_them_apart(here):
    assert list(named_sources(["x/one", "y/two/"])) == ["one", "two"]
    assert list(named_sources(["x/one", "y/one"])) == ["x/one", "y/one"]
    (here / "run=3").mkdir()
    assert named_sources(["run=3", "c=s3://b/k=v"]) == {"run=3": "run=3", "c": "s3://b/k=v"}
    with pytest.raises(ClipError, match="several sources are called"):
        named_sources(["same", "same"])
