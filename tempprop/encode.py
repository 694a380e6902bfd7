"""Frames in, a verified media file out.

Frames stream into ffmpeg as fast as it takes them, so that a long clip never lies in memory. The
file that comes out is decoded to its end before anybody else sees it under its name.
"""

import contextlib
import hashlib
import math
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
import ffmpeg
import imageio_ffmpeg
import numpy as np
from PIL import Image

from tempprop.errors import DiskFullError, EncodeError
from tempprop.frames import Frames
from tempprop.spec import EncoderConfig
from tempprop.storage_faults import DISK_FULL

THREADS = 4
"""A fixed number, because x264's bytes depend on it: the same frames give the same file."""

STDERR_BYTES = 16_384
MESSAGE_CHARACTERS = 600
POSTER_QUALITY = 92
LARGEST_RATE_TERM = 1_001_000
"""ffmpeg rounds rates whose numerator or denominator is larger."""

TOLERANCE = 1e-3
"""Relative rounding of rates and lengths in the container."""

LENGTH_TOLERANCE_SECONDS = 2e-3
"""MP4 cuts lengths to milliseconds."""

EXIT_SECONDS = 10.0
"""How long ffmpeg may take to leave after it has closed its input."""

CODEC = "h264"


@dataclass(frozen=True)
class Probe:
    """What a media file turned out to hold when it was decoded to its end.

    Attributes:
        codec: Name of the video codec.
        width: Pixels.
        height: Pixels.
        fps: Frames per second.
        num_frames: Frames that decode.
        duration_seconds: Length of the video stream.
    """

    codec: str
    width: int
    height: int
    fps: float
    num_frames: int
    duration_seconds: float


@dataclass(frozen=True)
class EncodedClip:
    """A verified local media file and its poster, both synced to the disk.

    Attributes:
        path: The media file.
        poster_path: JPEG of frame 0.
        sha256: Digest of the media file, hexadecimal.
        bytes: Size of the media file.
        codec: Name of the video codec as probed.
        width: Pixels.
        height: Pixels.
        fps: Frames per second.
        num_frames: Frames that decode.
        duration_seconds: Length.
        seconds: Wall-clock time of encoding, probing and hashing; the time in which the frames
            were being made counts too.
    """

    path: Path
    poster_path: Path
    sha256: str
    bytes: int
    codec: str
    width: int
    height: int
    fps: float
    num_frames: int
    duration_seconds: float
    seconds: float


def find_ffmpeg() -> str:
    """Find ffmpeg: the one on PATH, else the one that comes with imageio-ffmpeg.

    Returns:
        Path of the program.

    Raises:
        EncodeError: There is neither.
    """
    on_path = shutil.which("ffmpeg")
    if on_path:
        return on_path
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise EncodeError("there is no ffmpeg. Install it, or imageio-ffmpeg") from error


def encode_clip(
    frames: Iterable[Frames],
    directory: Path,
    name: str,
    *,
    fps: float,
    num_frames: int,
    width: int,
    height: int,
    encoder: EncoderConfig,
    metadata: Mapping[str, str] | None = None,
) -> EncodedClip:
    """Encode a clip to H.264 in MP4, verify the file and write a poster beside it.

    Colors are converted to and tagged as BT.709, limited range, 4:2:0. The same frames, settings
    and ffmpeg give the same bytes.

    Args:
        frames: Chunks of shape `(frames, height, width, 3)`, uint8, RGB, in order.
        directory: Where the files go; it exists.
        name: File name without suffix.
        fps: Frames per second; kept exactly, as a fraction.
        num_frames: How many frames there have to be in all.
        width: Pixels, even.
        height: Pixels, even.
        encoder: Media file settings.
        metadata: Tags to keep in the file.

    Returns:
        The finished files.

    Raises:
        DiskFullError: There is no room in the directory. No file is left behind.
        EncodeError: The frames are not what was announced, ffmpeg failed, or the file does not
            decode to the clip that went in. No file is left behind.
        Exception: Whatever `frames` raises; no process and no file is left behind.
    """
    started = time.monotonic()
    if Path(name).name != name:
        raise EncodeError(f"not a file name: {name!r}")
    rate = frame_rate(fps)
    final, poster = directory / f"{name}.mp4", directory / f"{name}.jpg"
    partial = directory / f".{name}.partial.mp4"
    command = _command(partial, rate, (width, height), encoder, metadata or {})
    try:
        with _running(command) as write:
            first_frame = _feed(frames, write, num_frames, (height, width, 3))
        found = probe(partial)
        _compare(found, num_frames, width, height, rate)
        with _local_files():
            _write_poster(first_frame, poster)
            digest = _sync_and_hash(partial)
            partial.replace(final)
    except BaseException:
        poster.unlink(missing_ok=True)
        raise
    finally:
        partial.unlink(missing_ok=True)
    return EncodedClip(
        path=final,
        poster_path=poster,
        sha256=digest,
        bytes=final.stat().st_size,
        **asdict(found),
        seconds=time.monotonic() - started,
    )


