"""The page that compares the methods: answers follow from the figures, and nothing is left out."""

import json

import pytest
from typer.testing import CliRunner

from tempprop.evaluation.results import Estimate, Evaluation, Row
from tempprop.spec import ClipSettings, ModelIdentity
from tempprop.studies.compare_methods import Comparison, app
from tempprop.studies.comparison_page import NOT_DENOISED, answers, differences, summary_table
from tempprop.studies.method_records import MethodRecord, write_record

FVD = {
    "real": 20.0,
    "real-shuffled": 31.0,
    "real-frozen": 42.0,
    "frozen": 90.0,
    "independent": 300.0,
    "coupled": 60.0,
    "text2video-zero": 62.0,
}
DYNAMIC = {
    "real": 0.5,
    "real-shuffled": 1.0,
    "real-frozen": 0.0,
    "frozen": 0.0,
    "independent": 1.0,
    "coupled": 0.4,
    "text2video-zero": 0.3,
}


FVMD = {name: 10 * value for name, value in FVD.items()}


def estimate(value, spread=5.0):
    return Estimate(value=value, low=value - spread, high=value + spread, clips=8)


def evaluation(fvd=FVD, dynamic=DYNAMIC, fvmd=FVMD):
    """The defaults come first, so that all others are compared with them."""
    ours = fvd["coupled"]
    rows = tuple(
        Row(
            name=name,
            source=f"clips/{name}",
            clips=8,
            width=128,
            height=128,
            fewest_frames=16,
            figures={
                "fvd": estimate(fvd[name]),
                "fvmd": estimate(fvmd[name]),
                "dynamic_degree": estimate(dynamic[name], 0.1),
            },
            differences={}
            if name == "coupled"
            else {"fvd": estimate(fvd[name] - ours), "fvmd": estimate(10 * (fvd[name] - ours))},
            by_clip={"one": {"fvd": 1.0}},
        )
        for name in sorted(fvd, key=lambda name: name != "coupled")
    )
    return Evaluation(
        frames=16,
        resamples=10,
        seed=0,
        level=0.95,
        metrics=("fvd", "fvmd", "dynamic_degree"),
        reference="clips/reference",
        reference_clips=8,
        rows=rows,
        left_out={},
        notes=("FVD of 8 clips says little",),
        versions={},
    )


def record(name):
    return MethodRecord(
        method=name,
        what=f"what {name} does",
        settings={"of": "it"},
        common=ClipSettings(),
        model=ModelIdentity(uri="mini", pipeline_class="StableDiffusionPipeline", digest="0"),
        dtype="float32",
        versions={},
        device="cpu",
        threads=1,
        frames_per_batch=16,
        frames_per_second=1.5,
        peak_memory_bytes=2**30,
    )


def test_answers_follow_from_the_figures():
    told = answers(evaluation())
    share, order, *of_motion, pictures, dynamic = told
    assert "is 60, 20% of that of independent frames. The goal, a third (100), is reached" in share
    assert "FVD of films is 20, of the same with their frames in random order 31" in order
    assert all(answer.startswith("FVMD of") for answer in of_motion)
    assert "held, is 42, of frame 0 of ours 90" in pictures
    assert "40%, that of films 50%: within a half and twice" in dynamic


def test_bad_news_is_told_as_well():
    told = answers(evaluation(FVD | {"coupled": 150.0}, DYNAMIC | {"coupled": 0.1}))
    assert "50% of that of independent frames. The goal, a third (100), is missed" in told[0]
    assert "not within" in told[-1]


def test_the_other_methods_are_told_apart_where_they_can_be():
    lines = differences(evaluation()).split("\n")
    assert lines[0] == "| less the defaults | FVD | FVMD |"
    assert "| frozen | +30 [+25, +35], worse | +300 [+295, +305], worse |" in lines
    assert "| text2video-zero | +2 [-3, +7], not told apart | +20 [+15, +25], worse |" in lines
    assert "| real | -40 [-45, -35], better | -400 [-405, -395], better |" in lines


def test_differences_to_another_row_are_not_taken_for_differences_to_the_defaults():
    found = evaluation()
    others_first = found.model_copy(update={"rows": found.rows[::-1]})
    assert differences(others_first) == ""


def test_what_was_not_measured_is_not_answered():
    alone = {"coupled": 60.0}
    assert answers(evaluation(alone, {"coupled": 0.4}, {"coupled": 6.0})) == []


