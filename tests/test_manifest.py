import math
import pickle
import string
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tempprop.errors import InputError, ManifestError, Problem
from tempprop.manifest import check_texts, read_clips, validate_manifest
from tempprop.manifest_problems import MAX_PROBLEMS
from tempprop.manifest_schema import MANIFEST_SCHEMA
from tempprop.manifest_writing import write_manifest
from tempprop.spec import (
    ClipSettings,
    ClipSpec,
    LoRA,
    Motion,
    PromptKeyframe,
    RenderConfig,
    seed_from_clip_id,
)

CONFIG = RenderConfig(clip=ClipSettings(num_frames=8, fps=4))

MANY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def manifest(tmp_path: Path, **columns: object) -> str:
    """Write one Parquet file; clip_ids and prompts are made up where they are not given."""
    length = len(next(iter(columns.values())))
    required = {
        "clip_id": [f"clip{i}" for i in range(length)],
        "prompt": ["a fox in the snow"] * length,
    }
    path = tmp_path / "manifest.parquet"
    pq.write_table(pa.table({**required, **columns}), path)
    return str(path)


def problems_of(source: str) -> tuple[Problem, ...]:
    with pytest.raises(ManifestError) as caught:
        validate_manifest(source, CONFIG)
    return caught.value.problems


def only(source: str) -> ClipSpec:
    (clip,) = read_clips(source, CONFIG)
    return clip


def test_the_schema_has_every_field_of_a_clip():
    assert set(MANIFEST_SCHEMA.names) == set(ClipSpec.model_fields)


def test_empty_cells_take_the_values_of_the_configuration(tmp_path):
    source = manifest(tmp_path, num_frames=[None, 5], model=pa.nulls(2))
    first, second = read_clips(source, CONFIG)
    assert (first.num_frames, second.num_frames) == (8, 5)
    assert first.model == "mini"
    assert first.fps == 4
    assert first.loras == ()
    assert first.tags == {}
    assert first.seed == seed_from_clip_id("clip0") != second.seed


def test_the_seed_of_the_configuration_beats_the_one_of_the_name(tmp_path):
    source = manifest(tmp_path, seed=[None, 3])
    config = CONFIG.model_copy(update={"seed": 7})
    assert [clip.seed for clip in read_clips(source, config)] == [7, 3]


def test_the_summary_counts_what_will_be_rendered(tmp_path):
    source = manifest(tmp_path, num_frames=[None, 12], model=["sdxl", None])
    summary = validate_manifest(source, CONFIG)
    assert (summary.num_clips, summary.num_files, summary.num_frames) == (2, 1, 20)
    assert summary.duration_seconds == 5.0
    assert summary.models == ("mini", "sdxl")


@pytest.mark.parametrize(
    "array",
    [
        pa.array([24], pa.int8()),
        pa.array([24], pa.uint64()),
        pa.array([24.0, None], pa.float64())[:1],
        pa.array([24], pa.float32()),
        pa.array(["24"]).cast(pa.decimal128(5, 1)),
        pa.array([24]).dictionary_encode(),
    ],
    ids=lambda array: str(array.type),
)
def test_whole_numbers_of_every_width_are_read(tmp_path, array):
    assert only(manifest(tmp_path, num_frames=array)).num_frames == 24


@pytest.mark.parametrize("kind", [pa.int16(), pa.float32(), pa.float64(), pa.decimal128(5, 1)])
def test_numbers_of_every_width_are_read(tmp_path, kind):
    fps = only(manifest(tmp_path, fps=pa.array(["12"]).cast(kind))).fps
    assert (fps, type(fps)) == (12.0, float)


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_text_of_every_kind_is_read(tmp_path, kind):
    assert only(manifest(tmp_path, project=pa.array(["spring"], kind))).project == "spring"


@pytest.mark.parametrize(
    "tags",
    [
        pa.array([[("take", "2")]], pa.map_(pa.string(), pa.string())),
        pa.array([{"take": "2", "look": None}]),
        pa.array([[{"key": "take", "value": "2"}]]),
    ],
    ids=["map", "struct of pandas", "list of Polars"],
)
def test_tags_are_read_in_every_form(tmp_path, tags):
    assert only(manifest(tmp_path, tags=tags)).tags == {"take": "2"}


