"""Files of answers and keys as they come from outside."""

import json
import logging

import pytest
from blind_studies import answers_of, key_with, write
from hypothesis import given
from hypothesis import strategies as st

from tempprop.blind_study.answer_files import read_study
from tempprop.blind_study.documents import Answers
from tempprop.errors import StudyError

KEY = key_with(pairs=2, checks=1)


def original(trial, _):
    return "a" if trial.kind == "pair" else "original"


DOCUMENT = answers_of(KEY, "ada", original)


@pytest.fixture(autouse=True)
def key_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write(tmp_path / "study.key.json", KEY)


def refusal(*files):
    with pytest.raises(StudyError) as refused:
        read_study(files)
    return str(refused.value)


def test_answers_come_back_as_they_were_saved(tmp_path, key_file):
    path = write(tmp_path / "ada.json", DOCUMENT)
    assert read_study([path]) == (KEY, [DOCUMENT])
    assert read_study([key_file, path]) == (KEY, [DOCUMENT])


def test_the_key_is_found_beside_the_answers_and_in_the_working_directory(tmp_path, key_file):
    (tmp_path / "mail").mkdir()
    path = write(tmp_path / "mail" / "ada.json", DOCUMENT)
    other = key_with(pairs=1, study_id="f" * 16)
    write(tmp_path / "a.key.json", other)
    (tmp_path / "damaged.key.json").write_text("{")
    assert read_study([path])[0] == KEY
    key_file.rename(tmp_path / "mail" / "b.key.json")
    assert read_study([path])[0] == KEY


def test_without_the_key_nothing_can_be_counted(tmp_path, key_file):
    path = write(tmp_path / "ada.json", DOCUMENT)
    key_file.unlink()
    assert f"there is no key of study {KEY.study_id}" in refusal(path)
    assert "there are no answers" in refusal(key_file)
    assert "cannot be read" in refusal(path, key_file)
    wrong = write(tmp_path / "wrong.key.json", key_with(pairs=1, study_id="f" * 16))
    assert f"{path}: is of study {KEY.study_id}, and the key is of {'f' * 16}" in refusal(
        path, wrong
    )


def changed_answer(**changes):
    answers = json.loads(DOCUMENT.model_dump_json())["answers"]
    return {"answers": [answers[0] | changes, *answers[1:]]}


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"study_id": "x"}, "study_id: String should match pattern"),
        ({"rater_id": "../ada"}, "rater_id: String should match pattern"),
        ({"rater_id": "\x1b[2J"}, "rater_id: String should match pattern"),
        ({"schema_version": 2}, "schema_version: "),
        ({"saved_at": "2026-01-01T00:00:00"}, "saved_at: should have timezone info"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
        ({"answers": None}, "answers: should be a valid"),
        (changed_answer(choice="both"), "answers.0.choice: should be 'left', 'right' or 'same'"),
        (changed_answer(question="beauty"), "answers.0.question: should be 'realism'"),
        (changed_answer(reaction_ms=-1), "answers.0.reaction_ms: "),
        (changed_answer(reaction_ms="12"), "answers.0.reaction_ms: should be a valid integer"),
        (changed_answer(trial="f" * 12), "answers.0: the key knows no such trial"),
        (changed_answer(left="f" * 12), "answers.0: the key knows no such trial"),
        (changed_answer(question="smoothness"), "a question is answered twice"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, changes, finding):
    path = write(tmp_path / "ada.json", DOCUMENT, **changes)
    message = refusal(path)
    assert message.startswith(f"1 file cannot be counted\n  {path}: ")
    assert finding in message
    assert len(message.splitlines()) == 2


def test_all_bad_files_are_told_at_once(tmp_path):
    good = write(tmp_path / "ada.json", DOCUMENT)
    cut = tmp_path / "cut.json"
    cut.write_bytes(good.read_bytes()[:-20])
    foreign = write(tmp_path / "foreign.json", DOCUMENT, study_id="f" * 16)
    lines = refusal(good, cut, tmp_path / "gone.json", tmp_path, foreign).splitlines()
    assert lines == [
        "4 files cannot be counted",
        f"  {cut}: is not proper JSON: it may be cut off. Save it from the page again",
        f"  {tmp_path / 'gone.json'}: cannot be read: No such file or directory. Check the path",
        f"  {tmp_path}: cannot be read: Is a directory. Check the path",
        f"  {foreign}: is of study {'f' * 16}, and the key is of {KEY.study_id}. "
        "Count each study by itself, with its own key",
    ]


def test_of_a_rater_with_several_files_the_one_saved_last_counts(tmp_path, caplog):
    later = answers_of(KEY, "ada", original, minute=5)
    bob = answers_of(KEY, "bob", original)
    files = [
        write(tmp_path / "1.json", later),
        write(tmp_path / "2.json", DOCUMENT),
        write(tmp_path / "3.json", bob),
    ]
    with caplog.at_level(logging.WARNING):
        assert read_study(files)[1] == [later, bob]
    assert [record.getMessage() for record in caplog.records] == [
        "rater ada has several files: the one saved last counts"
    ]


def test_the_same_file_twice_is_one_file(tmp_path, caplog):
    path = write(tmp_path / "ada.json", DOCUMENT)
    assert read_study([path, path])[1] == [DOCUMENT]
    assert caplog.records == []


@given(
    st.binary()
    | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_what_is_no_answers_is_refused_in_a_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("answers") / "ada.json"
    path.write_bytes(content)
    assert len(refusal(path).splitlines()) == 2


def test_a_file_is_what_it_says_of_itself():
    assert Answers.model_validate_json(DOCUMENT.model_dump_json()) == DOCUMENT
