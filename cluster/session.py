"""Joining a Ray cluster, or starting a private one on this machine."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import ray

from tempprop.errors import InputError

OBJECT_STORE_BYTES = 100_000_000
"""Specs and records are all that passes through Ray, so its smallest comfortable store will do."""


@contextmanager
def ray_session(address: str | None, *, num_gpus: int | None = None) -> Iterator[None]:
    """Connect to Ray for the time of a `with` block.

    Whoever handled SIGTERM before goes on to handle it. Schedulers send it to all processes of a
    batch at once: a private Ray does not obey it, so that what is nearly done can still be
    committed.

    Args:
        address: Address of a running cluster, for example `auto` or `ray://head:10001`; None
            starts a private Ray on this machine, and stops it afterwards.
        num_gpus: GPUs that a private Ray is told to have, whether there are any or not; None for
            those that it finds.

    Raises:
        InputError: There is no cluster at the address, or it refuses this client.
    """
    # Under `uv run`, Ray would start every worker in an environment of its own.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {
            "address": "local",
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "num_gpus": num_gpus,
        }
    else:
        options |= {"address": address}
    before = set(psutil.Process().children())
    try:
        with _sigterm_kept():
            ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        if address is None:
            raise
        raise InputError(
            f"cannot join the Ray cluster at {address}: {str(error).splitlines()[0]}. Check the "
            "address, that its Ray has the same version, and RAY_AUTH_MODE and RAY_AUTH_TOKEN"
        ) from error
    started = set(psutil.Process().children()) - before
    try:
        yield
    finally:
        if address is None:
            _kill_helpers(started)
        ray.shutdown()


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Block SIGTERM while processes are started, which inherit that, and keep its handler.

    Ray, when it starts, takes the signal for itself, and aborts the process on it.
    """
    handler = signal.getsignal(signal.SIGTERM)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _kill_helpers(processes: set[psutil.Process]) -> None:
    """Kill those of a private Ray's processes that it does not need for its own shutdown.

    It would wait a second for each to obey SIGTERM.
    """
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.name() not in {"gcs_server", "raylet"}:
                process.kill()