def test_loras_keep_their_order_and_have_full_weight_by_default(tmp_path):
    cell = [{"path": "b.safetensors", "weight": 0.5}, {"path": "a.safetensors", "weight": None}]
    clip = only(manifest(tmp_path, loras=pa.array([cell], pa.large_list(pa.array(cell).type))))
    assert clip.loras == (LoRA(path="b.safetensors", weight=0.5), LoRA(path="a.safetensors"))


@pytest.mark.parametrize(
    "motion",
    [
        pa.array([{"zoom": 1.02, "angle": -3}]),
        pa.array([{"zoom": "1.02", "angle": "0:(-3.0)", "translation_x": None}]),
        pa.array([{"zoom": Decimal("1.02"), "angle": -3.0, "pan": None}]),
        pa.StructArray.from_arrays(
            [pa.array(["0:(1.02)"]).dictionary_encode(), pa.array([-3], pa.int8())],
            ["zoom", "angle"],
        ),
    ],
    ids=["numbers", "texts", "decimals", "categories"],
)
def test_motion_is_read_in_every_form(tmp_path, motion):
    assert only(manifest(tmp_path, motion=motion)).motion == Motion(zoom=1.02, angle=-3)


def test_empty_fields_of_a_motion_take_the_values_of_the_configuration(tmp_path):
    look = Motion(zoom="0:(1), 9:(1.1)", angle=2)
    config = CONFIG.model_copy(update={"clip": ClipSettings(motion=look)})
    source = manifest(tmp_path, motion=[{"zoom": 1.0, "translation_x": 4.0}, {"zoom": None}, None])
    first, second, third = read_clips(source, config)
    assert first.motion == Motion(zoom=1, translation_x=4, angle=2)
    assert second.motion == third.motion == look
    moving = read_clips(source, config, where="motion.translation_x = '4.0'")
    assert [clip.clip_id for clip in moving] == ["clip0"]


def test_a_motion_that_is_no_struct_is_told_once(tmp_path):
    (problem,) = problems_of(manifest(tmp_path, motion=["zoom in", "zoom out"]))
    assert (problem.row, problem.column) == (None, "motion")
    assert "structs of zoom, translation_x, translation_y, angle" in problem.message


def test_the_remedy_of_a_bad_motion_shows_a_good_one(tmp_path):
    (problem,) = problems_of(manifest(tmp_path, motion=[{"zoom": "0:(sin(t))"}]))
    assert "sin(t) are not evaluated" in problem.message
    assert problem.value == "{'zoom': '0:(sin(t))'}"
    assert "keyframes such as 0:(1.0), 24:(1.04)" in problem.remedy


def test_what_duckdb_writes_is_read(tmp_path):
    path = tmp_path / "duckdb.parquet"
    duckdb.sql(
        f"""COPY (SELECT 'a' AS clip_id, 'p' AS prompt, 7.5 AS guidance_scale, 24 AS num_frames,
        MAP {{'take': '2'}} AS tags, [{{'path': 'x', 'weight': 0.5}}] AS loras) TO '{path}'"""
    )
    clip = only(str(path))
    assert (clip.guidance_scale, clip.num_frames, clip.tags) == (7.5, 24, {"take": "2"})
    assert clip.loras == (LoRA(path="x", weight=0.5),)


