import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import av
import pyarrow as pa
import pytest
import typer
from command_line import write_parquet
from object_storage import free_port
from PIL import Image
from records import failure_of, result_of, small_disk

from flows.cli import app
from tempprop import store as store_module
from tempprop.attention import SELF_ATTENTION
from tempprop.config import config_names
from tempprop.doctor import LIBRARIES
from tempprop.families import FAMILIES
from tempprop.objects import write_object
from tempprop.store import commit, open_store, write_failure

FAST = [
    *("--set", "clip.width=32", "--set", "clip.height=32"),
    *("--set", "clip.num_frames=3", "--set", "clip.num_inference_steps=2"),
]
TEMPPROP = str(Path(sysconfig.get_path("scripts")) / "tempprop")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.fixture
def manifest(here):
    return write_parquet(here / "clips.parquet", clip_id=["a", "b"], prompt=["x", "y"])


# Bad manifests


def no_manifest(path):
    pass


def not_parquet(path):
    path.write_text("clip_id,prompt\na,x\n")


def without_rows(path):
    write_parquet(path, clip_id=pa.array([], pa.string()), prompt=pa.array([], pa.string()))


def without_prompt(path):
    write_parquet(path, clip_id=["a"])


def with_text_for_a_number(path):
    write_parquet(path, clip_id=["a"], prompt=["x"], fps=["fast"])


def with_a_clip_twice(path):
    write_parquet(path, clip_id=["a", "a"], prompt=["x", "y"])


def with_a_misspelt_column(path):
    write_parquet(path, clip_id=["a"], prompt=["x"], widht=[64])


