"""ffmpeg as a process: found, fed as fast as it takes frames, and never left behind."""

import contextlib
import functools
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import IO

import imageio_ffmpeg

from tempprop.errors import DiskFullError, EncodeError

STDERR_BYTES = 16_384
MESSAGE_CHARACTERS = 600

EXIT_SECONDS = 10.0
"""How long ffmpeg may take to leave after it has closed its input."""


def find_ffmpeg(encoder: str = "libx264") -> str:
    """Find an ffmpeg with an encoder: the one on PATH, else the one of imageio-ffmpeg.

    Args:
        encoder: ffmpeg's name of it.

    Returns:
        Path of the program.

    Raises:
        EncodeError: There is no ffmpeg, or none that has the encoder.
    """
    programs = _programs()
    if not programs:
        raise EncodeError("there is no ffmpeg. Install it, or imageio-ffmpeg")
    for program in programs:
        if encoder in encoders_of(program):
            return program
    raise EncodeError(
        f"{' and '.join(programs)} cannot encode with {encoder}. Install imageio-ffmpeg, or an "
        "ffmpeg that was built with it, or choose another encoder.profile"
    )


def _programs() -> list[str]:
    found = [shutil.which("ffmpeg")]
    with contextlib.suppress(RuntimeError):
        found.append(str(imageio_ffmpeg.get_ffmpeg_exe()))
    return [program for program in found if program]


@functools.cache
def encoders_of(program: str) -> frozenset[str]:
    """List the encoders that an ffmpeg was built with; none where it cannot be asked."""
    command = [program, "-hide_banner", "-loglevel", "error", "-encoders"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    # Flags, name, description: " V....D libx264  libx264 H.264".
    words = (line.split() for line in listed.stdout.splitlines())
    return frozenset(word[1] for word in words if len(word) > 2 and word[0][0] == "V")


class _EncoderGoneError(Exception):
    """ffmpeg closed its input before it had all frames."""


@contextlib.contextmanager
def running(command: Sequence[str]) -> Iterator[Callable[[memoryview], None]]:
    """Run ffmpeg, and leave neither a process nor a pipe behind.

    Yields:
        A function that hands it raw frames, and waits while it is busy.

    Raises:
        DiskFullError: It found no room for its output.
        EncodeError: It did not start, or failed.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # Ctrl+C is the caller's to handle; ffmpeg would finish a short file and call it done.
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise EncodeError(f"ffmpeg did not start: {error}") from error
    assert process.stdin is not None
    assert process.stderr is not None
    stdin, head = process.stdin, bytearray()
    drain = threading.Thread(target=_drain, args=(process.stderr, head), daemon=True)
    drain.start()

    def write(data: memoryview) -> None:
        try:
            stdin.write(data)
        except BrokenPipeError as error:
            raise _EncoderGoneError from error

    complete = False
    try:
        yield write
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
        process.wait()
        complete = True
    except _EncoderGoneError:
        # It is about to exit: its reason is on stderr.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(EXIT_SECONDS)
    finally:
        process.kill()
        process.wait()
        drain.join()
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
        process.stderr.close()
    if not complete or process.returncode != 0:
        raise _failure(head, process.returncode)


def _drain(stderr: IO[bytes], head: bytearray) -> None:
    """Read to the end, so that ffmpeg never waits for us, and keep the beginning."""
    while chunk := stderr.read(4096):
        head += chunk[: STDERR_BYTES - len(head)]


def _failure(head: bytearray, code: int) -> EncodeError:
    text = " | ".join(head.decode(errors="replace").split("\n")).strip(" |")[:MESSAGE_CHARACTERS]
    if "No space left" in text:
        return DiskFullError(
            f"the disk is full while encoding: free some space. ffmpeg said: {text}"
        )
    return EncodeError(f"ffmpeg failed with exit status {code}: {text or 'it said nothing'}")
