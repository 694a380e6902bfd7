"""Temporal figures of a finished clip: does it flicker, drift away, or stand still?

Every figure is in [0, 1], and is computed frame by frame, in memory that does not grow with the
clip. Records also hold `RENDER_FIGURES`, which pictures alone do not tell.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tempprop.frames import Frames

FIGURES = (
    "neighbor_difference_mean",
    "neighbor_difference_max",
    "anchor_difference",
    "color_drift",
    "frozen_fraction",
)

RENDER_FIGURES = ("motion_floor_acted",)
"""Figures that the renderer adds: the share of a clip's frame-steps (frames times model calls) in
which `motion_floor` lowered the coupling, so as not to let the clip freeze."""

FROZEN_LEVELS = 1
"""Neighbouring frames whose pixels differ by no more, of 255 levels, count as equal."""


class QualityMeter:
    """Measures a clip chunk by chunk, in order; keeps its first and its latest frame."""

    def __init__(self) -> None:
        self._first: Frames | None = None
        self._latest: Frames | None = None
        self._first_color = np.zeros(3)
        self._pairs = 0
        self._difference_sum = 0.0
        self._difference_max = 0.0
        self._frozen = 0
        self._drift = 0.0

    def add(self, chunk: Frames) -> None:
        """Measure the next frames.

        Args:
            chunk: Shape `(frames, height, width, 3)`, uint8, RGB.

        Raises:
            ValueError: The chunk is of another shape or type.
        """
        if chunk.dtype != np.uint8 or chunk.ndim != 4 or chunk.shape[3] != 3:
            raise ValueError(f"not uint8 (frames, height, width, 3): {chunk.dtype} {chunk.shape}")
        for frame in chunk:
            self._add_frame(frame)

    def _add_frame(self, frame: Frames) -> None:
        if self._first is None or self._latest is None:
            self._first = self._latest = frame.copy()
            self._first_color = _mean_color(frame)
            return
        levels = _levels_between(self._latest, frame)
        difference = float(levels.mean()) / 255
        self._pairs += 1
        self._difference_sum += difference
        self._difference_max = max(self._difference_max, difference)
        self._frozen += int(levels.max() <= FROZEN_LEVELS)
        self._drift = max(self._drift, _color_distance(self._first_color, _mean_color(frame)))
        self._latest = frame.copy()

    def figures(self) -> dict[str, float]:
        """Give the figures of all frames so far; a single frame has nothing but zeros.

        Returns:
            neighbor_difference_mean: Mean absolute difference of neighbouring frames, averaged.
            neighbor_difference_max: The largest of them; far above the mean, it is a jump.
            anchor_difference: Mean absolute difference of the last frame to frame 0.
            color_drift: Largest distance of a frame's mean color to that of frame 0.
            frozen_fraction: Share of neighbouring pairs that are equal.

        Raises:
            ValueError: There were no frames.
        """
        if self._first is None or self._latest is None:
            raise ValueError("a clip without frames has no quality")
        pairs = self._pairs or 1
        figures = (
            self._difference_sum / pairs,
            self._difference_max,
            float(_levels_between(self._first, self._latest).mean()) / 255,
            self._drift,
            self._frozen / pairs,
        )
        return dict(zip(FIGURES, figures, strict=True))


def measure_quality(frames: Frames | Iterable[Frames]) -> dict[str, float]:
    """Measure a clip, see `QualityMeter.figures`.

    Args:
        frames: All frames, `(frames, height, width, 3)`, uint8, RGB; or chunks of them, in order.

    Returns:
        The figures by name, each in [0, 1].

    Raises:
        ValueError: There are no frames, or they are of another shape or type.
    """
    meter = QualityMeter()
    for chunk in [frames] if isinstance(frames, np.ndarray) else frames:
        meter.add(chunk)
    return meter.figures()


@dataclass(frozen=True)
class Psnr:
    """How close two clips are: peak signal-to-noise ratio in decibels, infinite where equal.

    Attributes:
        mean: Of the clip: that of the mean squared error of all its frames.
        lowest: Of the frame that differs most.
    """

    mean: float
    lowest: float


def measure_psnr(pairs: Iterable[tuple[Frames, Frames]]) -> Psnr:
    """Compare two clips frame by frame, in memory that does not grow with them.

    A squared error e, averaged over pixels and channels, is `10 log10(255^2 / e)` decibels. Above
    about 40 nobody sees a difference, of 20 everybody does.

    Args:
        pairs: The same frame of both, each of shape `(height, width, 3)`, uint8.

    Raises:
        ValueError: There are no frames, or two that belong together are of different shapes.
    """
    errors = [_squared_error(first, second) for first, second in pairs]
    if not errors:
        raise ValueError("clips without frames cannot be compared")
    return Psnr(mean=_decibels(sum(errors) / len(errors)), lowest=_decibels(max(errors)))


def _squared_error(first: Frames, second: Frames) -> float:
    if first.shape != second.shape:
        raise ValueError(f"frames of different shapes: {first.shape} and {second.shape}")
    return float(np.mean(np.square(_levels_between(first, second), dtype=np.float64)))


def _decibels(squared_error: float) -> float:
    return 10 * math.log10(255**2 / squared_error) if squared_error else math.inf


def _levels_between(first: Frames, second: Frames) -> npt.NDArray[np.uint8]:
    """Give the absolute difference of two frames, `(height, width, 3)`, 0 to 255."""
    larger: npt.NDArray[np.uint8] = np.maximum(first, second) - np.minimum(first, second)
    return larger


def _mean_color(frame: Frames) -> npt.NDArray[np.float64]:
    """Give the mean RGB of a frame, each 0 to 255."""
    # Row by row first: numpy sums whole rows thirty times as fast as it does both axes at once.
    color: npt.NDArray[np.float64] = frame.sum(axis=0, dtype=np.uint64).mean(axis=0) / len(frame)
    return color


def _color_distance(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """Give the distance of two colors; that of black and white is 1."""
    return float(np.sqrt(np.mean(((first - second) / 255) ** 2)))
