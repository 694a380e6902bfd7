import os
import pickle
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import encoded_of, failure_of, key_of, result_of, small_disk

from tempprop import objects
from tempprop.errors import StoreError, StoreInputError
from tempprop.media_objects import upload_media
from tempprop.objects import create_object, put_file, read_object, write_object
from tempprop.spec import CLIP_ID_PATTERN, LoRA
from tempprop.store import (
    check_segment,
    check_store,
    commit,
    committed_keys,
    display_uri,
    failed_keys,
    iter_failures,
    iter_results,
    media_stem,
    open_store,
    read_failure,
    read_result,
    record_name,
    write_failure,
    write_run_file,
)

KEY = key_of("a")


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    # Brackets, because fsspec takes them for a pattern where one is not careful.
    local = str(tmp_path / "out [draft]*")
    return open_store(local if request.param == "local" else f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def local(tmp_path):
    return open_store(str(tmp_path / "out"))


def files(store):
    return sorted(name.removeprefix(f"{store.root}/") for name in store.fs.find(store.root))


# The life of a clip


def test_credentials_of_a_spec_are_not_written(store):
    secret = "https://user:secret@host/{}?sig=secret"
    update = {
        "model": secret.format("model"),
        "loras": (LoRA(path=secret.format("lora")),),
        "init_image": secret.format("a.png"),
    }
    result, failure = result_of("a"), failure_of("b")
    spec = result.spec.model_copy(update=update)
    commit(store, result.model_copy(update={"spec": spec}))
    write_failure(store, failure.model_copy(update={"spec": spec}))
    for name in (record_name("records", result.key), record_name("failures", failure.key)):
        assert b"secret" not in read_object(store, name)
    written = read_result(store, result.key).spec
    assert written.init_image == "https://host/a.png"
    assert (written.model, written.loras[0].path) == ("https://host/model", "https://host/lora")


def test_a_clip_is_committed_once_and_read_back(store):
    first = result_of("a")
    assert committed_keys(store) == set()
    assert commit(store, first) == first
    assert commit(store, first) == first
    assert committed_keys(store) == {first.key}
    assert read_result(store, first.key) == first


def test_the_faster_worker_counts(store):
    first, second = result_of("a", run_id="one"), result_of("a", run_id="two", minute=9)
    commit(store, first)
    assert commit(store, second) == first
    assert read_result(store, first.key) == first


def test_many_records_are_read_in_order(store):
    results = [result_of(f"clip-{number}") for number in range(300)]
    for result in results:
        commit(store, result)
    read = list(iter_results(store))
    assert [result.key for result in read] == sorted(result.key for result in results)
    assert list(iter_results(store, {results[5].key})) == [results[5]]


def test_failures_are_replaced_by_success(store):
    for clip_id in "ab":
        write_failure(store, failure_of(clip_id))
    write_failure(store, failure_of("a", minute=5))
    assert read_failure(store, key_of("a")) == failure_of("a", minute=5)
    assert failed_keys(store) == {key_of("a"), key_of("b")}
    commit(store, result_of("a"))
    assert failed_keys(store) == {key_of("b")}
    assert list(iter_failures(store)) == [failure_of("b")]
    assert f"failures/{key_of('a')}.json" not in files(store)


def test_a_failure_left_beside_a_record_does_not_count(store):
    commit(store, result_of("a"))
    write_failure(store, failure_of("a"))
    assert failed_keys(store) == set()


def test_media_lie_where_the_record_says(store, tmp_path):
    encoded = encoded_of(tmp_path, b"media" * 1000)
    media = upload_media(store, encoded, "clip.1", KEY)
    assert media.url == f"media/clip.1.{KEY[:16]}.mp4"
    assert media.poster_url == f"media/clip.1.{KEY[:16]}.jpg"
    assert read_object(store, media.url) == b"media" * 1000
    assert (media.sha256, media.bytes) == (encoded.sha256, encoded.bytes)
    assert upload_media(store, encoded, "clip.1", KEY) == media
    assert files(store) == sorted([media.url, media.poster_url])


def test_media_of_another_worker_are_never_overwritten(store, tmp_path):
    first = upload_media(store, encoded_of(tmp_path, b"first", "1"), "a", KEY)
    second = upload_media(store, encoded_of(tmp_path, b"second", "2"), "a", KEY)
    assert read_object(store, first.url) == b"first"
    assert read_object(store, second.url) == b"second"


def test_run_files_are_overwritten(store):
    write_run_file(store, "night-1", "summary.json", b"1")
    assert write_run_file(store, "night-1", "summary.json", b"2") == "runs/night-1/summary.json"
    assert read_object(store, "runs/night-1/summary.json") == b"2"


def test_eight_writers_have_one_winner(local):
    def write(number):
        return commit(local, result_of("a", run_id=f"run-{number}")).run_id

    with ThreadPoolExecutor(8) as pool:
        winners = set(pool.map(write, range(8)))
    assert winners == {read_result(local, KEY).run_id}
    assert files(local) == [f"records/{KEY}.json"]


def test_other_files_among_the_records_are_not_clips(local):
    commit(local, result_of("a"))
    for name in ("notes.txt", f"{KEY}.json.bak", ".1234.tmp"):
        write_object(local, f"records/{name}", b"")
    assert committed_keys(local) == {KEY}


def test_unknown_and_damaged_records_are_named(store):
    with pytest.raises(StoreError, match=f"there is no records/{KEY}"):
        read_result(store, KEY)
    write_object(store, f"records/{KEY}.json", b'{"key": 1}')
    with pytest.raises(StoreError, match="damaged"):
        list(iter_results(store))


# Names


CLIP_IDS = st.from_regex(CLIP_ID_PATTERN, fullmatch=True).filter(lambda text: text[-1] != "\n")


@given(st.one_of(CLIP_IDS, st.sampled_from([".", "..", "...", "-rf"])), st.text())
def test_media_names_stay_below_the_root(clip_id, text):
    parts = PurePosixPath(f"{media_stem(clip_id, key_of(text))}.mp4").parts
    assert len(parts) == 2
    assert parts[0] == "media"
    assert ".." not in parts
    assert len(parts[1]) < 200


@given(st.text(alphabet="./\\\n\0~a%*é", max_size=12))
def test_whatever_could_lead_elsewhere_is_refused(text):
    for make in (lambda: media_stem(text, KEY), lambda: record_name("records", text)):
        try:
            name = make()
        except ValueError:
            continue
        assert set(text) <= {".", "a"}
        assert len(PurePosixPath(name).parts) == 2
    try:
        assert PurePosixPath("runs", check_segment(text)).name == text != ".."
    except ValueError:
        assert text in {"", ".", ".."} or not set(text) <= {".", "a"}


@pytest.mark.parametrize("clip_id", ["", "a/b", "a\n", "../x", "é", "a" * 129])
def test_bad_clip_ids_are_refused(local, tmp_path, clip_id):
    with pytest.raises(ValueError, match="clip_id"):
        upload_media(local, encoded_of(tmp_path, b"x"), clip_id, KEY)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("/a/b?c", "/a/b?c"),
        ("s3://bucket/a", "s3://bucket/a"),
        ("sftp://me:secret@host/a", "sftp://host/a"),
        ("sftp://secret@host/a@b", "sftp://host/a@b"),
        ("s3://KEY:sec/ret+@bucket/a", "s3://bucket/a"),
        ("https://host/a?token=secret", "https://host/a"),
    ],
)
def test_secrets_are_not_shown(uri, shown):
    assert display_uri(uri) == shown


