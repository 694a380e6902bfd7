"""What `storage:` says reaches the server, and nothing secret gets into a configuration."""

import socket
import sys
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler

import pytest
import yaml
from command_line import write_parquet
from http_servers import serving
from object_storage import free_port
from records import encoded_of, key_of, result_of

from tempprop.config import load_config
from tempprop.errors import ConfigError, StoreInputError
from tempprop.filesystems import open_store
from tempprop.media_objects import upload_media
from tempprop.objects import read_object, write_object
from tempprop.orphans import find_orphans, remove_orphans
from tempprop.spec import ModelIdentity, RenderConfig, StorageConfig, clip_key
from tempprop.store import (
    check_store,
    commit,
    committed_keys,
    read_result,
)


@contextmanager
def recording_server():
    """Take every object, and remember the requests."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            requests.append((self.path, dict(self.headers)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with serving(Handler) as endpoint:
        yield endpoint, requests


@pytest.fixture
def request_of(monkeypatch, tmp_path):
    """Write an object with some settings, and give the request that the server saw."""
    (tmp_path / "credentials").write_text(
        "[night]\naws_access_key_id = of-the-profile\naws_secret_access_key = x\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")

    def request(**settings):
        with recording_server() as (endpoint, requests):
            storage = StorageConfig(endpoint_url=endpoint, **settings)
            write_object(open_store("s3://clips/night", 60.0, storage), "a", b"1")
        ((path, headers),) = requests
        return path, headers.get("Authorization", "")

    return request


def test_the_endpoint_wins_over_the_environment_and_the_rest_comes_from_there(request_of):
    path, authorization = request_of()
    assert path == "/clips/night/a"
    assert "Credential=of-the-environment/" in authorization
    assert "/us-east-1/s3/" in authorization


def test_region_and_profile_win_over_the_environment(request_of):
    _, authorization = request_of(region="eu-central-7", profile="night")
    assert "Credential=of-the-profile/" in authorization
    assert "/eu-central-7/s3/" in authorization


def test_anonymous_requests_are_not_signed(request_of):
    assert request_of(anonymous=True) == ("/clips/night/a", "")


@pytest.mark.parametrize(
    ("style", "address"),
    [("virtual", "http://clips.storage.test/a"), ("path", "http://storage.test/clips/a")],
)
def test_the_bucket_is_a_part_of_the_host_where_that_is_asked_for(monkeypatch, style, address):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    storage = StorageConfig(endpoint_url="http://storage.test", region="x", addressing_style=style)
    store = open_store("s3://clips", storage=storage)
    assert store.fs.sign(store.path("a")).startswith(f"{address}?")


SECRET = "hunter2"


@pytest.mark.parametrize(
    "storage",
    [
        {"aws_secret_access_key": SECRET},
        {"endpoint_url": "http://127.0.0.1:1", "access_key": SECRET},
        {"password": SECRET},
        {"account_key": SECRET},
        {"session_token": SECRET, "region": 3},
        {"endpoint_url": f"http://me:{SECRET}@127.0.0.1:1"},
        {"endpoint_url": f"https://127.0.0.1:1/?sig={SECRET}"},
    ],
)
def test_credentials_in_a_configuration_are_refused_and_not_shown(tmp_path, call, storage):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"storage": storage}))
    manifest = write_parquet(tmp_path / "clips.parquet", clip_id=["a"], prompt=["a fox"])
    answer = call("render", manifest, "--out", "s3://clips/x", "--config", config)
    assert (answer.code, answer.out) == (2, "")
    assert "credentials do not belong into a configuration" in answer.err
    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in answer.err
    assert SECRET not in answer.err


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("storage.endpoint_url=127.0.0.1:9000", "must be http://HOST:PORT"),
        ("storage.endpoint_url=s3://x", "must be http://HOST:PORT"),
        ("storage.addressing_style=virtuel", "addressing_style"),
        ("storage.regoin=x", "did you mean storage.region"),
        ("storage.anonymous=1", "anonymous"),
        ("storage.region=a b", "region"),
    ],
)
def test_bad_settings_are_named(change, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load_config("mini", [change])


def test_the_server_is_in_no_key():
    spec = result_of("a").spec
    model = ModelIdentity(uri="mini", pipeline_class="P", digest="0" * 64)
    storage = StorageConfig(
        endpoint_url="http://a", region="b", profile="c", anonymous=True, addressing_style="path"
    )
    assert storage.model_fields_set == set(StorageConfig.model_fields)
    config = RenderConfig(storage=storage)
    assert clip_key(spec, config, model) == clip_key(spec, RenderConfig(), model)


@pytest.mark.s3
def test_commands_with_a_configuration_find_the_server_by_it(
    s3_uri, object_storage, monkeypatch, tmp_path, call
):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setattr("tempprop.store.CHECK_DEADLINE_SECONDS", 5.0)
    manifest = write_parquet(tmp_path / "clips.parquet", clip_id=["a"], prompt=["a fox"])
    options = ("plan", manifest, "--out", s3_uri, "--json", "--set", "model=test-card", "--set")
    planned = call(*options, f"storage.endpoint_url={object_storage.endpoint}")
    assert (planned.code, planned.json["to_render"]) == (0, 1)
    refused = call(*options, f"storage.endpoint_url=http://127.0.0.1:{free_port()}")
    assert refused.code == 2
    assert "AWS_ENDPOINT_URL, or storage.endpoint_url" in refused.err


# Google and Azure


@pytest.mark.parametrize(
    ("uri", "package", "extra"),
    [
        ("gs://clips/x", "gcsfs", "gcs"),
        ("az://clips/x", "adlfs", "azure"),
        ("abfs://clips/x", "adlfs", "azure"),
    ],
)
def test_a_package_that_is_missing_is_named(monkeypatch, uri, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(StoreInputError, match=r"pip install 'tempprop\[" + extra):
        open_store(uri)


@pytest.mark.parametrize(
    ("uri", "setting"),
    [("gs://clips/x", "region"), ("az://clips/x", "endpoint_url"), ("az://clips/x", "profile")],
)
def test_settings_that_would_do_nothing_are_refused(monkeypatch, uri, setting):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    value = "http://127.0.0.1:1" if setting == "endpoint_url" else "x"
    storage = StorageConfig.model_validate({setting: value, "anonymous": True})
    with pytest.raises(StoreInputError, match=f"storage.{setting} is not a setting"):
        open_store(uri, storage=storage)


def test_a_rehearsal_on_the_local_disk_needs_no_other_configuration(tmp_path):
    storage = StorageConfig(endpoint_url="http://127.0.0.1:1", region="x")
    store = open_store(str(tmp_path / "out"), storage=storage)
    assert check_store(store).conditional_create


def azure_account(port):
    return (
        f"DefaultEndpointsProtocol=http;AccountName=a;AccountKey=aHVudGVyMg==;"
        f"BlobEndpoint=http://127.0.0.1:{port}/a;"
    )


@pytest.mark.parametrize(
    ("uri", "setting"),
    [
        ("gs://clips/x", "STORAGE_EMULATOR_HOST"),
        ("az://clips/x", "AZURE_STORAGE_CONNECTION_STRING"),
    ],
)
def test_no_server_is_one_clear_error_within_the_deadline(monkeypatch, uri, setting):
    port = free_port()
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azure_account(port))
    google = StorageConfig(endpoint_url=f"http://127.0.0.1:{port}", anonymous=True)
    store = open_store(uri, 2.0, google if uri.startswith("gs") else StorageConfig())
    started = time.monotonic()
    with pytest.raises(StoreInputError, match="does not answer") as caught:
        check_store(store)
    assert time.monotonic() - started < 20
    assert setting in str(caught.value)
    assert "AWS" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "aHVudGVyMg" not in str(caught.value)


@contextmanager
def google_storage(bucket):
    """Run the emulator, which is the one server for gs:// that comes as a package."""
    from gcp_storage_emulator.server import create_server

    port = free_port()
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=bucket)
    server.start()
    try:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10):
            pass
        yield StorageConfig(endpoint_url=f"http://127.0.0.1:{port}", anonymous=True)
    finally:
        server.stop()


def test_a_clip_in_google_storage(tmp_path):
    with google_storage("clips") as storage:
        store = open_store("gs://clips/night", 20.0, storage)
        # The emulator ignores the condition that Google's own servers honor.
        assert not check_store(store).conditional_create
        encoded = encoded_of(tmp_path, b"media")
        media = upload_media(store, encoded, "a", key_of("a"))
        result = result_of("a").model_copy(update={"media": media})
        assert commit(store, result) == result
        upload_media(store, encoded, "b", key_of("b"))
        assert committed_keys(store) == {key_of("a")}
        assert read_result(store, key_of("a")) == result
        found = find_orphans(store, timedelta())
        assert sorted(orphan.kind for orphan in found) == ["media", "poster"]
        assert remove_orphans(store, found) == 2
        assert find_orphans(store, timedelta()) == []
        assert read_object(store, media.url) == b"media"
