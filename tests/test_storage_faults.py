"""What object storage does to commits, and what becomes of them: the table of docs/storage.md."""

import hashlib
import logging
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler

import pytest
from command_line import write_parquet
from faulty_storage import CUT, LOST_ANSWER, faulty_storage
from http_servers import serving
from object_storage import client, rclone, seaweedfs
from records import encoded_of, key_of, result_of

from tempprop import s3_objects
from tempprop.errors import StoreError, StoreInputError
from tempprop.media_objects import upload_media
from tempprop.objects import put_file, read_object, read_objects
from tempprop.store import (
    check_store,
    commit,
    committed_keys,
    iter_results,
    open_store,
)

pytestmark = pytest.mark.s3

MEGABYTE = 1 << 20


@pytest.fixture
def storage(object_storage, s3_uri, monkeypatch):
    with faulty_storage(object_storage.endpoint) as storage:
        monkeypatch.setenv("AWS_ENDPOINT_URL", storage.endpoint)
        yield storage


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of the least size that S3 takes."""
    monkeypatch.setattr(s3_objects, "PART_BYTES", 5 * MEGABYTE)
    monkeypatch.setattr("tempprop.objects.PART_BYTES", 5 * MEGABYTE)


@pytest.fixture
def large(tmp_path):
    """A file of three such parts and a bit, whose bytes tell where they belong."""
    path = tmp_path / "large.mp4"
    path.write_bytes(b"".join(bytes([n]) * MEGABYTE for n in range(16)) + b"end")
    return path


def produce(store, directory, clip_id):
    """Upload and commit a clip whose media nobody else has."""
    content = clip_id.encode() * 20_000
    media = upload_media(
        store, encoded_of(directory, content, uuid.uuid4().hex), clip_id, key_of(clip_id)
    )
    return commit(store, result_of(clip_id).model_copy(update={"media": media}))


def is_whole(store, result):
    media = read_object(store, result.media.url)
    return hashlib.sha256(media).hexdigest() == result.media.sha256


def uploads(endpoint):
    return client(endpoint).list_multipart_uploads(Bucket="clips").get("Uploads", [])


@pytest.mark.chaos
@pytest.mark.slow
def test_a_server_that_is_killed_in_mid_write_keeps_what_it_acknowledged(tmp_path, monkeypatch):
    directory = tmp_path / "weed"
    directory.mkdir()
    clips = [f"clip-{number:03}" for number in range(400)]
    acknowledged, unclear, killed = [], [], threading.Event()
    with seaweedfs(directory) as server:
        server.make_bucket("clips")
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        store = open_store("s3://clips/night", 2.0)

        def write(clip_id):
            if len(unclear) > 3:
                return
            try:
                acknowledged.append(produce(store, tmp_path, clip_id))
            except (StoreError, StoreInputError):
                unclear.append(clip_id)
            if len(acknowledged) > 30 and not killed.is_set():
                killed.set()
                server.kill()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, clips))
        assert killed.is_set()
        assert unclear, "nothing was being written when it was killed"
        again = server.restarted()
        try:
            there = {result.key: result for result in iter_results(open_store("s3://clips/night"))}
            for result in acknowledged:
                assert there[result.key] == result
            assert all(is_whole(store, result) for result in there.values())
            store = open_store("s3://clips/night")
            rest = [clip_id for clip_id in clips[:60] if key_of(clip_id) not in there]
            for clip_id in rest:
                produce(store, tmp_path, clip_id)
            results = list(iter_results(store))
            assert {key_of(clip_id) for clip_id in clips[:60]} <= {r.key for r in results}
            assert all(is_whole(store, result) for result in results)
        finally:
            again.kill()


def test_a_server_that_ignores_the_condition_is_found_out_and_named(
    tmp_path, object_storage, monkeypatch, caplog, call
):
    manifest = write_parquet(tmp_path / "clips.parquet", clip_id=["a"], prompt=["a fox"])
    (tmp_path / "rclone").mkdir()
    with rclone(tmp_path / "rclone") as endpoint:
        for name, value in object_storage.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        store = open_store("s3://clips/night")
        assert not check_store(store).conditional_create
        result = produce(store, tmp_path, "a")
        assert is_whole(store, result)
        assert committed_keys(store) == {key_of("a")}

        from flows.cli import _check_before_starting

        with caplog.at_level(logging.WARNING, "tempprop"):
            _check_before_starting(
                str(manifest), "s3://clips/night", "mini", ["model=test-card"], None, None
            )
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("s3://clips/night: it overwrites objects")
    assert "Let one run at a time write there" in warning


def test_a_connection_that_is_cut_in_mid_upload_costs_a_part_and_not_the_file(
    storage, s3_uri, small_parts, large
):
    store = open_store(s3_uri)
    storage.cut, storage.cuts = "partNumber=2", 2
    put_file(store, large, "media/a.mp4", create=True)
    assert storage.struck[CUT] == 2
    assert read_object(store, "media/a.mp4") == large.read_bytes()
    with pytest.raises(FileExistsError):
        put_file(store, large, "media/a.mp4", create=True)
    assert uploads(storage.endpoint) == []


def test_an_upload_that_fails_leaves_no_parts(storage, s3_uri, small_parts, large):
    store = open_store(s3_uri, 2.0)
    storage.cut, storage.cuts = "partNumber=3", 10_000
    with pytest.raises(StoreError, match="does not answer"):
        put_file(store, large, "media/a.mp4", create=True)
    storage.cut = None
    assert uploads(storage.endpoint) == []
    with pytest.raises(FileNotFoundError):
        read_object(store, "media/a.mp4")


def test_an_end_of_an_upload_that_nobody_hears_of_is_an_end(storage, s3_uri, small_parts, large):
    """The object is there, and the server knows no such upload any more."""
    store = open_store(s3_uri)
    storage.lost = "media/"
    encoded = encoded_of(large.parent, large.read_bytes())
    media = upload_media(store, encoded, "a", key_of("a"))
    assert storage.struck[LOST_ANSWER] >= 1
    assert read_object(store, media.url) == large.read_bytes()
    assert uploads(storage.endpoint) == []


def test_of_two_writers_of_a_large_file_one_wins_and_the_other_leaves_nothing(
    object_storage, s3_uri, small_parts, large
):
    def write(_):
        try:
            put_file(open_store(s3_uri), large, "media/race.mp4", create=True)
        except FileExistsError:
            return "lost"
        return "won"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(write, range(2))) == ["lost", "won"]
    assert uploads(object_storage.endpoint) == []


def test_an_outage_is_no_storm(storage, s3_uri):
    """Two hundred objects are asked for; each that is tried backs off, and the others are not."""
    store = open_store(s3_uri, 3.0)
    store.fs.connect()
    storage.fault = "unavailable"
    started = time.monotonic()
    with pytest.raises(StoreError, match="only with errors"):
        list(read_objects(store, [f"records/{key_of(str(n))}.json" for n in range(200)]))
    assert time.monotonic() - started < 15
    assert storage.struck["unavailable"] <= 16 * 25


class CountingServer(BaseHTTPRequestHandler):
    """Takes uploads in parts, and forgets all but their size."""

    protocol_version = "HTTP/1.1"
    sizes: dict[str, int] = {}  # noqa: RUF012 - one server at a time
    counting = threading.Lock()

    def do_POST(self):
        self._read()
        self._answer("<R><UploadId>u</UploadId><ETag>e</ETag></R>")

    def do_PUT(self):
        name, size = self.path.partition("?")[0], self._read()
        with self.counting:
            self.sizes[name] = self.sizes.get(name, 0) + size
        self._answer("", ETag='"e"')

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", str(self.sizes[self.path]))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()

    def _read(self):
        left = size = int(self.headers.get("Content-Length", 0))
        while left:
            left -= len(self.rfile.read(min(left, MEGABYTE)))
        return size

    def _answer(self, body, **headers):
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


UPLOAD = """
import resource, sys
from pathlib import Path
from tempprop.objects import open_store, put_file
store = open_store("s3://clips/night")
store.fs.connect()
put_file(store, Path(sys.argv[1]), "media/a.mp4")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_size_of_the_media(tmp_path, object_storage, monkeypatch):
    for name, value in object_storage.environment().items():
        monkeypatch.setenv(name, value)
    peaks = {}
    with serving(CountingServer) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        for megabytes in (64, 512):
            CountingServer.sizes.clear()
            source = tmp_path / "clip.mp4"
            with source.open("wb") as file:
                file.truncate(megabytes * MEGABYTE)
            ended = subprocess.run(
                [sys.executable, "-c", UPLOAD, str(source)],
                check=True,
                capture_output=True,
                text=True,
            )
            assert CountingServer.sizes == {"/clips/night/media/a.mp4": megabytes * MEGABYTE}
            peaks[megabytes] = int(ended.stdout) * 1024
    assert peaks[512] - peaks[64] < 64 * MEGABYTE