@pytest.mark.parametrize("command", ["render", "plan", "validate"])
@pytest.mark.parametrize(
    ("write", "words"),
    [
        (no_manifest, ["there is no such file", "Check the path"]),
        (not_parquet, ["is not a Parquet file", "tempprop manifest from-csv"]),
        (without_rows, ["holds no clips", "Give at least one row"]),
        (without_prompt, ["column 'prompt': the column is missing", "Add it"]),
        (with_text_for_a_number, ["column 'fps': the column holds string, not numbers"]),
        (with_a_clip_twice, ["row 2, column 'clip_id'", "(value: 'a')"]),
        (with_a_misspelt_column, ["column 'widht': there is no such column", "width"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_manifest(refused, here, command, write, words):
    write(here / "bad.parquet")
    out = [] if command == "validate" else ["--out", "library"]
    message = refused(command, "bad.parquet", *out)
    assert "bad.parquet: 1 problem" in message
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize("command", ["render", "plan"])
def test_a_condition_over_a_column_that_is_not_there(refused, manifest, command):
    message = refused(command, manifest, "--out", "library", "--where", "prio > 3")
    assert "where 'prio > 3' is not a condition over the columns" in message
    assert "priority" in message


def test_a_name_that_is_empty(refused, manifest):
    assert "its name is empty" in refused("render", "", "--out", "library")
    assert "output location is empty" in refused("render", manifest, "--out", "")


@pytest.mark.parametrize("command", ["render", "plan", "validate"])
def test_rates_that_the_encoder_or_the_interpolation_cannot_take(refused, here, command):
    write_parquet(here / "fast.parquet", clip_id=["a", "b"], prompt=["x", "y"], fps=[24.0, 60.0])
    out = [] if command == "validate" else ["--out", "library"]
    for setting, words in (
        ("encoder.profile=gif", "row 2, column 'fps': the profile gif holds at most 50 frames"),
        ("finishing.interpolate_fps=24", "row 1, column 'fps': finishing.interpolate_fps is 24"),
    ):
        assert words in refused(command, "fast.parquet", *out, "--set", setting)


# Bad configurations


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--config", "sdlx"], ["no configuration 'sdlx'", "Did you mean 'sdxl'?"]),
        (["--config", "none.yaml"], ["configuration none.yaml", "does not exist", "mini"]),
        (["--set", "clip.num_frame=3"], ["clip.num_frame:", "did you mean clip.num_frames?"]),
        (["--set", "num_workers=3"], ["did you mean workers.num_workers?"]),
        (["--set", "clip.fps=fast"], ["clip.fps", "valid number", "(value: 'fast')"]),
        (["--set", "clip.width=100"], ["clip.width", "multiple of 8", "(value: 100)"]),
        (["--set", "clip.fps"], ["'clip.fps' is not of the form key=value"]),
        (["--set", "clip={"], ["clip={ is not proper YAML"]),
        (["--set", "encoder.crf=64"], ["encoder: crf 64", "profile h264, which takes 0 to 51"]),
        (["--set", "encoder.profile=mp4"], ["encoder.profile", "'h264'", "(value: 'mp4')"]),
        (["--set", "scheduler.name=PNDMScheduler"], ["PNDMScheduler", "EulerDiscreteScheduler"]),
    ],
    ids=lambda value: value[1] if value[0].startswith("--") else "",
)
@pytest.mark.parametrize("command", ["render", "plan", "preview"])
def test_a_bad_configuration(refused, manifest, command, options, words):
    source, out = ("a red balloon", "clip.mp4") if command == "preview" else (manifest, "library")
    message = refused(command, source, "--out", out, *options)
    assert [word for word in words if word not in message] == []


# Bad pictures


@pytest.mark.parametrize("command", ["render", "plan"])
def test_all_bad_pictures_are_told_at_once(refused, here, command):
    Image.new("RGB", (8, 8)).save(here / "good.png")
    (here / "text.png").write_text("no picture")
    pictures = ["good.png", None, "gone.png", "text.png", "gone.png"]
    ids = ["a", "b", "c", "d", "e"]
    source = write_parquet(here / "p.parquet", clip_id=ids, prompt=ids, init_image=pictures)
    message = refused(command, source, "--out", "library")
    assert message.splitlines() == [
        f"error: {source}: 3 problems",
        "  row 3, column 'init_image': is not there (value: 'gone.png'). Check the path",
        "  row 4, column 'init_image': is no PNG, JPEG, WebP or TIFF (value: 'text.png'). "
        "Save it as one of these",
        "  row 5, column 'init_image': is not there (value: 'gone.png'). Check the path",
    ]
    assert "row 3" in refused(command, source, "--out", "library", "--where", "clip_id = 'c'")


def test_validate_looks_at_the_text_of_pictures_only(call, here):
    source = write_parquet(here / "p.parquet", clip_id=["a"], prompt=["x"], init_image=["gone.png"])
    assert call("validate", source).code == 0
    empty = write_parquet(here / "e.parquet", clip_id=["a"], prompt=["x"], init_image=[""])
    assert "Give the path or URI of a picture" in call("validate", empty).err


def test_a_preview_from_a_picture_that_is_not_there(refused):
    words = ("a red balloon", "--out", "a.mp4", "--init-image", "gone.png")
    assert "the picture 'gone.png' is not there" in refused("preview", *words)


# Bad models


def empty_directory(checkpoint):
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


def bad_json(checkpoint):
    (checkpoint / "model_index.json").write_text("{")


def nameless(checkpoint):
    (checkpoint / "model_index.json").write_text("[]")


def picture_to_picture(checkpoint):
    index = json.loads((checkpoint / "model_index.json").read_text())
    index["_class_name"] = "StableDiffusionImg2ImgPipeline"
    (checkpoint / "model_index.json").write_text(json.dumps(index))


def half_downloaded(checkpoint):
    shutil.rmtree(checkpoint / "vae")
    (checkpoint / "unet" / "diffusion_pytorch_model.safetensors").unlink()


def pickled(checkpoint):
    weights = checkpoint / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))


