"""The frames of a media file, whatever it is: a video, an animation or the files of a sequence."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageSequence

from tempprop.errors import ClipError
from tempprop.frames import Frames
from tempprop.storage_faults import one_line

ANIMATION_SUFFIXES = (".gif", ".webp")
"""Animations that Pillow reads; FFmpeg does not read those of WebP."""

PREVIEW_SUFFIX = ".preview.webp"
"""Of the small animations that lie beside clips."""

LINEAR_SUFFIX = ".exr"


def iter_frames(path: Path, fps: float | None = None) -> Iterator[Frames]:
    """Decode a clip, frame by frame.

    Args:
        path: A local media file that FFmpeg reads, an animation that Pillow reads, or the pattern
            of a sequence's files. What is transparent in an animation is black, and the linear
            light of OpenEXR is turned into sRGB.
        fps: Frames per second of an animation, see `num_frames_of`; None gives its pictures once
            each.

    Yields:
        Frames of shape `(height, width, 3)`, uint8, RGB.

    Raises:
        ClipError: It does not decode.
    """
    is_animation = path.suffix.lower() in ANIMATION_SUFFIXES
    try:
        yield from _animation(path, fps) if is_animation else _video(path)
    except (av.FFmpegError, OSError, IndexError, Image.DecompressionBombError) as error:
        raise ClipError(f"it does not decode ({one_line(error)})") from error


def num_frames_of(milliseconds: float, fps: float | None) -> int:
    """Tell how many frames a picture of an animation stands for.

    Encoders of animations write frames that are all the same as one picture that stays longer.

    Args:
        milliseconds: How long it stays.
        fps: Frames per second of the whole; None where nobody knows.
    """
    return max(1, round(milliseconds / 1000 * fps)) if fps is not None else 1


def is_sequence(path: str) -> bool:
    """Tell the pattern of a sequence's files from the name of a single file."""
    return "%05d" in path


def _video(path: Path) -> Iterator[Frames]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        if path.suffix == LINEAR_SUFFIX:
            stream.codec_context.options = {"apply_trc": "iec61966_2_1"}
        for frame in container.decode(stream):
            yield frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def _animation(path: Path, fps: float | None) -> Iterator[Frames]:
    with Image.open(path, formats=("GIF", "WEBP")) as image:
        for frame in ImageSequence.Iterator(image):
            layer = frame.convert("RGBA")
            black = Image.new("RGBA", layer.size, (0, 0, 0, 255))
            pixels = np.asarray(Image.alpha_composite(black, layer).convert("RGB"))
            for _ in range(num_frames_of(frame.info.get("duration", 0), fps)):
                yield pixels