def test_the_index_that_pandas_leaves_is_ignored(tmp_path):
    assert only(manifest(tmp_path, __index_level_0__=[17])).clip_id == "clip0"


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("clip_id", "a/b", "file name"),
        ("clip_id", "../up", "file name"),
        ("clip_id", "a\n", "file name"),
        ("clip_id", "é", "file name"),
        ("clip_id", "x" * 129, "file name"),
        ("clip_id", "", "file name"),
        ("clip_id", None, "is empty"),
        ("prompt", "", "at least 1 character"),
        ("prompt", None, "is empty"),
        ("prompt", "a\0b", "null byte"),
        ("num_frames", 0, "greater than or equal to 1"),
        ("num_frames", 2.5, "not a whole number"),
        ("num_frames", math.nan, "not a whole number"),
        ("num_frames", math.inf, "not a whole number"),
        ("num_frames", 2**62, "less than or equal to 100000"),
        ("seed", -1, "greater than or equal to 0"),
        ("seed", pa.array([2**63], pa.uint64()), "not a whole number below 2^63"),
        ("width", 130, "multiple of 8"),
        ("fps", math.nan, "finite"),
        ("fps", -math.inf, "finite"),
        ("fps", 0, "greater than or equal to 0.1"),
        ("guidance_scale", 2**60 + 1, "more digits"),
        ("noise_correlation", 1.5, "less than or equal to 1"),
        ("propagation_keeps", "both", "'noise' or 'sample'"),
        ("attention", "last", "'none', 'first' or 'first+prev'"),
        ("loras", [{"path": ""}], "path: should have at least 1 character"),
        ("loras", [{"path": "x", "scale": 1.0}], "scale: Extra inputs"),
        ("loras", [{"path": "x", "weight": math.inf}], "finite"),
        ("tags", {"take": 2}, "valid string"),
        ("tags", {"take": "\0"}, "null byte"),
        (
            "tags",
            pa.array([[("a", "1"), ("a", "2")]], pa.map_(pa.string(), pa.string())),
            "each key once",
        ),
        ("prompts", [{"frame": 0, "prompt": ""}], "prompt: should have at least 1 character"),
        ("prompts", [{"frame": -1, "prompt": "x"}], "frame: should be greater than or equal to 0"),
        ("prompts", [{"frame": 8, "prompt": "x"}, {"frame": 4, "prompt": "y"}], "do not ascend"),
        ("prompt_interpolation", "cubic", "'linear' or 'slerp'"),
        ("init_image", "", "at least 1 character"),
        ("init_image", "key\0art.png", "null byte"),
        ("motion", {"zoom": "0:(sin(t))"}, "zoom: must be a number, or keyframes of numbers"),
        ("motion", {"zoom": 20.0}, "zoom: must stay from 0.1 to 10"),
        ("motion", {"zoom": math.nan}, "zoom: must be a number"),
        ("motion", {"zooom": 1.0}, "zooom: Extra inputs"),
        ("motion", {"angle": [1.0]}, "angle: must be a number"),
        ("motion", {"angle": True}, "angle: must be a number"),
    ],
)
def test_a_bad_cell_is_named_with_row_column_value_and_remedy(tmp_path, column, value, message):
    cells = value if isinstance(value, pa.Array) else pa.array([value])
    if value is None:
        cells = cells.cast(pa.string())
    (problem,) = problems_of(manifest(tmp_path, **{column: cells}))
    assert (problem.row, problem.column) == (1, column)
    assert message in problem.message
    assert problem.remedy
    assert value is None or problem.value
    with pytest.raises(ManifestError, match=column):
        list(read_clips(manifest(tmp_path, **{column: cells}), CONFIG))


def test_all_problems_are_told_at_once_in_the_order_of_the_rows(tmp_path):
    source = manifest(tmp_path, fps=[1.0, -1.0, 900.0], width=[3, 8, 8], promt=["x", "y", "z"])
    problems = problems_of(source)
    assert [(problem.row, problem.column) for problem in problems] == [
        (None, "promt"),
        (1, "width"),
        (2, "fps"),
        (3, "fps"),
    ]
    assert "'prompt'" in problems[0].remedy


def test_a_column_of_the_wrong_type_is_told_once(tmp_path):
    (problem,) = problems_of(manifest(tmp_path, num_frames=["8", "9"]))
    assert (problem.row, problem.column) == (None, "num_frames")
    assert "string" in problem.message
    assert "whole numbers" in problem.message


def test_booleans_are_no_numbers(tmp_path):
    (problem,) = problems_of(manifest(tmp_path, num_frames=[True]))
    assert "bool" in problem.message


def test_numbers_are_no_booleans(tmp_path):
    (problem,) = problems_of(manifest(tmp_path, loop=[1]))
    assert "true or false" in problem.message


def test_a_missing_required_column_is_told(tmp_path):
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"fps": [8.0]}), path)
    problems = problems_of(str(path))
    assert {problem.column for problem in problems} == {"clip_id", "prompt"}


def test_a_repeated_clip_id_names_the_first_row_that_has_it(tmp_path):
    problems = problems_of(manifest(tmp_path, clip_id=["a", "b", "a", "a"]))
    assert [problem.row for problem in problems] == [3, 4]
    assert all("row 1 has this name" in problem.message for problem in problems)


def test_only_so_many_problems_are_kept(tmp_path):
    source = manifest(tmp_path, fps=[-1.0] * 20_000)
    with pytest.raises(ManifestError, match="20,000 problems") as caught:
        validate_manifest(source, CONFIG)
    assert len(caught.value.problems) == MAX_PROBLEMS
    assert caught.value.omitted == 20_000 - MAX_PROBLEMS
    assert str(caught.value).endswith(f"and {20_000 - MAX_PROBLEMS:,} more")