def pndm(checkpoint):
    index = json.loads((checkpoint / "model_index.json").read_text())
    index["scheduler"][1] = "PNDMScheduler"
    (checkpoint / "model_index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("command", ["render", "plan", "preview", "describe"])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (empty_directory, ["has no model_index.json", "save_pretrained"]),
        (bad_json, ["model_index.json", "cannot be read", "line 1"]),
        (nameless, ["does not name a pipeline"]),
        (picture_to_picture, ["is a StableDiffusionImg2ImgPipeline", "StableDiffusionXLPipeline"]),
        (half_downloaded, ["is incomplete: it lacks vae, the weights in unet", "Download"]),
        (pickled, ["no safetensors weights in unet/", "allow_pickle"]),
        (pndm, ["PNDMScheduler cannot propagate", "scheduler.name", "DDIMScheduler"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_model(refused, manifest, here, tiny_checkpoint, command, spoil, words):
    spoil(Path(shutil.copytree(tiny_checkpoint, here / "bad")))
    commands = {
        "preview": ["preview", "x", "--out", "clip.mp4", "--set", "model=bad"],
        "describe": ["models", "describe", "bad"],
    }
    batch = [command, manifest, "--out", "library", "--set", "model=bad"]
    message = refused(*commands.get(command, batch))
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("nowhere", ["no model 'nowhere'", "a hub id (owner/name)"]),
        ("no/where", ["no directory 'no/where' here", "hub", "network"]),
        ("memory://nowhere/model", ["no model at 'memory://nowhere/model'"]),
        ("ftps3://user:secret@nowhere/model", ["'ftps3://nowhere/model'", "not known"]),
    ],
)
def test_a_model_that_is_nowhere(refused, manifest, model, words):
    message = refused("render", manifest, "--out", "library", "--set", f"model={model}")
    assert [word for word in words if word not in message] == []
    assert "secret" not in message


def test_weights_that_only_one_row_asks_for(refused, call, here, tiny_checkpoint):
    lora = pa.array([None, [{"path": "none.safetensors", "weight": 1.0}]])
    write_parquet(here / "l.parquet", clip_id=["a", "b"], prompt=["x", "y"], loras=lora)
    batch = ["l.parquet", "--out", "library", "--set", f"model={tiny_checkpoint}"]
    for command in ("render", "plan"):
        assert "the LoRA 'none.safetensors' is not one file" in refused(command, *batch)
    assert call("plan", *batch, "--limit", "1").code == 0
    assert call("plan", *batch, "--where", "clip_id = 'a'").code == 0


# Bad outputs


def test_an_output_in_the_place_of_a_file(refused, manifest, here):
    (here / "file").write_text("precious")
    for out in ("file", "file/below"):
        message = refused("render", manifest, "--out", out)
        assert f"{out}: could not create" in message
        assert "a file is where a directory should be. Choose another place" in message
    for command in (["plan", manifest, "--out"], ["status"]):
        assert "file is a file. Give the directory of an output" in refused(*command, "file")
    assert "no directory file: make it" in refused("preview", "a red car", "--out", "file/a.mp4")
    assert (here / "file").read_text() == "precious"


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("ftps3://bucket/x", ["ftps3://bucket/x", "Protocol not known"]),
        ("s3:/bucket/x", ["two slashes"]),
        ("s3://", ["the bucket is missing", "s3://BUCKET/PREFIX"]),
        ("s3://key:secret@bucket/x", ["credentials", "AWS_SECRET_ACCESS_KEY"]),
    ],
)
def test_an_output_that_is_no_location(refused, manifest, out, words):
    for command in (["render", manifest, "--out"], ["plan", manifest, "--out"], ["status"]):
        message = refused(*command, out)
        assert [word for word in words if word not in message] == []
        assert "key:secret" not in message


def test_credentials_in_a_uri_are_refused_and_never_shown(refused, manifest):
    uri = "s3://key:secret@bucket/x"
    for command in (
        ["validate", uri],
        ["validate", manifest, "--config", f"{uri}.yaml"],
        ["models", "describe", uri],
        ["render", manifest, "--out", "library", "--set", f"model={uri}"],
        ["manifest", "from-csv", f"{uri}.csv", "clips.parquet"],
    ):
        message = refused(*command)
        assert "s3://bucket/x" in message
        assert "credentials" in message
        assert "secret" not in message.replace("AWS_SECRET", "")


@pytest.mark.parametrize("words", [["status"], ["why"]])
def test_a_place_where_nothing_was_rendered(refused, words):
    clip = ["a"] if words == ["why"] else []
    assert "there is no output at nowhere" in refused(*words, "nowhere", *clip)


