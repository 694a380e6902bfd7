"""Values that change along a clip: a number, or keyframes as Deforum writes them.

`0:(1.0), 24:(1.04)` is 1.0 at frame 0, 1.04 at frame 24 and after it, and a straight line between
the two. Before the first keyframe its value holds. Deforum also takes expressions such as
`0:(sin(t))`; here keyframes are numbers, and nothing that a manifest says is ever executed.
"""

import math
import re
from collections.abc import Callable
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, PlainSerializer
from pydantic_core import PydanticCustomError

Keyframes = tuple[tuple[int, float], ...]
"""Pairs of (frame, value) in the order of the frames, at least one, and no more than are needed."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_PLAIN = re.compile(rf"\s*{_NUMBER}\s*", re.ASCII)
_KEYFRAME = re.compile(rf"\s*(\d{{1,9}})\s*:\s*\(\s*({_NUMBER})\s*\)\s*", re.ASCII)


def parse_keyframes(value: object) -> Keyframes:
    """Read a number or keyframes.

    Args:
        value: A number, a number as text, or text such as `0:(1.0), 24:(1.04)`.

    Returns:
        The keyframes in their shortest form, so that what means the same is equal: `1.0`,
        `0:(1)` and `0:(1), 9:(1.0)` are all ((0, 1.0),).

    Raises:
        PydanticCustomError: A ValueError. The value is neither, a number is not finite, or the
            frames do not rise.
    """
    keyframes = _pairs(value)
    if not all(math.isfinite(number) for _, number in keyframes):
        raise PydanticCustomError("keyframes", "must hold finite numbers")
    frames = [frame for frame, _ in keyframes]
    if frames != sorted(set(frames)):
        raise PydanticCustomError("keyframes", "must name frames in their order, and none twice")
    return _shortest(keyframes)


def within(low: float, high: float) -> Callable[[Keyframes], Keyframes]:
    """Make a check that every value lies in a range, its ends included."""

    def check(keyframes: Keyframes) -> Keyframes:
        if not all(low <= value <= high for _, value in keyframes):
            raise PydanticCustomError("keyframes", f"must stay from {low:g} to {high:g}")
        return keyframes

    return check


def write_keyframes(keyframes: Keyframes) -> float | str:
    """Write keyframes as `parse_keyframes` reads them: one value as a number, more as text."""
    if len(keyframes) == 1:
        return keyframes[0][1]
    return ", ".join(f"{frame}:({value!r})" for frame, value in keyframes)


def values_at(keyframes: Keyframes, frames: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Give the values at some frames: straight lines between keyframes, held outside of them."""
    known, values = zip(*keyframes, strict=True)
    return np.asarray(np.interp(frames, known, values), dtype=np.float64)


Track = Annotated[Keyframes, BeforeValidator(parse_keyframes), PlainSerializer(write_keyframes)]
"""A field of a pydantic model that `parse_keyframes` reads and `write_keyframes` writes."""


def _pairs(value: object) -> Keyframes:
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        found = [_KEYFRAME.fullmatch(part) for part in value.split(",")]
        pairs = tuple((int(match[1]), float(match[2]) + 0.0) for match in found if match)
        if len(pairs) == len(found):
            return pairs
    elif isinstance(value, int | float | str) and not isinstance(value, bool):
        return ((0, _number(value)),)
    raise PydanticCustomError(
        "keyframes",
        "must be a number, or keyframes of numbers with commas between them, such as 0:(1.0), "
        "24:(1.04); expressions such as sin(t) are not evaluated, nothing is executed",
    )


def _number(value: float | str) -> float:
    """Make a float, with one zero for both signs; infinite where it is too large."""
    try:
        return float(value) + 0.0
    except OverflowError:
        return math.inf


def _shortest(keyframes: Keyframes) -> Keyframes:
    """Leave out keyframes within, before or after a stretch on which the value stands still."""
    values = [value for _, value in keyframes]
    before, after = [values[0], *values[:-1]], [*values[1:], values[-1]]
    needed = tuple(
        keyframe
        for keyframe, left, right in zip(keyframes, before, after, strict=True)
        if not left == keyframe[1] == right
    )
    return needed or ((0, values[0]),)
