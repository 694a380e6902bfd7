"""Animated WebP files: which of them to take, when their frames are shown, and the frames."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

from PIL import Image, UnidentifiedImageError

from tempprop.errors import InputError
from tempprop.studies.emoji.packages import files_in

SKIN_TONE = re.compile("1f3f[b-f]")
"""The modifiers of Unicode, which make the same animation in another skin tone."""


@dataclass(frozen=True)
class Animation:
    """One file.

    Attributes:
        code: Its name without the suffix: code points in lower-case hexadecimal.
        data: The WebP.
    """

    code: str
    data: bytes


def animations_in(archives: Sequence[Path]) -> Iterator[Animation]:
    """Read the animations of packages, without skin-tone variants and without still pictures.

    Raises:
        InputError: An archive or one of its pictures cannot be read.
    """
    for path, data in files_in(archives, ".webp"):
        animation = Animation(PurePosixPath(path).stem.lower(), data)
        if not SKIN_TONE.search(animation.code) and _moves(animation):
            yield animation


def _opened(animation: Animation) -> Image.Image:
    try:
        return Image.open(BytesIO(animation.data), formats=["WEBP"])
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(
            f"the animation {animation.code} is not a WebP picture. Fetch its package again"
        ) from error


def _moves(animation: Animation) -> bool:
    with _opened(animation) as file:
        return getattr(file, "n_frames", 1) > 1


def frames_of(animation: Animation) -> Iterator[tuple[Image.Image, int]]:
    """Decode an animation.

    Yields:
        Frames, RGBA, each with the milliseconds for which it is shown.

    Raises:
        InputError: The animation is damaged, is not square, or has a frame that lasts no time.
    """
    with _opened(animation) as file:
        if file.width != file.height:
            raise InputError(
                f"the animation {animation.code} is {file.width}x{file.height} pixels, and only "
                "square ones can be used. Use the pinned versions of the packages"
            )
        for number in range(getattr(file, "n_frames", 1)):
            yield _frame(animation, file, number)


def _frame(animation: Animation, file: Image.Image, number: int) -> tuple[Image.Image, int]:
    try:
        file.seek(number)
        file.load()
    except (OSError, EOFError) as error:
        raise InputError(
            f"frame {number} of the animation {animation.code} cannot be decoded: {error}. Fetch "
            "its package again"
        ) from error
    duration = int(file.info["duration"])
    if duration <= 0:
        raise InputError(
            f"frame {number} of the animation {animation.code} is shown for {duration} ms, which "
            "leaves its speed open. Use the pinned versions of the packages"
        )
    return file.convert("RGBA"), duration


def durations_of(animation: Animation) -> tuple[int, ...]:
    """Give the milliseconds for which each frame is shown; see `frames_of` for errors."""
    return tuple(duration for _, duration in frames_of(animation))