@pytest.mark.chaos
def test_a_full_disk(refused, manifest, here, tiny_checkpoint):
    with small_disk(here, 40_000) as disk:
        with pytest.raises(OSError, match="No space left"):
            (disk / "filler").write_bytes(bytes(80_000))
        options = ["--set", f"model={tiny_checkpoint}"]
        message = refused("render", manifest, "--out", disk / "library", *options)
        assert "the disk is full. Free some space" in message


@pytest.mark.chaos
def test_a_disk_that_fills_up_during_a_preview(call, here, tiny_checkpoint):
    with small_disk(here, 40_000) as disk:
        (disk / "filler").write_bytes(bytes(36_000))
        options = ["--set", f"model={tiny_checkpoint}", *FAST]
        answer = call("preview", "x", "--out", disk / "clip.mp4", *options)
        assert (answer.code, answer.out) == (1, "")
        assert "the disk is full" in answer.err
        assert sorted(disk.iterdir()) == [disk / "filler"]


# Object storage


@pytest.mark.s3
def test_a_bucket_that_is_missing(refused, manifest, s3_uri):
    nowhere = "s3://tempprop-nowhere/x"
    for command in ("render", "plan"):
        assert f"{nowhere}: " in (message := refused(command, manifest, "--out", nowhere))
        assert "the bucket does not exist. Create it, or correct the URI" in message
    assert "there is no such file" in refused("validate", f"{nowhere}.parquet")
    message = refused("models", "describe", nowhere)
    assert f"the model '{nowhere}' cannot be had: the bucket does not exist" in message


@pytest.mark.s3
@pytest.mark.parametrize("secret", ["a-wrong-secret", None])
def test_credentials_that_are_wrong_or_missing(refused, manifest, s3_uri, monkeypatch, secret):
    if secret is None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    else:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    for command in (
        ["render", manifest, "--out", s3_uri],
        ["plan", manifest, "--out", s3_uri],
        ["status", s3_uri],
        ["validate", f"{s3_uri}/clips.parquet"],
        ["models", "describe", f"{s3_uri}/model"],
        ["validate", manifest, "--config", f"{s3_uri}/look.yaml"],
    ):
        message = refused(*command)
        assert s3_uri in message
        # The answer to some requests of S3 has no body, and does not say why they are refused.
        assert "credentials are missing or not accepted" in message or "denied" in message
        assert "Set AWS_ACCESS_KEY_ID" in message or "Check the credentials" in message
        assert "a-wrong-secret" not in message