# Opening and checking


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("", "empty"),
        ("nonsense://a", "nonsense"),
        ("s3:/bucket/a", "two slashes"),
        ("s3://", "bucket is missing"),
        ("s3:///a", "bucket is missing"),
        ("s3://KEY:secret@bucket/a", "do not belong"),
        ("s3://bucket/a?endpoint_url=secret", "do not belong"),
        ("simplecache::s3://bucket/a", "chained"),
    ],
)
def test_bad_locations_are_refused(uri, complaint):
    with pytest.raises(StoreInputError, match=complaint) as caught:
        open_store(uri)
    assert "secret" not in str(caught.value)


def test_a_good_location_passes_and_stays_clean(store):
    assert check_store(store).conditional_create
    assert files(store) == []


def test_a_store_stays_in_its_process(local):
    with pytest.raises(TypeError, match="open_store"):
        pickle.dumps(local)


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    for uri in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreInputError, match="file is where a directory"):
            check_store(open_store(str(uri)))


def test_a_location_without_permission(tmp_path):
    if os.geteuid() == 0:
        # Root may write everywhere, except where the kernel lets nobody.
        uri, complaint = "/proc/tempprop", "could not create .* does not exist"
    else:
        tmp_path.chmod(0o500)
        uri, complaint = str(tmp_path / "out"), "permission denied"
    with pytest.raises(StoreInputError, match=complaint):
        check_store(open_store(uri))


