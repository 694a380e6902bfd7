"""What a media file turns out to be when it is decoded to its end."""

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageSequence

from tempprop.errors import EncodeError
from tempprop.media_frames import is_sequence, num_frames_of

WEBP = ".webp"
"""FFmpeg does not decode animations of WebP; Pillow does."""


@dataclass(frozen=True)
class Probe:
    """What a media file holds.

    Attributes:
        codec: FFmpeg's name of the codec.
        pixel_format: FFmpeg's name of it, as decoded.
        width: Pixels.
        height: Pixels.
        fps: Frames per second.
        num_frames: Frames that decode.
        duration_seconds: Length of the video stream.
        pixels_sha256: Digest of all pixels as 8-bit RGB, hexadecimal; None where nobody asked.
    """

    codec: str
    pixel_format: str
    width: int
    height: int
    fps: float
    num_frames: int
    duration_seconds: float
    pixels_sha256: str | None = None


def probe(path: Path, rate: Fraction | None = None, *, hash_pixels: bool = False) -> Probe:
    """Decode the video of a media file to its end, and measure it.

    Args:
        path: A file that PyAV reads, an animation that Pillow reads, or the numbered pictures of a
            sequence, as in `clip.%05d.png`.
        rate: Frames per second where the files do not say: of a sequence, and of a WebP, in which
            frames that are the same are one.
        hash_pixels: Whether to tell the digest of the pixels, of a video or a sequence.

    Raises:
        EncodeError: It cannot be decoded, or has no video.
    """
    try:
        return (
            _probe_webp(path, rate)
            if path.suffix == WEBP
            else _probe_video(path, rate, hash_pixels)
        )
    except (av.FFmpegError, OSError, IndexError, SyntaxError) as error:
        raise EncodeError(f"{path.name} does not decode: {error}. Render the clip again") from error


def _probe_video(path: Path, rate: Fraction | None, hash_pixels: bool) -> Probe:
    digest = hashlib.sha256() if hash_pixels else None
    options = {"framerate": str(rate)} if rate is not None and is_sequence(path.name) else {}
    with av.open(str(path), options=options) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        num_frames = 0
        for frame in container.decode(stream):
            num_frames += 1
            if digest is not None:
                digest.update(np.ascontiguousarray(frame.to_ndarray(format="rgb24")).data)
        # Matroska tells no length of a stream, only that of the file.
        length = float((stream.duration or 0) * (stream.time_base or 0))
        seconds = length or (container.duration or 0) / av.time_base
        codec, fps = stream.codec_context.codec.canonical_name, float(stream.average_rate or 0)
        return Probe(
            codec=codec,
            pixel_format=stream.codec_context.pix_fmt or "",
            width=stream.codec_context.width,
            height=stream.codec_context.height,
            # Times of a GIF are hundredths of a second, of which FFmpeg guesses a rate.
            fps=num_frames / seconds if codec == "gif" and seconds else fps,
            num_frames=num_frames,
            duration_seconds=seconds,
            pixels_sha256=digest.hexdigest() if digest is not None else None,
        )


def _probe_webp(path: Path, rate: Fraction | None) -> Probe:
    with Image.open(path, formats=("WEBP",)) as image:
        milliseconds = []
        for frame in ImageSequence.Iterator(image):
            frame.load()
            milliseconds.append(frame.info.get("duration", 0))
        fps = float(rate) if rate is not None else None
        num_frames = sum(num_frames_of(time, fps) for time in milliseconds)
        seconds = sum(milliseconds) / 1000 or (num_frames / fps if fps else 0.0)
        return Probe(
            codec="webp",
            pixel_format=image.mode.lower(),
            width=image.width,
            height=image.height,
            fps=num_frames / seconds if seconds else 0.0,
            num_frames=num_frames,
            duration_seconds=seconds,
        )