@pytest.mark.s3
def test_an_endpoint_that_nobody_listens_at(refused, manifest, s3_uri, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(store_module, "CHECK_DEADLINE_SECONDS", 2.0)
    for command in (
        ["render", manifest, "--out", s3_uri],
        ["plan", manifest, "--out", s3_uri],
        ["status", s3_uri],
        ["validate", f"{s3_uri}/clips.parquet"],
        ["models", "describe", f"{s3_uri}/model"],
    ):
        message = refused(*command)
        assert s3_uri in message
        assert "the storage does not answer" in message
        assert "Check the network and the endpoint (AWS_ENDPOINT_URL" in message


# What people and programs read


def commands(group, path=()):
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


@pytest.mark.parametrize("path", list(commands(typer.main.get_command(app))), ids=" ".join)
def test_every_command_has_help_with_an_example(call, path):
    answer = call(*path, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert "Example: " + " ".join(("tempprop", *path)) in answer.out


@pytest.mark.parametrize(
    "words",
    [
        ["render"],
        ["render", "clips.parquet"],
        ["render", "clips.parquet", "--out", "library", "--turbo"],
        ["render", "clips.parquet", "--out", "library", "--workers", "0"],
        ["render", "clips.parquet", "--out", "library", "--limit", "many"],
        ["preview", "x", "--out", "clip.mp4", "--seed", "-1"],
        ["preview", "x", "--out", "clip.mp4", "--seed", str(2**63)],
        ["rendr"],
        ["models", "delete"],
        [],
    ],
    ids=" ".join,
)
def test_usage_errors(call, here, words):
    answer = call(*words)
    assert answer.code == 2
    assert "Usage: tempprop" in answer.out + answer.err
    assert list(here.iterdir()) == []


def test_the_version(call):
    assert call("--version").out == call("version").out == "0.1.0\n"


@pytest.mark.parametrize("columns", ["80", None])
def test_the_list_of_models_has_one_line_for_each(call, monkeypatch, columns):
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    else:
        monkeypatch.delenv("COLUMNS")
    lines = call("models", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == ["config", *config_names()]
    assert "…" not in "".join(lines)


def test_the_families_have_a_line_each_with_what_they_support(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    header, *lines = call("models", "families").out.splitlines()
    assert header.split() == ["models", "pipeline", "negative", "attention", "prompts"]
    for line, family in zip(lines, FAMILIES.values(), strict=True):
        start = f"{family.models}  "
        name, negative_prompt, attention, *travel = line.removeprefix(start).split()
        assert line.startswith(start)
        assert f"{name}Pipeline" == family.pipeline_class
        assert (attention == "✓") == (family.pipeline_class in SELF_ATTENTION)
        assert (travel == ["✓"]) == (family.prompt_lengths != "apart")
        assert negative_prompt == {"none": "✓", "some": "some", "all": "-"}[family.distilled]


def test_the_embedded_model_describes_itself(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    answer = call("models", "describe", "mini")
    assert (answer.code, answer.err) == (0, "")
    assert max(map(len, answer.out.splitlines())) <= 80
    for word in ("StableDiffusionPipeline", "things", "balloon", "backgrounds", "at dusk"):
        assert word in answer.out


def test_the_doctor_finds_a_healthy_installation(call, here, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    answer = call("doctor", "--out", "library")
    assert (answer.code, answer.err) == (0, "")
    assert "…" not in answer.out
    assert "bad" not in answer.out
    for word in (*LIBRARIES, "ffmpeg version", "embedded model", "GB free", "create-only writes"):
        assert word in answer.out
    assert list(here.iterdir()) == []


def test_the_doctor_says_what_is_bad(call, here):
    (here / "file").write_text("")
    answer = call("doctor", "--out", "file")
    assert answer.code == 1
    assert "output          bad" in answer.out


def test_a_plan_for_people_and_for_programs(call, here, manifest):
    answer = call("plan", manifest, "--out", "library", "--cost-per-hour", "2")
    assert (answer.code, answer.err) == (0, "")
    facts = dict(line.rsplit("  ", 1) for line in map(str.strip, answer.out.splitlines()))
    assert {name.strip(): value.strip() for name, value in facts.items()} == {
        "clips": "2",
        "committed": "0",
        "to render": "2",
        "frames to render": "32",
        "models": "mini (2)",
        "workers": "1",
        "hours": "not known yet",
        "cost": "not known yet",
    }
    for_programs = call("plan", manifest, "--out", "library", "--json", "--workers", "4")
    assert for_programs.err == ""
    assert (for_programs.json["to_render"], for_programs.json["workers"]) == (2, 4)
    assert for_programs.json["hours"] is None
    assert list(here.iterdir()) == [manifest]


def test_a_valid_manifest(call, manifest):
    answer = call("validate", manifest)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == f"{manifest}: 2 clips, no problems\n"


@pytest.fixture
def library(here):
    """An output with a run that ended, one that did not, and two clips."""
    store = open_store(str(here / "library"))
    commit(store, result_of("good"))
    write_failure(store, failure_of("bad"))
    summary = {"run_id": "night-1", "total": 2, "committed": 1, "failed": 1, "seconds": 1234.5}
    write_object(store, "runs/night-1/summary.json", json.dumps(summary).encode())
    write_object(store, "runs/night-2/plan.json", b"{}")
    return "library"


def test_the_status_of_an_output(call, library):
    answer = call("status", library)
    assert (answer.code, answer.err) == (0, "")
    for line in ("committed", "dead letters", "latest run id", "night-1", "1,234.5"):
        assert line in answer.out
    facts = call("status", library, "--json").json
    assert (facts["committed"], facts["dead_letters"], facts["runs"]) == (1, 1, 2)
    assert (facts["latest_run_id"], facts["latest_total"]) == ("night-1", 2)


def test_why_a_clip_is_as_it_is(call, refused, library):
    good, bad = call("why", library, "good"), call("why", library, "bad")
    assert (good.code, good.err, bad.code, bad.err) == (0, "", 0, "")
    assert good.out.startswith("good: committed 2026-01-01 00:00:00 UTC\n")
    assert bad.out.startswith("bad: given up 2026-01-01 00:00:00 UTC\n")
    assert "RenderError: no" in bad.out
    assert "library knows no clip 'other'" in refused("why", library, "other")


# Previews


def test_a_preview_is_a_clip_and_a_poster(call, here, tiny_checkpoint):
    answer = call(
        *("preview", "a red balloon", "--out", "balloon.mp4", "--seed", "3"),
        *("--set", f"model={tiny_checkpoint}", *FAST),
    )
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "balloon.mp4: 3 frames, 32x32, 0.4 s\n"
    assert sorted(path.name for path in here.iterdir()) == ["balloon.jpg", "balloon.mp4"]
    with av.open(str(here / "balloon.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 3


def test_a_preview_starts_from_a_picture(call, here, tiny_checkpoint):
    def poster(*words):
        words = ("preview", "x", "--out", "a.mp4", "--set", f"model={tiny_checkpoint}", *words)
        assert call(*words, *FAST).code == 0
        return (here / "a.jpg").read_bytes()

    Image.new("RGB", (8, 8), "red").save(here / "art.png")
    assert poster("--init-image", "art.png") != poster()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("clip.mov", "a preview with the profile h264 is an .mp4 file, not 'clip.mov'"),
        ("clip", "a preview with the profile h264 is an .mp4 file, not 'clip'"),
        (".mp4", "a preview with the profile h264 is an .mp4 file, not '.mp4'"),
        ("nowhere/clip.mp4", "there is no directory nowhere"),
        ("folder.mp4", "folder.mp4 is a directory"),
        ("/proc/clip.mp4", "nothing can be written in /proc"),
    ],
)
def test_names_that_no_preview_can_have(refused, here, out, message):
    (here / "folder.mp4").mkdir()
    assert message in refused("preview", "x", "--out", out)


def test_a_preview_of_nothing(refused):
    assert "the prompt is empty" in refused("preview", "  ", "--out", "clip.mp4")


def test_words_that_the_embedded_model_does_not_know(call):
    answer = call("preview", "a red zebra", "--out", "zebra.mp4", *FAST)
    assert answer.code == 0
    assert answer.err == (
        "warning: the embedded model does not know: zebra. "
        "`tempprop models describe mini` lists what it knows\n"
    )


# As a shell runs it


def test_a_bad_input_in_a_process_of_its_own(manifest, here):
    command = [TEMPPROP, "render", manifest, "--out", "library", "--set", "model=nowhere"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith("error: there is no model 'nowhere'")
    assert list(here.iterdir()) == [manifest]


def test_a_preview_loads_neither_ray_nor_prefect(here, tiny_checkpoint):
    script = (
        "import atexit, sys; from flows.cli import main; "
        "atexit.register(lambda: print({'ray', 'prefect'} & set(sys.modules), file=sys.stderr)); "
        "main()"
    )
    words = ["preview", "x", "--out", "clip.mp4", "--set", f"model={tiny_checkpoint}", *FAST]
    ended = subprocess.run(
        [sys.executable, "-c", script, *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "100"},
    )
    assert (ended.returncode, ended.stderr) == (0, "set()\n")
    assert ended.stdout.startswith("clip.mp4: 3 frames")


def test_a_preview_does_not_replace_the_picture_that_it_starts_from(refused, here):
    Image.new("RGB", (8, 8), "red").save(here / "photo.jpg")
    before = (here / "photo.jpg").read_bytes()
    options = ("--out", "photo.mp4", "--init-image", "photo.jpg")
    assert "would replace 'photo.jpg'" in refused("preview", "a fish", *options)
    assert (here / "photo.jpg").read_bytes() == before
