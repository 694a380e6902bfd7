import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest
from http_servers import serving
from object_storage import client, free_port
from records import encoded_of, failure_of, key_of, result_of

from tempprop import filesystems
from tempprop.catalog import find_clip, read_catalog, write_catalog
from tempprop.catalog_query import query_catalog
from tempprop.catalog_upkeep import Upkeep, compact_catalog, rebuild_catalog
from tempprop.errors import StoreError, StoreInputError
from tempprop.media_objects import upload_media
from tempprop.objects import (
    create_object,
    list_names,
    list_objects,
    put_file,
    read_object,
    write_object,
)
from tempprop.store import (
    check_store,
    commit,
    committed_keys,
    failed_keys,
    iter_results,
    open_store,
    read_result,
    write_failure,
    write_run_file,
)

pytestmark = pytest.mark.s3

KEY = key_of("a")


@pytest.fixture
def store(s3_uri):
    return open_store(s3_uri)


@contextmanager
def silent_server():
    """Listen, and never answer."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_the_location_is_proven_and_left_clean(store, object_storage):
    assert check_store(store).conditional_create
    prefix = store.root.partition("/")[2]
    listed = client(object_storage.endpoint).list_objects_v2(Bucket="clips", Prefix=prefix)
    assert listed["KeyCount"] == 0


def test_the_life_of_a_clip(store, tmp_path):
    write_failure(store, failure_of("a"))
    assert failed_keys(store) == {KEY}
    encoded = encoded_of(tmp_path, b"media" * 1000)
    media = upload_media(store, encoded, "a", KEY)
    assert upload_media(store, encoded, "a", KEY) == media
    other = upload_media(store, encoded_of(tmp_path, b"other", "2"), "a", KEY)
    assert read_object(store, media.url) == b"media" * 1000
    assert read_object(store, other.url) == b"other"

    result = result_of("a").model_copy(update={"media": media})
    assert commit(store, result) == result
    assert commit(store, result_of("a", run_id="later")) == result
    assert read_result(store, KEY) == result
    assert (committed_keys(store), failed_keys(store)) == ({KEY}, set())


def test_types_let_a_browser_show_what_it_gets(store, object_storage, tmp_path):
    media = upload_media(store, encoded_of(tmp_path, b"media"), "a", KEY)
    report = write_run_file(store, "night-1", "report.html", b"<p>")
    _, _, prefix = store.root.partition("/")
    types = [
        client(object_storage.endpoint).head_object(Bucket="clips", Key=f"{prefix}/{name}")[
            "ContentType"
        ]
        for name in (media.url, media.poster_url, report)
    ]
    assert types == ["video/mp4", "image/jpeg", "text/html"]


def test_eight_writers_have_one_winner(store, s3_uri):
    def create(number):
        try:
            create_object(open_store(s3_uri), "records/race.json", str(number).encode())
        except FileExistsError:
            return None
        return str(number).encode()

    with ThreadPoolExecutor(8) as pool:
        winners = [winner for winner in pool.map(create, range(8)) if winner is not None]
    assert winners == [read_object(store, "records/race.json")]


def test_eight_commits_agree(store):
    with ThreadPoolExecutor(8) as pool:
        runs = pool.map(
            lambda number: commit(store, result_of("a", run_id=f"run-{number}")).run_id, range(8)
        )
        assert set(runs) == {read_result(store, KEY).run_id}


def test_more_records_than_one_page_of_a_listing(store):
    results = [result_of(f"clip-{number}") for number in range(1100)]

    def write(result):
        write_object(store, f"records/{result.key}.json", result.model_dump_json().encode())

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, results))
    assert committed_keys(store) == {result.key for result in results}
    read = list(iter_results(store))
    assert sorted(read, key=lambda result: result.key) == read
    assert len(read) == 1100


def test_markers_of_folders_are_no_objects(store, object_storage):
    prefix = store.root.partition("/")[2]
    client(object_storage.endpoint).put_object(Bucket="clips", Key=f"{prefix}/media/", Body=b"")
    write_object(store, "media/a", b"1")
    assert list_names(store, "media") == ["a"]
    assert [entry.name for entry in list_objects(store, "media")] == ["media/a"]
    assert list_names(store, "") == ["media"]


def test_large_files_go_in_parts(store, tmp_path):
    source = tmp_path / "large.mp4"
    with source.open("wb") as file:
        file.truncate(120 << 20)
    put_file(store, source, "media/large.mp4", create=True)
    with pytest.raises(FileExistsError):
        put_file(store, source, "media/large.mp4", create=True)
    assert store.fs.info(store.path("media/large.mp4"))["size"] == 120 << 20


def test_the_catalog(store):
    results = [result_of("a"), result_of("b")]
    for result in results:
        commit(store, result)
    write_catalog(store, "night-1", results)
    assert read_catalog(store, ["clip_id"])["clip_id"].to_pylist() == ["a", "b"]
    assert find_clip(store, "b") == [results[1]]

    write_catalog(store, "night-2", [result_of("c")])
    assert compact_catalog(store) == Upkeep(rows=3, parts_before=2, parts=1)
    with query_catalog(store, "SELECT clip_id FROM clips ORDER BY ALL DESC") as answer:
        assert list(answer.rows) == [("c",), ("b",), ("a",)]
    assert rebuild_catalog(store) == Upkeep(rows=2, parts_before=1, parts=1)
    assert find_clip(store, "b") == [results[1]]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "credentials are missing or not accepted"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "credentials are missing or not accepted"),
        ({"AWS_PROFILE": "nobody"}, "credentials are missing or not accepted"),
        ({"AWS_ENDPOINT_URL": "127.0.0.1:1"}, "endpoint is not valid"),
    ],
)
def test_wrong_settings_are_explained(s3_uri, monkeypatch, change, complaint):
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreInputError, match=complaint) as caught:
        check_store(open_store(s3_uri))
    assert "secret" not in str(caught.value)


def test_no_credentials_at_all(s3_uri, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreInputError, match="Set AWS_ACCESS_KEY_ID"):
        check_store(open_store(s3_uri))


def test_a_reader_cannot_write(s3_uri, object_storage, monkeypatch):
    for name, value in object_storage.environment("tempprop-reader").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreInputError, match="permission denied"):
        check_store(open_store(s3_uri))


def test_a_missing_bucket_is_not_made(s3_uri, object_storage):
    with pytest.raises(StoreInputError, match=r"bucket does not exist\. Create it"):
        check_store(open_store("s3://no-such-bucket/night"))
    with pytest.raises(StoreInputError, match="bucket does not exist"):
        committed_keys(open_store("s3://no-such-bucket/night"))
    buckets = client(object_storage.endpoint).list_buckets()["Buckets"]
    assert "no-such-bucket" not in {bucket["Name"] for bucket in buckets}


def test_an_object_in_the_way(store):
    write_object(store, "file", b"1")
    with pytest.raises(StoreInputError, match="is an object"):
        check_store(open_store(f"s3://{store.root}/file"))


@contextmanager
def busy_server(faults):
    """Answer SlowDown so many times, and then take everything; count the requests."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            requests.append(self.path)
            busy = len(requests) <= faults
            body = b"<Error><Code>SlowDown</Code><Message>later</Message></Error>" if busy else b""
            self.send_response(503 if busy else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with serving(Handler) as endpoint:
        yield endpoint, requests


def test_a_busy_server_gets_time(monkeypatch, s3_uri):
    with busy_server(faults=3) as (endpoint, requests):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        write_object(open_store(s3_uri), "a", b"1")
    assert len(requests) == 4


def test_retries_do_not_multiply(monkeypatch, s3_uri):
    started = time.monotonic()
    with busy_server(faults=1000) as (endpoint, requests):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(StoreError, match="only with errors"):
            write_object(open_store(s3_uri, deadline_seconds=1.0), "a", b"1")
    assert time.monotonic() - started < 4
    assert len(requests) < 30


def test_nobody_listens_there(monkeypatch, s3_uri):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreInputError, match="AWS_ENDPOINT_URL"):
        check_store(open_store(s3_uri, deadline_seconds=1.0))


def test_a_server_that_never_answers_is_given_up_in_time(monkeypatch, s3_uri):
    started = time.monotonic()
    with silent_server() as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(StoreInputError, match="does not answer"):
            check_store(open_store(s3_uri))
    assert time.monotonic() - started < 30


@contextmanager
def stalled_server():
    """Ask for the body of a request, and never read it."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        asked, done = threading.Event(), threading.Event()

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                asked.set()
                done.wait(60)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        done.set()


def test_an_upload_to_a_server_that_stops_reading_ends(monkeypatch, s3_uri, tmp_path):
    monkeypatch.setattr(filesystems, "SLOWEST_BYTES_PER_SECOND", 1e9)
    source = tmp_path / "large.mp4"
    with source.open("wb") as file:
        file.truncate(30_000_000)
    with stalled_server() as (endpoint, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        store = open_store(s3_uri, deadline_seconds=3.0)
        store.fs.connect()  # building the client takes its time on a busy machine
        with pytest.raises(StoreError, match="does not answer"):
            put_file(store, source, "media/a.mp4")
        assert asked.is_set()
