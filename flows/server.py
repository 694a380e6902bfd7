"""The Prefect server that a command talks to: the one that is configured, or one of its own.

Prefect starts a temporary server itself where none is configured, as a child in the command's own
process group. Ctrl-C in a terminal would end that one in the middle of the run, and it would
outlive a command that is killed. The one started here does neither.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import httpx
from prefect import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from tempprop.errors import TempPropError

START_SECONDS = 180.0


@contextmanager
def prefect_server() -> Iterator[None]:
    """Have a Prefect server for the time of a `with` block.

    Its runs stay in Prefect's home directory, where a server that is started later shows them.

    Raises:
        TempPropError: The configured server does not answer, or none could be started.
    """
    if PREFECT_API_URL.value():
        _check_configured_server()
        yield
        return
    with temporary_settings({PREFECT_API_URL: _start_temporary_server()}):
        yield


def _check_configured_server() -> None:
    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if error is not None:
        raise TempPropError(
            f"the Prefect server at {PREFECT_API_URL.value()} does not answer ({error}). Start it, "
            "or unset PREFECT_API_URL to render with a temporary one"
        )


def _start_temporary_server() -> str:
    """Start a server in a session of its own, and wait until it answers.

    It ends when this process has ended, however that comes about: Prefect sends its last lines of
    the log when Python exits.

    Returns:
        URL of its API.
    """
    # The write end is never closed, so that the server reads the end of it when this process dies.
    lifeline, _ = os.pipe()
    with tempfile.TemporaryFile("w+") as log, socket.socket() as listener:
        # Whoever connects from now on waits until the server takes the socket over.
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(listener.fileno())],
            stdin=lifeline,
            stdout=log,
            stderr=log,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
        os.close(lifeline)
        listener.close()
        _wait_until_healthy(url, log)
    return url


def _wait_until_healthy(url: str, log: IO[str]) -> None:
    try:
        httpx.get(f"{url}/health", timeout=START_SECONDS).raise_for_status()
    except httpx.HTTPError as error:
        log.seek(0)
        said = "\n".join(log.read().strip().splitlines()[-5:])
        raise TempPropError(
            f"the temporary Prefect server did not start ({error!r}). It said:\n{said}"
        ) from error


def _serve(listener: socket.socket) -> None:
    """Serve Prefect's API on a socket until standard input ends, as it does with the parent."""
    # Only the server pays for these imports, not the command that starts it.
    import uvicorn  # noqa: PLC0415
    from prefect.server.api.server import create_app  # noqa: PLC0415

    threading.Thread(target=_end_with_parent, daemon=True).start()
    config = uvicorn.Config(create_app(ephemeral=True, final=True), log_level="error")
    uvicorn.Server(config).run(sockets=[listener])


def _end_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
