"""Nothing that a manifest, a caller or a record says leads out of an output."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import encoded_of, key_of, result_of

from tempprop.catalog import find_clip, write_catalog
from tempprop.errors import ManifestError, StoreError, StoreInputError
from tempprop.manifest import read_clips
from tempprop.media_objects import upload_media
from tempprop.objects import fetch_file, read_object, remove_object, write_object
from tempprop.spec import RenderConfig
from tempprop.store import (
    commit,
    iter_results,
    open_store,
    read_result,
    record_name,
    write_run_file,
)

HOSTILE = st.one_of(
    st.text(alphabet="./\\~\0\n:%é*?[]a", max_size=12),
    st.sampled_from(
        ["..", ".", "../x", "/etc/passwd", "a/../../x", "~/x", "C:\\x", "file:///x", "%2e%2e/x"]
    ),
    st.text(max_size=8),
)


def encodable(text):
    return text.encode("utf-8", "ignore").decode()


def outside(directory):
    """Every file beside the output."""
    return {path for path in directory.rglob("*") if not path.is_relative_to(directory / "out")}


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(st.sampled_from(["..", ".", "...", "-rf", "a.mp4", "~"]), HOSTILE),
    *(HOSTILE,) * 4,
)
def test_rows_of_a_manifest(tmp_path_factory, clip_id, prompt, tag, picture, project):
    directory = tmp_path_factory.mktemp("escape")
    store = open_store(str(directory / "out"))
    texts = (clip_id, prompt, tag, picture, project)
    clip_id, prompt, tag, picture, project = map(encodable, texts)
    columns = {
        "clip_id": [clip_id],
        "prompt": [prompt or "a fox"],
        "init_image": pa.array([picture or None], pa.string()),
        "project": [project],
        "tags": pa.array([[(tag, tag)]], pa.map_(pa.string(), pa.string())),
    }
    manifest = directory / "clips.parquet"
    pq.write_table(pa.table(columns), manifest)
    try:
        (spec,) = read_clips(str(manifest), RenderConfig())
    except ManifestError:
        return
    encoded = encoded_of(directory, b"media")
    before = outside(directory)
    media = upload_media(store, encoded, spec.clip_id, key_of(clip_id))
    result = result_of("a").model_copy(
        update={"key": key_of(clip_id), "clip_id": spec.clip_id, "spec": spec, "media": media}
    )
    commit(store, result)
    write_catalog(store, "night-1", [result])
    assert outside(directory) == before
    assert find_clip(store, spec.clip_id) == [result]
    names = sorted(path.name for path in (directory / "out").rglob("*") if path.is_file())
    assert len(names) == 4


@settings(max_examples=100, deadline=None)
@given(HOSTILE)
def test_names_of_runs(tmp_path_factory, run_id):
    directory = tmp_path_factory.mktemp("escape")
    store = open_store(str(directory / "out"))
    for write in (
        lambda: write_run_file(store, run_id, "summary.json", b"{}"),
        lambda: write_run_file(store, "night-1", run_id, b"{}"),
        lambda: write_catalog(store, run_id, [result_of("a")]),
    ):
        try:
            name = write()
        except ValueError:
            continue
        assert (directory / "out" / name).resolve().is_relative_to(directory / "out")
    assert {path.name for path in directory.iterdir()} <= {"out"}


@settings(max_examples=150, deadline=None)
@given(st.one_of(HOSTILE, st.lists(HOSTILE, max_size=3).map("/".join)))
def test_whatever_name_a_record_gives(tmp_path_factory, name):
    directory = tmp_path_factory.mktemp("escape")
    store = open_store(str(directory / "out"))
    try:
        path = store.path(name)
    except StoreInputError:
        assert name.startswith("/") or "\0" in name or ".." in name.split("/")
        return
    assert Path(os.path.normpath(path)).is_relative_to(directory / "out")


@pytest.mark.parametrize("url", ["../secret", "media/../../secret", "/etc/passwd", "media/\0"])
def test_a_record_that_points_elsewhere_reads_and_removes_nothing(tmp_path, url):
    (tmp_path / "secret").write_text("secret")
    store = open_store(str(tmp_path / "out"))
    result = result_of("a")
    hostile = result.model_copy(update={"media": result.media.model_copy(update={"url": url})})
    write_object(store, record_name("records", result.key), hostile.model_dump_json().encode())
    (read,) = iter_results(store)
    for use in (
        lambda: read_object(store, read.media.url),
        lambda: fetch_file(store, read.media.url, tmp_path / "copy"),
        lambda: remove_object(store, read.media.url),
    ):
        with pytest.raises(StoreInputError, match="leads out of the output"):
            use()
    assert (tmp_path / "secret").read_text() == "secret"
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("change", [{"key": "../../x"}, {"key": key_of("b")}, {"clip_id": "../x"}])
def test_a_record_of_another_name_is_damaged(tmp_path, change):
    store = open_store(str(tmp_path / "out"))
    result = result_of("a")
    written = result.model_copy(update=change).model_dump_json().encode()
    write_object(store, record_name("records", result.key), written)
    with pytest.raises(StoreError, match="damaged"):
        read_result(store, result.key)
    with pytest.raises(StoreError, match="damaged"):
        list(iter_results(store))
