"""What belongs to nothing is found and removed, and nothing else ever is."""

import json
import os
import time
import uuid
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from object_storage import client
from records import encoded_of, failure_of, key_of, result_of
from test_encode import encoded, moving

from tempprop import orphans
from tempprop.catalog import write_catalog
from tempprop.errors import StoreError
from tempprop.media_objects import upload_media
from tempprop.objects import list_names, read_object, write_object
from tempprop.orphans import find_orphans, remove_orphans
from tempprop.spec import EncoderConfig
from tempprop.store import (
    commit,
    iter_results,
    media_stem,
    open_store,
    remove_object,
    write_failure,
    write_run_file,
)

WEEK = timedelta(days=7)
AGES = {"young": timedelta(hours=1), "old": timedelta(days=30)}


def committed(store, directory, clip_id, content=b"media", run_id="night-1"):
    key = key_of(clip_id)
    media = upload_media(store, encoded_of(directory, content, uuid.uuid4().hex), clip_id, key)
    result = result_of(clip_id, run_id=run_id).model_copy(update={"media": media})
    return commit(store, result)


def age(root, days=30.0):
    """Make every file older than it is."""
    then = time.time() - days * 86_400
    for path in Path(root).rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def here(tmp_path):
    return tmp_path


@pytest.fixture
def library(out, tmp_path):
    """Two clips, one of them in the catalog, beside one of everything that belongs to nothing."""
    store = open_store(str(out))
    catalogued = committed(store, tmp_path, "a")
    write_catalog(store, "night-1", [catalogued])
    committed(store, tmp_path, "b")
    upload_media(store, encoded_of(tmp_path, b"orphan" * 100), "c", key_of("c"))
    write_failure(store, failure_of("d"))
    write_run_file(store, "night-1", "summary.json", b"{}")
    write_object(store, f"unfinished/{key_of('a')}.zip", b"done")
    write_object(store, f"unfinished/{key_of('c')}.zip", b"to go on from")
    write_object(store, ".tempprop-probe-0a1b2c3d", b"tempprop was here")
    (out / "media" / f".{uuid.uuid4().hex}.tmp").write_bytes(b"half")
    (out / "runs" / "night-1" / f".{uuid.uuid4().hex}.tmp").write_bytes(b"half")
    age(out)
    return store


ORPHANS = {
    "media": f"{media_stem('c', key_of('c'))}.mp4",
    "poster": f"{media_stem('c', key_of('c'))}.jpg",
    "unfinished": f"unfinished/{key_of('a')}.zip",
    "probe": ".tempprop-probe-0a1b2c3d",
}


def test_what_belongs_to_nothing_is_listed_and_only_then_removed(library, out, call):
    before = sorted(out.rglob("*"))
    answer = call("gc", out, "--json").json
    found = answer["orphans"]
    kinds = sorted(orphan["kind"] for orphan in found)
    assert kinds == ["media", "poster", "probe", "temporary", "temporary", "unfinished"]
    assert {o["kind"]: o["name"] for o in found if o["kind"] != "temporary"} == ORPHANS
    assert answer["bytes"] == sum((out / orphan["name"]).stat().st_size for orphan in found)
    assert answer["removed"] is None
    assert sorted(out.rglob("*")) == before

    assert call("gc", out, "--delete", "--json").json["removed"] == len(found)
    gone = {str(path.relative_to(out)) for path in set(before) - set(out.rglob("*"))}
    assert gone == {orphan["name"] for orphan in found}
    assert call("gc", out, "--json").json["orphans"] == []
    for result in iter_results(library):
        assert read_object(library, result.media.url) == b"media"
        assert read_object(library, result.media.poster_url).startswith(b"poster")


def test_people_get_a_table(library, out, call):
    lines = call("gc", out).out.splitlines()
    assert lines[0].split() == ["kind", "age", "size", "name"]
    assert [line.split()[:3] for line in lines if "c.mp4" in line or "/c." in line] == [
        ["poster", "30.0", "d"],
        ["media", "30.0", "d"],
    ]
    assert lines[-1].endswith("bytes: nothing was removed, see --delete")
    assert "6 removed" in call("gc", out, "--delete").out
    assert call("gc", out).out == f"0 orphans in {out}, 0 bytes\n"