def test_text_that_is_not_utf8_is_refused(tmp_path):
    fine = pa.array(["ok", "hurt"])
    offsets, data = fine.buffers()[1], b"ok\xff\xfert"
    hurt = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(data)])
    (problem,) = problems_of(manifest(tmp_path, prompt=hurt))
    assert (problem.row, problem.message) == (2, "is not valid UTF-8")


def test_a_directory_and_a_glob_are_one_manifest(tmp_path):
    for name, clip_id in [("b", "second"), ("a", "first"), ("_tmp", "no"), (".hidden", "no")]:
        write_manifest([{"clip_id": clip_id, "prompt": "p"}], str(tmp_path / f"{name}.parquet"))
    (tmp_path / "_SUCCESS").touch()
    for source in (str(tmp_path), str(tmp_path / "*.parquet")):
        assert [clip.clip_id for clip in read_clips(source, CONFIG)] == ["first", "second"]
        assert validate_manifest(source, CONFIG).num_files == 2


def test_rows_count_in_their_file_and_the_file_is_named(tmp_path):
    for name, fps in [("a", 8.0), ("b", -1.0)]:
        pq.write_table(
            pa.table({"clip_id": [name, "same"], "prompt": ["p", "p"], "fps": [8.0, fps]}),
            tmp_path / f"{name}.parquet",
        )
    told = [(problem.row, problem.file) for problem in problems_of(str(tmp_path))]
    assert told == [(2, "b.parquet")] * 2
    texts = sorted(map(str, problems_of(str(tmp_path))))
    assert texts[0].startswith(
        "b.parquet, row 2, column 'clip_id': a.parquet, row 2, has this name"
    )
    assert texts[0].endswith("Rename one of them")
    assert texts[1].startswith("b.parquet, row 2, column 'fps'")


def test_an_fsspec_uri_is_read_and_written():
    target = "memory://night/manifest.parquet"
    write_manifest([{"clip_id": "a", "prompt": "p"}], target)
    assert only(target).clip_id == "a"
    assert only("memory://night").clip_id == "a"


@pytest.mark.parametrize("damage", [b"", b"clip_id,prompt\na,b\n", b"PAR1" * 10])
def test_a_file_that_is_not_parquet_is_told(tmp_path, damage):
    path = tmp_path / "m.parquet"
    path.write_bytes(damage)
    (problem,) = problems_of(str(path))
    assert "not a Parquet file" in problem.message


def test_a_damaged_file_is_told(tmp_path):
    source = Path(manifest(tmp_path, project=[f"project {i}" for i in range(5000)]))
    data = bytearray(source.read_bytes())
    data[200:4000] = bytes(3800)
    source.write_bytes(data)
    assert problems_of(str(source))


def test_an_empty_manifest_is_told(tmp_path):
    (problem,) = problems_of(manifest(tmp_path, clip_id=pa.array([], pa.string())))
    assert "no clips" in problem.message


@pytest.mark.parametrize("name", ["nowhere.parquet", "nowhere/*.parquet", ""])
def test_a_missing_manifest_is_told(tmp_path, name):
    (problem,) = problems_of(str(tmp_path / name))
    assert "no such file" in problem.message


def test_an_unknown_protocol_is_told_without_credentials():
    with pytest.raises(ManifestError) as caught:
        validate_manifest("nosuch://user:secret@host/manifest.parquet?token=secret", CONFIG)
    assert "secret" not in str(caught.value)


def test_where_sees_the_values_that_will_be_rendered(tmp_path):
    source = manifest(
        tmp_path, priority=[5, None, 1], project=["spring", "spring", None], num_frames=[None, 3, 9]
    )

    def found(where: str) -> list[str]:
        return [clip.clip_id for clip in read_clips(source, CONFIG, where=where)]

    assert found("project = 'spring' AND priority > 3") == ["clip0"]
    assert found("num_frames = 8") == ["clip0"]
    assert found("priority = 0") == ["clip1"]
    assert found("tags['look'] = 'warm'") == []
    assert found("clip_id LIKE 'clip%'") == ["clip0", "clip1", "clip2"]