def test_the_small_table_has_the_domains_beside_each_other():
    records = [record("coupled")]
    less = evaluation({"coupled": 6000.0}, {"coupled": 0.4}, {"coupled": 7.0})
    lines = summary_table([("drawn", records, evaluation()), ("emoji", records, less)]).split("\n")
    assert lines[0].startswith("|  | drawn: FVD | drawn: FVMD | drawn: dynamic | emoji: FVD")
    assert "| propagation, the defaults | 60 | 600 | 40% | 6,000 | 7 | 40% |" in lines
    assert "| Text2Video-Zero | 62 | 620 | 30% | - | - | - |" in lines
    assert not any("feedback" in line for line in lines)


def test_the_looser_coupling_is_asked_too():
    fvd, dynamic = FVD | {"coupled-loose": 150.0}, DYNAMIC | {"coupled-loose": 0.9}
    told = answers(evaluation(fvd, dynamic, FVMD | {"coupled-loose": 300.0}))
    assert "FVD of the looser coupling is 150, 50% of that of independent frames" in told[1]
    assert "FVMD of the looser coupling is 300, 10% of that of independent frames" in told[4]
    assert "of the looser coupling is 90%, that of films 50%: within" in told[-1]


@pytest.fixture
def measured(tmp_path):
    for name in FVD:
        write_record(record(name), tmp_path / f"{name}.json")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "evaluation.json").write_text(evaluation().model_dump_json())
    return tmp_path


def run(measured, domain, out, *options):
    arguments = [measured, measured / "report", "--domain", domain, "--out", out, *options]
    # Wide enough for a path in one line.
    return CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "400"})


def test_the_page_holds_every_method_of_every_domain(measured, tmp_path):
    out = tmp_path / "docs"
    for domain in ("drawn", "emoji"):
        assert run(measured, domain, out).exit_code == 0
    page = (out / "evaluation.md").read_text()
    for domain in ("drawn", "emoji"):
        section = page.split(f"## {domain}\n")[1].split("\n## ")[0]
        for name, value in FVD.items():
            assert f"| {name} | {value:.1f} [{value - 5:.1f}, {value + 5:.1f}] |" in section
            speed = "- | -" if name in NOT_DENOISED else "1.50 | 1.00"
            assert f"| {name} | what {name} does | `of` it | {speed} |" in section
        assert f"(methods-{domain}.png)" in section
        assert (out / f"methods-{domain}.png").read_bytes().startswith(b"\x89PNG")
        assert "FVD of 8 clips says little." in section
        assert "render_methods CLIPS --clips 8 --dtype float32 --fps 8 --model mini\n" in section
        assert "--resamples 10 --out REPORT" in section
    kept = Comparison.model_validate_json((out / "measurements" / "methods-drawn.json").read_text())
    assert all(row.by_clip == {} for row in kept.evaluation.rows)
    assert len(kept.records) == len(FVD)


def test_a_method_without_its_record_is_named(measured, tmp_path):
    (measured / "frozen.json").unlink()
    result = run(measured, "drawn", tmp_path / "docs")
    assert result.exit_code == 2
    assert "frozen.json" in result.output
    assert not (tmp_path / "docs").exists()


def test_a_file_that_is_something_else_is_refused(measured, tmp_path):
    (measured / "real.json").write_text(json.dumps({"method": "real"}))
    result = run(measured, "drawn", tmp_path / "docs")
    assert result.exit_code == 2
    assert "MethodRecord" in result.output


def test_costs_are_those_of_the_quiet_run(measured, tmp_path):
    quiet = tmp_path / "quiet"
    quiet.mkdir()
    for name in FVD:
        fast = record(name).model_copy(update={"frames_per_second": 4.5})
        write_record(fast, quiet / f"{name}.json")
    assert run(measured, "drawn", tmp_path / "docs", "--costs", quiet).exit_code == 0
    assert (
        "| coupled | what coupled does | `of` it | 4.50 | 1.00 |"
        in (tmp_path / "docs" / "evaluation.md").read_text()
    )

    (quiet / "frozen.json").unlink()
    lacking = run(measured, "drawn", tmp_path / "docs", "--costs", quiet)
    assert (lacking.exit_code, "quiet/frozen.json" in lacking.output) == (2, True)
    write_record(record("frozen").model_copy(update={"dtype": "bfloat16"}), quiet / "frozen.json")
    other = run(measured, "drawn", tmp_path / "docs", "--costs", quiet)
    assert other.exit_code == 2
    assert "were made with another dtype" in other.output