def test_a_long_table_ends_somewhere(out, call, tmp_path):
    store = open_store(str(out))
    committed(store, tmp_path, "a")
    for number in range(60):
        write_object(store, f"media/x{number}.{'0' * 16}.mp4", b"1")
    age(out)
    printed = call("gc", out).out
    assert "and 10 more, which --json lists" in printed
    assert "60 orphans" in printed


def test_what_is_young_is_left_alone(library, out, call):
    age(out, days=3)
    assert call("gc", out, "--json").json["orphans"] == []
    assert len(call("gc", out, "--older-than", "60h", "--json").json["orphans"]) == 6
    assert call("gc", out, "--older-than", "1w", "--json").json["older_than_hours"] == 168
    assert call("gc", out, "--older-than", "1d12h", "--json").json["older_than_hours"] == 36


@pytest.mark.parametrize("text", ["", "7", "d", "-3d", "7 days", "1e3d", "999999999w", "7D"])
def test_ages_that_are_none(out, call, text):
    answer = call("gc", out, f"--older-than={text}")
    assert answer.code == 2
    assert "Traceback" not in answer.err
    assert "age" in answer.err or "hundred years" in answer.err


def test_places_without_an_output_are_refused(refused, here):
    (here / "empty").mkdir()
    assert "there is no output" in refused("gc", here / "empty")
    assert "there is no output" in refused("gc", here / "nowhere", "--delete")


def test_names_that_are_not_ours_are_left_alone(library, out):
    for name in ("media/holiday.mp4", "media/a.0123.mp4", "unfinished/notes.zip", ".hidden.tmp"):
        write_object(library, name, b"mine")
    age(out)
    assert len(find_orphans(library, WEEK)) == 6


def test_the_record_counts_and_not_an_older_catalog(out, tmp_path):
    store = open_store(str(out))
    first = committed(store, tmp_path, "a", b"first")
    write_catalog(store, "night-1", [first])
    remove_object(store, f"records/{first.key}.json")
    second = committed(store, tmp_path, "a", b"second", run_id="night-2")
    age(out)
    assert second.media.url != first.media.url
    # What the catalog tells people has to be there too.
    assert find_orphans(store, WEEK) == []


def test_a_damaged_record_stops_everything(library, out):
    write_object(library, f"records/{key_of('e')}.json", b"{")
    with pytest.raises(StoreError, match="damaged"):
        find_orphans(library, WEEK)


def test_a_clip_that_is_committed_meanwhile_keeps_its_media(library, tmp_path):
    found = find_orphans(library, WEEK)
    media = upload_media(library, encoded_of(tmp_path, b"orphan" * 100), "c", key_of("c"))
    assert media.url == ORPHANS["media"]
    commit(library, result_of("c").model_copy(update={"media": media}))
    remove_orphans(library, found)
    assert read_object(library, media.url) == b"orphan" * 100
    assert read_object(library, media.poster_url)
    # What it went on from is an orphan only now, and was none then.
    assert f"{key_of('c')}.zip" in list_names(library, "unfinished")


def test_media_that_are_used_again_are_young_again(library, tmp_path):
    """Media of a run that was killed long ago are about to have a record."""
    assert ORPHANS["media"] in {orphan.name for orphan in find_orphans(library, WEEK)}
    upload_media(library, encoded_of(tmp_path, b"orphan" * 100), "c", key_of("c"))
    assert not {"media", "poster"} & {orphan.kind for orphan in find_orphans(library, WEEK)}


@pytest.mark.parametrize("is_committed", [True, False])
def test_sequences_and_previews_go_or_stay_with_their_record(out, tmp_path, is_committed):
    store = open_store(str(out))
    committed(store, tmp_path, "a")
    clip = encoded([moving()], tmp_path, encoder=EncoderConfig(profile="png"))
    media = upload_media(store, clip, "s", key_of("s"))
    if is_committed:
        result = commit(store, result_of("s").model_copy(update={"media": media}))
        write_catalog(store, "night-1", [result])
    age(out)
    kinds = Counter(orphan.kind for orphan in find_orphans(store, WEEK))
    assert kinds == ({} if is_committed else {"media": 9, "poster": 1, "preview": 1})