def test_where_keeps_the_order_and_limit_counts_after_it(tmp_path):
    source = manifest(tmp_path, priority=list(range(20_000)))
    clips = read_clips(source, CONFIG, where="priority % 2 = 1", limit=9_000)
    priorities = [clip.priority for clip in clips]
    assert priorities == list(range(1, 18_000, 2))
    assert list(read_clips(source, CONFIG, limit=0)) == []


@pytest.mark.parametrize(
    "where",
    [
        "priority >",
        "no_such_column = 1",
        "true; DROP TABLE x",
        "(SELECT count(*) FROM read_csv('/etc/passwd')) > 0",
        "(SELECT count(*) FROM '/etc/passwd') > 0",
        "(SELECT count(*) FROM clips) > 0",
        "sum(priority) > 1",
        "prompt",
        "prompt = '\ud800'",
        "",
    ],
)
def test_a_bad_condition_is_an_input_error(tmp_path, where):
    with pytest.raises(InputError, match="is not a condition"):
        list(read_clips(manifest(tmp_path, priority=[1]), CONFIG, where=where))


def test_reading_streams(tmp_path):
    """The first clips come although a later row is bad."""
    source = manifest(tmp_path, fps=[8.0] * 20_000 + [-1.0])
    clips = read_clips(source, CONFIG)
    assert next(clips).clip_id == "clip0"
    with pytest.raises(ManifestError, match="row 20001"):
        list(clips)


def is_name(name: str) -> bool:
    allowed = set(string.ascii_letters + string.digits + "._-")
    return 1 <= len(name) <= 128 and set(name) <= allowed


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50)
names = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=128)
shares = st.floats(0, 1)

clips = st.builds(
    ClipSpec,
    clip_id=names,
    prompt=texts.filter(bool),
    negative_prompt=texts,
    seed=st.integers(0, 2**63 - 1),
    num_frames=st.integers(1, 100_000),
    fps=st.floats(0.1, 240),
    width=st.integers(1, 1024).map(lambda n: 8 * n),
    motion=st.builds(
        Motion,
        zoom=st.floats(0.1, 10) | st.just("0:(1), 7:(1.5)"),
        translation_x=st.floats(-8192, 8192),
    ),
    prompts=st.lists(
        st.builds(PromptKeyframe, frame=st.integers(0, 100_000), prompt=texts.filter(bool)),
        max_size=3,
        unique_by=lambda keyframe: keyframe.frame,
    ).map(lambda keyframes: tuple(sorted(keyframes, key=lambda keyframe: keyframe.frame))),
    noise_correlation=shares,
    propagation_keeps=st.sampled_from(["noise", "sample"]),
    model=texts.filter(bool),
    loras=st.lists(
        st.builds(
            LoRA, path=texts.filter(bool), weight=st.floats(allow_nan=False, allow_infinity=False)
        ),
        max_size=3,
    ).map(tuple),
    priority=st.integers(-(2**31), 2**31 - 1),
    project=texts,
    tags=st.dictionaries(texts, texts, max_size=3),
)


@MANY
@given(st.lists(clips, min_size=1, max_size=5, unique_by=lambda clip: clip.clip_id))
def test_clips_survive_writing_and_reading(tmp_path, written):
    target = str(tmp_path / "m.parquet")
    assert write_manifest(written, target) == len(written)
    assert list(read_clips(target, CONFIG)) == written
    assert validate_manifest(target, CONFIG).num_clips == len(written)


@MANY
@given(st.text().filter(lambda name: not is_name(name)))
def test_no_other_clip_id_gets_in(tmp_path, name):
    with pytest.raises(ManifestError):
        write_manifest([{"clip_id": name, "prompt": "p"}], str(tmp_path / "m.parquet"))
    assert not (tmp_path / "m.parquet").exists()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@MANY
@given(st.sampled_from(MANIFEST_SCHEMA.names), anything)
def test_any_value_in_any_column_is_either_read_back_or_refused(tmp_path, column, value):
    target = str(tmp_path / "m.parquet")
    row = {"clip_id": "a", "prompt": "p", column: value}
    try:
        write_manifest([row], target)
    except ManifestError as error:
        refused = {problem.column for problem in error.problems}
    else:
        refused = set()
        assert only(target)
    assert refused <= {column}


