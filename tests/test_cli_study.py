"""`tempprop study` as people and programs call it."""

import subprocess
import sys
from pathlib import Path

import pytest
from blind_studies import answers_of, key_with, moving, write
from media_files import write_clip

from tempprop.blind_study.statistics import sign_test, wilson_interval

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


@pytest.fixture
def methods(here):
    for place, step in (("older", 2), ("newer", 3)):
        for name in ("fox", "owl"):
            write_clip(here / place / f"{name}.mp4", moving(step))
    return ("older", "newer")


def test_a_study_is_made(call, here, methods):
    answer = call("study", *methods, "--json")
    assert (answer.code, answer.err) == (0, "")
    facts = answer.json
    assert (facts["page"], facts["key"]) == ("study.html", "study.key.json")
    assert (facts["pairs"], facts["checks"], facts["identical"], facts["unpaired"]) == (2, 2, 0, 0)
    for_people = call("study", *methods, "--out", "again.html", "--pairs", "1", "--checks", "0")
    assert for_people.code == 0
    assert "Give the page to the raters, and the key to nobody." in for_people.out
    assert sorted(path.name for path in here.glob("*.*")) == [
        *("again.html", "again.key.json", "study.html", "study.key.json")
    ]


def test_what_no_study_can_be_made_of(refused, methods, here):
    assert "there are no clips at nowhere" in refused("study", "older", "nowhere")
    assert "an .html file, not 'study.pdf'" in refused("study", *methods, "--out", "study.pdf")
    write_clip(here / "others" / "bear.mp4", moving(2))
    message = refused("study", "older", "others")
    assert "no clip of older has the name of one of others" in message


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["older"],
        ["older", "newer", "third"],
        ["older", "newer", "--pairs", "0"],
        ["older", "newer", "--seed", "-1"],
        ["--results"],
        ["--results", "ada.json", "--seed", "0"],
        ["--results", "ada.json", "--out", "study.html"],
    ],
    ids=" ".join,
)
def test_usage_errors(call, here, words):
    answer = call("study", *words)
    assert answer.code == 2
    assert "Usage: tempprop study" in answer.err
    assert list(here.iterdir()) == []


KEY = key_with(pairs=10, checks=2)


def keen(trial, question):
    if trial.kind == "check":
        return "original"
    late = int(trial.clip.removeprefix("clip-")) >= 8
    return {"realism": "a" if late else "b", "smoothness": None if late else "b"}[question]


def careless(trial, question):
    return "spoiled" if trial.kind == "check" else "a"


@pytest.fixture
def answers(here):
    write(here / "study.key.json", KEY)
    return [
        write(here / "ada.json", answers_of(KEY, "ada", keen)),
        write(here / "bob.json", answers_of(KEY, "bob", careless)),
    ]


def test_results_for_people(call, answers):
    answer = call("study", "--results", *answers)
    assert (answer.code, answer.err) == (0, "")
    lines = [line.split() for line in answer.out.splitlines()]
    assert ["A", "old"] in lines
    assert ["B", "new"] in lines
    for row in (
        "realism all 2 12 8 0 60% 39% to 78% 0.5",
        "realism 1 attentive 2 8 0 20% 6% to 51% 0.11",
        "realism by clip 2 8 0 20% 6% to 51% 0.11",
        "realism ada 2 8 0 20% 6% to 51% 0.11",
        "realism bob 10 0 0 100% 72% to 100% 0.002",
        "smoothness 1 attentive 0 8 2 0% 0% to 32% 0.0078",
        "ada 24 of 24 4 of 4 yes 9 : 9 0 of 0 6.5 s",
        "bob 24 of 24 0 of 4 no 10 : 10 0 of 0 6.5 s",
    ):
        assert row.split() in lines
    assert '"no difference" are in neither the share nor the sign test' in answer.out
    assert "Attentive is who answered at least 75% of the checks rightly; " in answer.out


def test_results_for_programs(call, answers):
    counted = call("study", "--results", *answers, "--json").json
    assert counted["methods"] == {"a": "old", "b": "new"}
    low, high = wilson_interval(12, 20)
    assert counted["pooled"][0] == {
        "question": "realism",
        "a": 12,
        "b": 8,
        "same": 0,
        "share": 0.6,
        "low": low,
        "high": high,
        "p_value": sign_test(12, 20),
    }
    assert counted["attentive"][1]["same"] == 2
    assert [(rater["rater_id"], rater["failed"]) for rater in counted["raters"]] == [
        ("ada", False),
        ("bob", True),
    ]
    assert counted["raters"][0]["preferences"] == counted["attentive"]


def test_answers_that_cannot_be_counted(refused, here, answers):
    (here / "cut.json").write_text("{")
    message = refused("study", "--results", "ada.json", "cut.json", "gone.json")
    assert message.startswith("error: 2 files cannot be counted\n  cut.json: is not proper JSON")
    (here / "study.key.json").unlink()
    assert f"there is no key of study {KEY.study_id}" in refused("study", "--results", "ada.json")


def test_counting_loads_neither_a_model_nor_a_decoder(answers):
    script = (
        "import atexit, sys; from flows.cli import main; "
        "atexit.register(lambda: print({'torch', 'av', 'ray'} & set(sys.modules))); main()"
    )
    command = [sys.executable, "-c", script, "study", "--results", *map(str, answers), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert ended.stdout.endswith("}\nset()\n")