CLIPS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "x.0123456789abcdef", "y.mp4", "-rf"]),
        st.booleans(),  # committed
        st.booleans(),  # catalogued
        st.sampled_from(["one", "two"]),  # bytes
        st.booleans(),  # its record is removed afterwards
        st.sampled_from(sorted(AGES)),
    ),
    max_size=8,
)


@settings(max_examples=30, deadline=None)
@given(CLIPS, st.booleans())
def test_whatever_happened_media_of_records_stay(tmp_path_factory, clips, unfinished):
    directory = tmp_path_factory.mktemp("gc")
    store = open_store(str(directory / "out"))
    young = set()
    for number, (clip_id, is_committed, is_catalogued, content, removed, how_old) in enumerate(
        clips
    ):
        there = {path for path in (directory / "out").rglob("*") if path.is_file()}
        media = upload_media(
            store, encoded_of(directory, content.encode(), f"{number}"), clip_id, key_of(clip_id)
        )
        if unfinished:
            write_object(store, f"unfinished/{key_of(clip_id)}.zip", b"1")
        if is_committed:
            result = commit(store, result_of(clip_id).model_copy(update={"media": media}))
            if is_catalogued:
                write_catalog(store, f"run-{number}", [result])
            if removed:
                remove_object(store, f"records/{result.key}.json")
        then = time.time() - AGES[how_old].total_seconds()
        for path in directory.glob("out/**/*.*"):
            if path.is_file() and path not in there:
                os.utime(path, (then, then))
                young |= {path} if how_old == "young" else set()
    remove_orphans(store, find_orphans(store, WEEK))
    for result in iter_results(store):
        assert read_object(store, result.media.url) in {b"one", b"two"}
        assert read_object(store, result.media.poster_url)
    assert all(path.exists() for path in young if path.parent.name == "media")
    assert find_orphans(store, WEEK) == []


def test_a_store_in_memory_has_no_clock_but_that_of_its_objects(tmp_path):
    store = open_store(f"memory://{uuid.uuid4().hex}")
    kept = committed(store, tmp_path, "a")
    upload_media(store, encoded_of(tmp_path, b"orphan"), "c", key_of("c"))
    assert find_orphans(store, WEEK) == []
    found = find_orphans(store, timedelta())
    assert {orphan.name for orphan in found} == {ORPHANS["media"], ORPHANS["poster"]}
    assert remove_orphans(store, found) == 2
    assert read_object(store, kept.media.url) == b"media"


@pytest.mark.s3
def test_uploads_that_nobody_completes_are_aborted(s3_uri, object_storage, call, tmp_path):
    store, s3 = open_store(s3_uri), client(object_storage.endpoint)
    kept = committed(store, tmp_path, "a")
    prefix = store.root.partition("/")[2]
    key = f"{prefix}/media/c.{key_of('c')[:16]}.mp4"
    upload = s3.create_multipart_upload(Bucket="clips", Key=key)["UploadId"]
    s3.upload_part(Bucket="clips", Key=key, UploadId=upload, PartNumber=1, Body=b"part")
    of_others = s3.create_multipart_upload(Bucket="clips", Key=f"{prefix}/backup.tar")["UploadId"]

    assert json.loads(call("gc", s3_uri, "--json").out)["orphans"] == []
    (found,) = call("gc", s3_uri, "--older-than", "0", "--delete", "--json").json["orphans"]
    assert (found["kind"], found["bytes"], found["upload_id"]) == ("upload", 4, upload)
    left = s3.list_multipart_uploads(Bucket="clips", Prefix=prefix).get("Uploads", [])
    assert [entry["UploadId"] for entry in left] == [of_others]
    s3.abort_multipart_upload(Bucket="clips", Key=f"{prefix}/backup.tar", UploadId=of_others)
    assert read_object(store, kept.media.url) == b"media"


def test_only_the_records_in_doubt_are_read(out, tmp_path, monkeypatch):
    store = open_store(str(out))
    results = [committed(store, tmp_path, f"clip-{number}") for number in range(20)]
    write_catalog(store, "night-1", results)
    newer = committed(store, tmp_path, "newer")
    age(out)
    read = []
    monkeypatch.setattr(
        orphans, "iter_results", lambda store, keys: read.append(keys) or iter_results(store, keys)
    )
    assert find_orphans(store, WEEK) == []
    assert read == [{newer.key}]