@pytest.mark.parametrize(
    ("column", "value", "read"),
    [
        ("fps", Decimal("12.5"), 12.5),
        ("fps", np.float32(0.5), 0.5),
        ("num_frames", np.int64(3), 3),
        ("num_frames", np.float64(3), 3),
        ("loras", (LoRA(path="x", weight=0.5),), (LoRA(path="x", weight=0.5),)),
        ("loras", [{"path": "x", "weight": Decimal(2)}], (LoRA(path="x", weight=2.0),)),
        (
            "prompts",
            [{"frame": 4.0, "prompt": "x"}, {"frame": np.int64(8), "prompt": "y"}],
            (PromptKeyframe(frame=4, prompt="x"), PromptKeyframe(frame=8, prompt="y")),
        ),
        ("tags", MappingProxyType({"a": "b"}), {"a": "b"}),
        ("motion", Motion(zoom="0:(1), 9:(2)"), Motion(zoom="0:(1), 9:(2)")),
        ("motion", {"zoom": np.float32(0.5), "angle": Decimal(3)}, Motion(zoom=0.5, angle=3)),
    ],
)
def test_the_numbers_and_mappings_of_libraries_are_written(tmp_path, column, value, read):
    target = str(tmp_path / "m.parquet")
    write_manifest([{"clip_id": "a", "prompt": "p", column: value}], target)
    assert getattr(only(target), column) == read


@pytest.mark.parametrize("value", [np.True_, np.ones(1), object()])
def test_things_that_are_not_numbers_are_not_written(tmp_path, value):
    with pytest.raises(ManifestError, match="valid number"):
        write_manifest([{"clip_id": "a", "prompt": "p", "fps": value}], str(tmp_path / "m"))


def test_nothing_is_written_where_a_row_is_bad(tmp_path):
    target = tmp_path / "m.parquet"
    write_manifest([{"clip_id": "old", "prompt": "p"}], str(target))
    rows = [{"clip_id": "a", "prompt": "p", "fps": 10**5000}, {"clip_id": "a", "prompt": "p"}]
    with pytest.raises(ManifestError) as caught:
        write_manifest(rows, str(target))
    assert [(problem.row, problem.column) for problem in caught.value.problems] == [
        (1, "fps"),
        (2, "clip_id"),
    ]
    assert only(str(target)).clip_id == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["m.parquet"]


@pytest.mark.parametrize("target", ["file/m.parquet", "nosuch://user:secret@host/m.parquet"])
def test_a_target_that_cannot_be_written_is_told(tmp_path, target):
    (tmp_path / "file").touch()
    target = target if "://" in target else str(tmp_path / target)
    with pytest.raises(ManifestError, match="cannot be written") as caught:
        write_manifest([{"clip_id": "a", "prompt": "p"}], target)
    assert "secret" not in str(caught.value)


def test_the_error_crosses_processes(tmp_path):
    with pytest.raises(ManifestError) as caught:
        validate_manifest(manifest(tmp_path, fps=[-1.0]), CONFIG)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.problems) == (str(caught.value), caught.value.problems)


def refuse_b(texts):
    return [("is b", "Take another letter") if text == "b" else None for text in texts]


def test_texts_are_checked_by_what_is_not_in_the_manifest(tmp_path):
    (tmp_path / "night").mkdir()
    for name, projects in (("1", ["a", "b"]), ("2", [None, "c", "b", "b"])):
        written = manifest(tmp_path / "night", project=projects)
        Path(written).rename(tmp_path / "night" / f"{name}.parquet")
    source = str(tmp_path / "night")
    with pytest.raises(ManifestError) as caught:
        check_texts(source, CONFIG, "project", refuse_b)
    problems = caught.value.problems
    places = [("1.parquet", 2), ("2.parquet", 3), ("2.parquet", 4)]
    assert [(problem.file, problem.row) for problem in problems] == places
    assert problems[0] == Problem(
        "is b", "Take another letter", row=2, column="project", value="'b'", file="1.parquet"
    )
    check_texts(source, CONFIG, "project", refuse_b, where="project <> 'b'")
    check_texts(source, CONFIG, "project", refuse_b, limit=1)
    with pytest.raises(ManifestError) as caught:
        check_texts(source, CONFIG, "project", refuse_b, where="project > 'a'", limit=3)
    assert [problem.row for problem in caught.value.problems] == [2, 3]


def test_each_text_is_looked_at_once(tmp_path):
    seen = []

    def note(texts):
        seen.extend(texts)
        return [None] * len(texts)

    check_texts(manifest(tmp_path, project=["a", "b", None, "a"]), CONFIG, "project", note)
    assert seen == ["a", "b", ""]