def frame_rate(fps: float) -> Fraction:
    """Write a frame rate as the fraction that ffmpeg keeps exactly, as in 24000/1001.

    Raises:
        EncodeError: The rate is too low to be written.
    """
    rate = Fraction(fps).limit_denominator(LARGEST_RATE_TERM // max(1, math.ceil(fps)))
    if rate <= 0:
        raise EncodeError(f"{fps} frames per second are too few")
    return rate


def probe(path: Path) -> Probe:
    """Decode the video of a media file to its end, and measure it.

    Args:
        path: A file that PyAV reads.

    Returns:
        What it holds.

    Raises:
        EncodeError: It cannot be decoded, or has no video.
    """
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            num_frames = sum(1 for _ in container.decode(stream))
            return Probe(
                codec=stream.codec_context.name,
                width=stream.codec_context.width,
                height=stream.codec_context.height,
                fps=float(stream.average_rate or 0),
                num_frames=num_frames,
                duration_seconds=float((stream.duration or 0) * (stream.time_base or 0)),
            )
    except (av.FFmpegError, IndexError) as error:
        raise EncodeError(f"{path.name} does not decode: {error}. Render the clip again") from error


def _command(
    target: Path,
    rate: Fraction,
    size: tuple[int, int],
    encoder: EncoderConfig,
    metadata: Mapping[str, str],
) -> list[str]:
    frames = ffmpeg.input(
        "pipe:", format="rawvideo", pix_fmt="rgb24", video_size=size, framerate=str(rate)
    )
    # Tags alone would only relabel ffmpeg's default BT.601 conversion.
    bt709 = frames.filter(
        "scale",
        in_range="full",
        out_range="tv",
        out_color_matrix="bt709",
        flags="bicubic+accurate_rnd+full_chroma_int",
    ).filter("format", "yuv420p")
    tags = {f"metadata:g:{n}": f"{key}={value}" for n, (key, value) in enumerate(metadata.items())}
    output = ffmpeg.output(
        bt709,
        str(target.resolve()),
        vcodec="libx264",
        crf=encoder.crf,
        preset=encoder.preset,
        threads=THREADS,
        color_primaries="bt709",
        color_trc="bt709",
        colorspace="bt709",
        color_range="tv",
        movflags="+faststart+use_metadata_tags",
        loglevel="error",
        hide_banner=None,
        **tags,
    )
    command: list[str] = ffmpeg.compile(output, cmd=find_ffmpeg(), overwrite_output=True)
    return command


class _EncoderGoneError(Exception):
    """ffmpeg closed its input before it had all frames."""


@contextlib.contextmanager
def _running(command: list[str]) -> Iterator[Callable[[memoryview], None]]:
    """Run ffmpeg, and leave neither a process nor a pipe behind.

    Yields:
        A function that hands it raw frames, and waits while it is busy.

    Raises:
        EncodeError: ffmpeg did not start, or failed.
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


def _feed(
    frames: Iterable[Frames],
    write: Callable[[memoryview], None],
    num_frames: int,
    shape: tuple[int, int, int],
) -> Frames:
    """Hand all frames over, and make sure that they are what was announced.

    Returns:
        A copy of frame 0.

    Raises:
        EncodeError: Too many or too few frames, another shape, or not uint8.
    """
    first_frame: Frames | None = None
    count = 0
    for chunk in frames:
        _check_chunk(chunk, shape)
        count += len(chunk)
        if count > num_frames:
            raise EncodeError(f"there are more than the {num_frames} frames that were announced")
        if first_frame is None and len(chunk):
            first_frame = chunk[0].copy()
        write(np.ascontiguousarray(chunk).reshape(-1).data)
    if first_frame is None or count < num_frames:
        raise EncodeError(f"there are {count} frames where {num_frames} were announced")
    return first_frame


def _check_chunk(chunk: Frames, shape: tuple[int, int, int]) -> None:
    if not isinstance(chunk, np.ndarray) or chunk.dtype != np.uint8:
        kind = getattr(chunk, "dtype", type(chunk).__name__)
        raise EncodeError(f"frames have to be uint8 arrays, not {kind}")
    if chunk.shape[1:] != shape:
        raise EncodeError(
            f"frames have to have the shape (frames, {shape[0]}, {shape[1]}, 3), not {chunk.shape}"
        )


def _compare(found: Probe, num_frames: int, width: int, height: int, rate: Fraction) -> None:
    """Make sure that the file is the clip that went in.

    Raises:
        EncodeError: It is not.
    """
    seconds = num_frames / float(rate)
    length_tolerance = max(LENGTH_TOLERANCE_SECONDS, TOLERANCE * seconds)
    wrong = [
        f"{name} is {value} and not {expected}"
        for name, value, expected, tolerance in (
            ("num_frames", found.num_frames, num_frames, 0.0),
            ("width", found.width, width, 0.0),
            ("height", found.height, height, 0.0),
            ("fps", found.fps, float(rate), TOLERANCE * float(rate)),
            ("duration", found.duration_seconds, seconds, length_tolerance),
        )
        if abs(value - expected) > tolerance
    ]
    wrong += [f"codec is {found.codec} and not {CODEC}"] if found.codec != CODEC else []
    if wrong:
        raise EncodeError(f"the media file is not the clip: {'; '.join(wrong)}")


@contextlib.contextmanager
def _local_files() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = "could not finish the media file"
        if error.errno in DISK_FULL:
            raise DiskFullError(f"{what}: the disk is full: free some space") from error
        raise EncodeError(f"{what}: {error}") from error


def _write_poster(frame: Frames, path: Path) -> None:
    with path.open("wb") as file:
        Image.fromarray(frame).save(file, format="JPEG", quality=POSTER_QUALITY)
        file.flush()
        os.fsync(file.fileno())


def _sync_and_hash(path: Path) -> str:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
