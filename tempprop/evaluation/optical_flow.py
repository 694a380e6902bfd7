"""Dense optical flow between frames.

It is that of dense inverse search (Kroeger et al., "Fast Optical Flow using Dense Inverse Search",
2016), OpenCV's DIS, everywhere.
"""

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import numpy.typing as npt

from tempprop.frames import Frames

Field = npt.NDArray[np.float32]
"""Optical flow, `(height, width, 2)`: how many pixels each pixel goes rightwards and downwards."""

SMALLEST_SIDE = 16
"""Pixels; the flow needs a few patches of eight."""


def gray(frames: Frames) -> Iterator[Frames]:
    """Give the luma of frames one after the other, each `(height, width)`, uint8."""
    return (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames)


def follower(height: int, width: int) -> Callable[[Frames, Frames], Field]:
    """Give the function that follows the pixels of one gray picture to another.

    Args:
        height: Of the pictures, in pixels.
        width: Of the pictures, in pixels.

    Raises:
        ValueError: A side has fewer than `SMALLEST_SIDE` pixels.
    """
    if min(height, width) < SMALLEST_SIDE:
        raise ValueError(
            f"{width}x{height} is too small for optical flow: {SMALLEST_SIDE} at least"
        )
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    # None: no flow to start from.
    return lambda first, second: flow.calc(first, second, None)


def taken_at(values: Field, x: Field, y: Field, border: int = cv2.BORDER_CONSTANT) -> Field:
    """Take values between the pixels.

    Args:
        values: Shape `(height, width, channels)`.
        x: Columns, of any shape with two dimensions.
        y: Rows, of the same shape.
        border: OpenCV's rule for what lies outside: by default zeros.

    Returns:
        One row of channels a place.
    """
    taken: Field = cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=border)
    return taken
