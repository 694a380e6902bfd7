"""A real S3 server for tests: SeaweedFS, from the development dependencies."""

import json
import random
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

START_SECONDS = 60
GRPC_OFFSET = 10_000  # weed listens there too, for every port that it is given
IDENTITIES = {
    "tempprop-test": (["Admin", "Read", "Write", "List", "Tagging"], "tempprop-secret"),
    "tempprop-reader": (["Read", "List"], "reader-secret"),
}


@dataclass(frozen=True)
class ObjectStorage:
    """A running server.

    Attributes:
        endpoint: URL of its S3 interface.
        command: What started it.
        directory: Where its data are.
        process: The server.
    """

    endpoint: str
    command: list[str]
    directory: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End it as a power cut would, as far as its own memory goes."""
        _kill(self.process)

    def restarted(self) -> "ObjectStorage":
        """Start it again on its data and its ports, and wait until it stores."""
        process = _run(self.command, self.directory)
        server = ObjectStorage(self.endpoint, self.command, self.directory, process)
        assert _stores(server), _log(self.directory)
        return server

    def environment(self, access_key: str = "tempprop-test") -> dict[str, str]:
        """Give the variables by which any S3 client finds the server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": IDENTITIES[access_key][1],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        }

    def make_bucket(self, name: str) -> None:
        client(self.endpoint).create_bucket(Bucket=name)


def client(endpoint: str) -> Any:
    """Make a plain S3 client of the server's administrator."""
    return botocore.session.Session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="tempprop-test",
        aws_secret_access_key=IDENTITIES["tempprop-test"][1],
        config=Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}),
    )


def free_port(offset: int = 0) -> int:
    """Find a TCP port that is free, and whose neighbor at the offset is free as well."""
    while True:
        port = random.randint(20_000, 50_000)
        if all(_is_free(candidate) for candidate in {port, port + offset}):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def seaweedfs(directory: Path) -> Iterator[ObjectStorage]:
    """Run SeaweedFS on free ports, with its data in the directory, and end it."""
    # A port that was free may be taken by another process before the server has it.
    server = _start(directory / "first") or _start(directory / "second") or _start(directory)
    assert server is not None, _log(directory)
    try:
        yield server
    finally:
        _kill(server.process)


def _start(directory: Path) -> ObjectStorage | None:
    """Start a server and wait until it stores; None where it does not."""
    directory.mkdir(exist_ok=True)
    config = directory / "s3.json"
    config.write_text(json.dumps({"identities": _identities()}))
    s3_port = free_port(GRPC_OFFSET)
    weed = Path(sysconfig.get_path("scripts")) / "weed"
    command = [
        *(str(weed), "server", f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-master.port={free_port(GRPC_OFFSET)}", f"-volume.port={free_port(GRPC_OFFSET)}"),
        *("-filer", f"-filer.port={free_port(GRPC_OFFSET)}"),
        *("-s3", f"-s3.port={s3_port}", f"-s3.config={config}"),
        # These two have fixed ports by default, which a second server on the machine cannot have.
        *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        *("-master.volumeSizeLimitMB=100", "-volume.max=20"),
    ]
    process = _run(command, directory)
    server = ObjectStorage(f"http://127.0.0.1:{s3_port}", command, directory, process)
    if _stores(server):
        return server
    _kill(process)
    return None


def _run(command: list[str], directory: Path) -> subprocess.Popen[bytes]:
    with (directory / "weed.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=directory)


def _log(directory: Path) -> str:
    return (directory / "weed.log").read_text(errors="replace")[-3000:]


@contextmanager
def rclone(directory: Path) -> Iterator[str]:
    """Run `rclone serve s3` over a directory: it has no conditional writes. Gives its URL."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    key, (_, secret) = "tempprop-test", IDENTITIES["tempprop-test"]
    (directory / "clips").mkdir()
    binary = Path(sysconfig.get_path("scripts")) / "rclone"
    command = [str(binary), "serve", "s3", str(directory), "--config", str(directory / "none")]
    command += ["--addr", endpoint.removeprefix("http://"), "--auth-key", f"{key},{secret}"]
    with (directory / "rclone.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with suppress(BotoCoreError):
                client(endpoint).head_bucket(Bucket="clips")
                break
            assert process.poll() is None, (directory / "rclone.log").read_text()
            time.sleep(0.1)
        yield endpoint
    finally:
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    # A polite end takes ten seconds, and nobody wants the data.
    process.kill()
    process.wait()


def _identities() -> list[dict[str, Any]]:
    return [
        {
            "name": key,
            "credentials": [{"accessKey": key, "secretKey": secret}],
            "actions": actions,
        }
        for key, (actions, secret) in IDENTITIES.items()
    ]


def _stores(server: ObjectStorage) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while server.process.poll() is None and time.monotonic() < deadline:
        try:
            # It may have come about although the answer did not.
            with suppress(ClientError):
                server.make_bucket("ready")
            client(server.endpoint).put_object(Bucket="ready", Key="ready", Body=b"ready")
        except (ClientError, BotoCoreError):
            time.sleep(0.25)
        else:
            return True
    return False
