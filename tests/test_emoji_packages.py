"""Packages: pinned by content, fetched by npm, refused with a clear message."""

import hashlib
import json
import shutil
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote

import pytest
from emoji_packages import pack

from tempprop.errors import InputError
from tempprop.studies.emoji.packages import (
    ANIMATIONS,
    NAMES,
    Package,
    fetched,
    files_in,
    integrity_of,
    verified,
)

FILES = {"assets/a.webp": b"A", "README.md": b"read", "assets/b.webp": b""}


@pytest.fixture
def package(tmp_path):
    """A package whose archive lies in `tmp_path`, pinned by what it holds."""
    path = pack(tmp_path / "scope-name-1.2.3.tgz", FILES)
    return Package("@scope/name", "1.2.3", integrity_of(path))


def test_the_integrity_is_npms(tmp_path):
    """The sha512 of nothing, in base64, as everybody knows it."""
    (tmp_path / "empty").write_bytes(b"")
    assert integrity_of(tmp_path / "empty") == (
        "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg=="
    )
    assert hashlib.sha512(b"").hexdigest().startswith("cf83e1357eefb8bd")


def test_the_pinned_archives_are_named_as_npm_names_them():
    names = [package.archive for package in (*ANIMATIONS, NAMES)]
    assert names[0] == "lobehub-fluent-emoji-anim-1-1.0.0.tgz"
    assert names[-1] == "openmoji-17.0.0.tgz"
    assert len({package.integrity for package in (*ANIMATIONS, NAMES)}) == 5


def test_the_right_archive_is_taken_as_it_is(package, tmp_path, monkeypatch):
    """Also where there is no npm: what is there is not fetched again."""
    monkeypatch.setenv("PATH", "")
    assert verified(package, tmp_path) == fetched(package, tmp_path) == tmp_path / package.archive
    assert list(files_in([verified(package, tmp_path)], ".webp")) == [
        ("package/assets/a.webp", b"A"),
        ("package/assets/b.webp", b""),
    ]


def test_another_archive_under_the_name_is_refused(package, tmp_path):
    pack(tmp_path / package.archive, {"assets/a.webp": b"B"})
    with pytest.raises(InputError, match=r"scope-name-1\.2\.3\.tgz is not @scope/name 1\.2\.3"):
        verified(package, tmp_path)


def test_an_archive_that_is_not_there_is_named(package, tmp_path):
    with pytest.raises(InputError, match=r"no scope-name-1\.2\.3\.tgz in .*npm pack @scope/name@"):
        verified(package, tmp_path / "elsewhere")


def test_without_npm_it_says_what_to_do(package, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"npm is not on the PATH.*--packages"):
        fetched(package, tmp_path / "new")


@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm")
def test_what_npm_says_is_passed_on(package, tmp_path, monkeypatch):
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"npm pack @scope/name@1\.2\.3.*failed.*ECONNREFUSED"):
        fetched(package, tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


class Registry(BaseHTTPRequestHandler):
    """Answers what npm asks a registry for: what there is of a package, and its archive."""

    def do_GET(self):
        content = self.server.answers.get(unquote(self.path))
        self.send_response(200 if content is not None else 404)
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *details):
        """Stay silent."""


@contextmanager
def registry(package, archive):
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        dist = {"tarball": f"{url}/archive.tgz", "integrity": package.integrity}
        version = {"name": package.name, "version": package.version, "dist": dist}
        known = {"name": package.name, "versions": {package.version: version}}
        server.answers = {
            f"/{package.name}": json.dumps(known | {"dist-tags": {}}).encode(),
            "/archive.tgz": archive.read_bytes(),
        }
        Thread(target=server.serve_forever, daemon=True).start()
        yield url
        server.shutdown()


@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm")
def test_npm_fetches_what_was_pinned(package, tmp_path, monkeypatch):
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    archive = tmp_path / package.archive
    with registry(package, archive) as url:
        monkeypatch.setenv("npm_config_registry", url)
        path = fetched(package, tmp_path / "new")
    assert path.read_bytes() == archive.read_bytes()
    assert list((tmp_path / "new").iterdir()) == [path]


@pytest.mark.parametrize("keep", [0, 30, 100])
def test_a_damaged_archive_is_refused(package, tmp_path, keep):
    path = tmp_path / package.archive
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="cannot be read"):
        list(files_in([path], ".webp"))