def test_storage_that_can_only_be_read(monkeypatch):
    store = open_store(f"memory://{uuid.uuid4().hex}")

    def refuse(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr(store.fs, "pipe_file", refuse)
    with pytest.raises(StoreInputError, match="only be read"):
        check_store(store)


def test_storage_that_ignores_the_condition_is_found_out(monkeypatch):
    store = open_store(f"memory://{uuid.uuid4().hex}")
    pipe = store.fs.pipe_file
    monkeypatch.setattr(store.fs, "pipe_file", lambda path, data, mode: pipe(path, data))
    assert not check_store(store).conditional_create


# Faults


def test_transient_faults_are_tried_again(monkeypatch):
    store = open_store(f"memory://{uuid.uuid4().hex}")
    pipe, faults = store.fs.pipe_file, [ConnectionResetError(), TimeoutError()]

    def flaky(path, data, mode):
        if faults:
            raise faults.pop()
        pipe(path, data, mode=mode)

    monkeypatch.setattr(store.fs, "pipe_file", flaky)
    write_object(store, "a", b"1")
    assert read_object(store, "a") == b"1"


def test_a_lost_acknowledgment_is_a_success(monkeypatch):
    store = open_store(f"memory://{uuid.uuid4().hex}")
    pipe, faults = store.fs.pipe_file, [ConnectionResetError()]

    def forgetful(path, data, mode):
        pipe(path, data, mode=mode)
        if faults:
            raise faults.pop()

    monkeypatch.setattr(store.fs, "pipe_file", forgetful)
    assert commit(store, result_of("a")) == result_of("a")


def test_the_deadline_ends_all_retries(monkeypatch):
    store = open_store(f"memory://{uuid.uuid4().hex}", deadline_seconds=0.5)

    def broken(*_, **__):
        raise ConnectionResetError("gone at https://me:secret@host/a?token=secret")

    monkeypatch.setattr(store.fs, "pipe_file", broken)
    with pytest.raises(StoreError, match="does not answer") as caught:
        commit(store, result_of("a"))
    assert "secret" not in str(caught.value)


def test_a_short_upload_is_found_out(monkeypatch, tmp_path):
    store = open_store(f"memory://{uuid.uuid4().hex}")
    monkeypatch.setattr(
        store.fs, "put_file", lambda source, path, mode: store.fs.pipe_file(path, b"12")
    )
    with pytest.raises(StoreError, match="has 2 bytes where 5"):
        upload_media(store, encoded_of(tmp_path, b"media"), "a", KEY)


def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path):
    encoded = encoded_of(tmp_path, bytes(4_000_000))
    with small_disk(tmp_path, 1 << 20) as disk:
        store = open_store(str(disk / "out"))
        check_store(store)
        commit(store, result_of("a"))
        for create in (True, False):
            with pytest.raises(StoreError, match="disk is full"):
                put_file(store, encoded.path, "media/a.mp4", create=create)
        with pytest.raises(StoreError, match="disk is full"):
            create_object(store, "records/b.json", bytes(4_000_000))
        assert files(store) == [f"records/{KEY}.json"]
        assert list((disk / "out" / "media").iterdir()) == []
        assert read_result(store, KEY) == result_of("a")


def test_a_full_disk_is_found_before_the_start(tmp_path):
    with small_disk(tmp_path, 4096) as disk:
        if not os.path.ismount(disk):
            pytest.skip("only who may mount a disk can fill it")
        (disk / "filler").write_bytes(bytes(4096))
        with pytest.raises(StoreInputError, match="disk is full"):
            check_store(open_store(str(disk / "out")))


def test_filesystems_without_hard_links_work_too(local, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "no hard links here")

    monkeypatch.setattr(objects.os, "link", refuse)
    commit(local, result_of("a", run_id="one"))
    assert commit(local, result_of("a", run_id="two")).run_id == "one"
    assert files(local) == [f"records/{KEY}.json"]
