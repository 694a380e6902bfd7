"""The processes of a run, as an operating system sees them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

WORKER_TITLE = "ray::RenderWorker"


@contextmanager
def rendering(manifest: object, out: object, *options: object) -> Iterator[subprocess.Popen[str]]:
    """Run `tempprop render` in a process group of its own, as a terminal does."""
    command = [sys.executable, "-m", "flows.cli", "render", manifest, "--out", out, *options]
    process = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def workers_of(parent: int) -> list[psutil.Process]:
    """The render workers below a process, by the title that Ray gives them.

    A worker that is about to start an encoder has, for a moment, a child of its own title.
    """
    found: dict[int, tuple[psutil.Process, int]] = {}
    for process in psutil.Process(parent).children(recursive=True):
        try:
            if " ".join(process.cmdline()).startswith(WORKER_TITLE):
                found[process.pid] = (process, process.ppid())
        except psutil.Error:
            continue
    return [process for process, parent_pid in found.values() if parent_pid not in found]


def kill(process: psutil.Process) -> None:
    os.kill(process.pid, signal.SIGKILL)


def wait_until(condition: Callable[[], bool], seconds: float = 480) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s in vain")
        time.sleep(0.1)
