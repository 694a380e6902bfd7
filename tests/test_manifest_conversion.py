import csv
import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tempprop.errors import InputError, ManifestError, Problem
from tempprop.manifest import read_clips
from tempprop.manifest_conversion import convert_manifest
from tempprop.spec import ClipSpec, LoRA, Motion, PromptKeyframe, RenderConfig


def converted(tmp_path, text: str | bytes, suffix: str = ".csv") -> list[ClipSpec]:
    source, target = tmp_path / f"in{suffix}", tmp_path / "out.parquet"
    source.write_bytes(text if isinstance(text, bytes) else text.encode())
    count = convert_manifest(str(source), str(target))
    clips = list(read_clips(str(target), RenderConfig()))
    assert len(clips) == count
    return clips


def problems_of(tmp_path, text: str | bytes, suffix: str = ".csv") -> tuple[Problem, ...]:
    with pytest.raises(ManifestError) as caught:
        converted(tmp_path, text, suffix)
    assert not (tmp_path / "out.parquet").exists()
    return caught.value.problems


def test_a_picture_is_a_text(tmp_path):
    first, second = converted(tmp_path, "clip_id,prompt,init_image\na,x,s3://art/a.png\nb,y,\n")
    assert (first.init_image, second.init_image) == ("s3://art/a.png", None)


def test_a_spreadsheet_becomes_a_manifest(tmp_path):
    first, second = converted(
        tmp_path,
        "\ufeffclip_id,prompt,num_frames,fps,seed,prompts,loras,tags,motion,loop\r\n"
        'a,"a fox, running\nin ""snow""",24,7.5,,"[{""frame"": 8, ""prompt"": ""y""}]",'
        '"[{""path"": ""x"", ""weight"": 0.5}]","{""take"": ""2""}",'
        '"{""zoom"": 1.02, ""angle"": ""0:(0), 9:(3)""}",TRUE\r\n'
        "\r\n"
        "007,b,16.0,12, 5 ,,,,,\r\n",
    )
    assert first.prompt == 'a fox, running\nin "snow"'
    assert (first.num_frames, first.fps) == (24, 7.5)
    assert first.prompts == (PromptKeyframe(frame=8, prompt="y"),)
    assert first.loras == (LoRA(path="x", weight=0.5),)
    assert first.tags == {"take": "2"}
    assert first.motion == Motion(zoom=1.02, angle="0:(0), 9:(3)")
    assert (first.loop, second.loop) == (True, False)
    assert (second.clip_id, second.num_frames, second.seed) == ("007", 16, 5)
    assert second.motion == Motion()


def test_json_lines_become_a_manifest(tmp_path):
    lines = [
        {"clip_id": "a", "prompt": "p", "fps": 8, "num_frames": 24.0, "tags": {"take": "2"}},
        {"clip_id": "b", "prompt": "q", "seed": None, "motion": {"angle": 3, "zoom": None}},
    ]
    text = "\n\n".join(map(json.dumps, lines))
    first, second = converted(tmp_path, text, ".jsonl")
    assert (first.fps, first.num_frames, first.tags) == (8.0, 24, {"take": "2"})
    assert (second.clip_id, second.motion) == ("b", Motion(angle=3))


def test_all_problems_of_a_spreadsheet_are_told(tmp_path):
    problems = problems_of(
        tmp_path,
        "clip_id,prompt,fps,num_frames,loras,promts,motion\n"
        'a,p,fast,1.5,,,"{""zoom"": ""0:(sin(t))""}"\n'
        "a,,nan,9,not json,,1.02\n"
        "b,p\n"
        "c d,p,1,99999999999999999999999999,,,\n",
    )
    assert {(problem.row, problem.column) for problem in problems} == {
        (1, "promts"),
        (1, "fps"),
        (1, "num_frames"),
        (1, "motion"),
        (2, "clip_id"),
        (2, "prompt"),
        (2, "fps"),
        (2, "loras"),
        (2, "motion"),
        (3, None),
        (4, "clip_id"),
        (4, "num_frames"),
    }


def test_a_missing_column_is_told_once(tmp_path):
    (problem,) = problems_of(tmp_path, "clip_id,fps\na,8\nb,8\n")
    assert (problem.row, problem.column) == (None, "prompt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no clips"),
        (b"clip_id,prompt\n", "no clips"),
        (b"clip_id,prompt,prompt\na,b,c\n", "twice"),
        (b'clip_id,prompt\na,"b\n', "not proper CSV"),
        (b"clip_id,prompt\na,\xff\n", "not proper CSV"),
        (b"clip_id,prompt\na,b\0c\n", "null byte"),
        (b"clip_id,prompt\na," + b"x" * 200_000 + b"\n", "field larger"),
    ],
)
def test_a_broken_spreadsheet_is_told(tmp_path, text, message):
    assert any(message in problem.message for problem in problems_of(tmp_path, text))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "not proper JSON"),
        (b"\xff", "not proper JSON"),
        (b"[" * 100_000, "not proper JSON"),
        (b'{"clip_id": "a", "clip_id": "b", "prompt": "p"}', "twice"),
        (b'["a", "p"]', "not an object"),
        (b'{"clip_id": 3, "prompt": "p"}', "valid string"),
        (b'{"clip_id": "a", "prompt": "p", "fps": NaN}', "finite"),
        (b'{"clip_id": "a", "prompt": "\\ud800"}', "unicode"),
        (b'{"clip_id": "a", "prompt": "p", "seed": ' + b"9" * 5000 + b"}", "not proper JSON"),
    ],
)
def test_a_broken_line_of_json_is_told_with_its_row(tmp_path, line, message):
    fine = b'{"clip_id": "fine", "prompt": "p"}\n'
    (problem,) = problems_of(tmp_path, fine + line + b"\n", ".jsonl")
    assert problem.row == 2
    assert message in problem.message


def test_other_files_are_refused(tmp_path):
    (problem,) = problems_of(tmp_path, "", ".xlsx")
    assert ".csv" in problem.remedy


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ManifestError, match="there is no such file"):
        convert_manifest(str(tmp_path / "no.csv"), str(tmp_path / "out.parquet"))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_every_prompt_survives_both_formats(tmp_path, prompt):
    sheet = io.StringIO()
    csv.writer(sheet, quoting=csv.QUOTE_ALL).writerows([["clip_id", "prompt"], ["a", f".{prompt}"]])
    assert converted(tmp_path, sheet.getvalue())[0].prompt == f".{prompt}"
    line = json.dumps({"clip_id": "a", "prompt": prompt}, ensure_ascii=False)
    assert converted(tmp_path, line, ".jsonl")[0].prompt == prompt


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip_id;prompt\na;b\n", "the cells are separated by semicolons"),
        ("clip_id\tprompt\na\tb\n", "the cells are separated by tabs"),
        ("clip_id,clip_id,prompt\na,a,b\n", "the first line names a column twice"),
        ("clip_id,prompt\na,b,c\n", "has 3 cells"),
        (b"clip_id,prompt\na,\xe9\n", "is not proper CSV"),
    ],
)
def test_what_cannot_be_made_out_is_told_alone(tmp_path, text, message):
    (problem,) = problems_of(tmp_path, text)
    assert message in problem.message


@pytest.mark.parametrize("target", ["in.csv", "out.csv", "out"])
def test_nothing_but_a_parquet_file_is_written_over(target, tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("clip_id,prompt\na,a hen\n")
    with pytest.raises(InputError, match=r"a manifest is a \.parquet file, not .*another TARGET"):
        convert_manifest(str(source), str(tmp_path / target))
    assert source.read_text() == "clip_id,prompt\na,a hen\n"
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
