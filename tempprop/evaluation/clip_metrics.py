"""Figures of one clip that its frames alone give, without a trained judge.

Frames are uint8 arrays of shape `(frames, height, width, 3)`, RGB; series have one value a frame or
one a pair of neighboring frames.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from tempprop.evaluation.optical_flow import Field, follower, gray, taken_at
from tempprop.frames import Frames
from tempprop.quality import FROZEN_LEVELS, measure_quality

Series = npt.NDArray[np.float64]

LUMA = np.array([0.2126, 0.7152, 0.0722])
"""Weights of red, green and blue in the luma (ITU-R BT.709)."""

NO_ENERGY = 1e-12
"""Added to both sides of a ratio of energies, so that flat frames are as sharp as each other."""

FASTEST_SHARE = 0.05
"""The share of the pixels whose speed counts in the dynamic degree."""


def luma(frames: Frames) -> Series:
    """Give the luma of frames, shape `(frames, height, width)`, 0 to 1."""
    weighted: Series = frames @ LUMA / 255
    return weighted


def sharpness(frames: Frames) -> Series:
    """Give the energy of each frame's Laplacian, of its luma, as a multiple of frame 0's.

    It is the focus measure of Pertuz et al., "Analysis of focus measure operators for
    shape-from-focus", 2013, as the ratio that tells whether a clip blurs (below 1) or gets harsh.
    """
    # The outermost pixels have no neighbors on one side.
    inner = [cv2.Laplacian(frame, cv2.CV_64F)[1:-1, 1:-1] for frame in luma(frames)]
    energy = np.square(inner).mean(axis=(1, 2))
    relative: Series = (energy + NO_ENERGY) / (energy[0] + NO_ENERGY)
    return relative


def contrast(frames: Frames) -> Series:
    """Give the standard deviation of each frame's luma, as a multiple of frame 0's."""
    deviation = luma(frames).std(axis=(1, 2))
    relative: Series = (deviation + NO_ENERGY) / (deviation[0] + NO_ENERGY)
    return relative


def color_distance(frames: Frames) -> Series:
    """Give the distance of each frame's mean color to frame 0's; black and white are 1 apart."""
    mean = frames.mean(axis=(1, 2)) / 255
    distance: Series = np.linalg.norm(mean - mean[0], axis=1) / np.sqrt(3)
    return distance


def frozen(frames: Frames) -> Series:
    """Give 1 for each frame that equals the one before, as `measure_quality` counts it, else 0."""
    levels = np.abs(np.diff(frames.astype(np.int16), axis=0)).max(axis=(1, 2, 3))
    return np.array([0, *(levels <= FROZEN_LEVELS)], dtype=np.float64)


def jump(frames: Frames) -> float:
    """Give the largest difference of neighbors over the mean one: 1 is even, or a still clip."""
    quality = measure_quality(frames)
    mean = quality["neighbor_difference_mean"]
    return quality["neighbor_difference_max"] / mean if mean > 0 else 1.0


def flicker(frames: Frames) -> float:
    """Give the amplitude of what changes back and forth from frame to frame.

    The mean over pixels, channels and frames of `|x[t-1] - 2 x[t] + x[t+1]| / 4`, the values being
    0 to 1. This filter passes the frequency `w` with the gain `sin²(w/2)`: what alternates with
    every frame counts with its whole amplitude, an even change, such as a fade, not at all.

    Returns:
        0 to 1; NaN for fewer than three frames.
    """
    if len(frames) < 3:
        return float("nan")
    bends = [
        np.abs(before.astype(np.int16) - 2 * frame.astype(np.int16) + after).mean()
        for before, frame, after in zip(frames, frames[1:], frames[2:], strict=False)
    ]
    return float(np.mean(bends) / 4 / 255)


@dataclass(frozen=True)
class FlowSeries:
    """What the optical flow tells of each pair of neighboring frames, each `(frames - 1,)`.

    Attributes:
        speed: Mean length of the flow, in pixels.
        fastest: Mean length of the longest 5 % of it, in pixels.
        warping_error: See `warping_error`; NaN where no pixel can be followed.
    """

    speed: Series
    fastest: Series
    warping_error: Series


def flow_series(frames: Frames) -> FlowSeries:
    """Follow the pixels of a clip, from each frame to the next and back.

    Raises:
        ValueError: A side is too small for optical flow.
    """
    pairs = [
        (*_speeds(forward), warping_error(first, second, forward, backward))
        for first, second, forward, backward in _followed(frames)
    ]
    return FlowSeries(*np.array(pairs, dtype=np.float64).reshape(-1, 3).T)


def motion(frames: Frames) -> Series:
    """Give the mean length of the optical flow between neighboring frames, in pixels.

    Raises:
        ValueError: A side is too small for optical flow.
    """
    follow = follower(*frames.shape[1:3])
    fields = (follow(first, second) for first, second in pairwise(gray(frames)))
    return np.array([np.linalg.norm(field, axis=2).mean() for field in fields], dtype=np.float64)


def _followed(frames: Frames) -> Iterator[tuple[Frames, Frames, Field, Field]]:
    """Give each pair of neighbors with the flow from the first to the second, and back."""
    follow = follower(*frames.shape[1:3])
    for (first, second), (one, other) in zip(pairwise(frames), pairwise(gray(frames)), strict=True):
        yield first, second, follow(one, other), follow(other, one)


def _speeds(field: Field) -> tuple[float, float]:
    """Give the mean length of a flow, and that of its longest 5 %."""
    lengths = np.sort(np.linalg.norm(field, axis=2), axis=None)
    fastest = lengths[-max(1, int(len(lengths) * FASTEST_SHARE)) :]
    return float(lengths.mean()), float(fastest.mean())


def warping_error(first: Frames, second: Frames, forward: Field, backward: Field) -> float:
    """Give how much a frame differs from the next one, brought back along the flow.

    The mean square difference of the values, 0 to 1, over the pixels that can be followed (Lai et
    al., "Learning Blind Video Temporal Consistency", 2018, the warping error of its evaluation).
    A pixel cannot be followed where it leaves the picture, or where the flow there and back does
    not lead home: `|f + b|² > 0.01 (|f|² + |b|²) + 0.5` (Sundaram et al., "Dense Point
    Trajectories by GPU-accelerated Large Displacement Optical Flow", 2010, as Ruder et al.,
    "Artistic Style Transfer for Videos", 2016, apply it to neighboring frames).

    Args:
        first: A frame, `(height, width, 3)`.
        second: The next one.
        forward: The flow from the first to the second.
        backward: The flow back.

    Returns:
        0 to 1; NaN where no pixel can be followed.
    """
    height, width = first.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = columns + forward[..., 0], rows + forward[..., 1]
    back = taken_at(backward, x, y)
    away = np.square(forward + back).sum(axis=2)
    allowed = 0.01 * (np.square(forward) + np.square(back)).sum(axis=2) + 0.5
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    seen = inside & (away <= allowed)
    if not seen.any():
        return float("nan")
    brought = taken_at(second.astype(np.float32), x, y)
    return float(np.square((first - brought)[seen] / 255, dtype=np.float64).mean())


def is_dynamic(fastest: Series, height: int, width: int) -> bool:
    """Tell whether a clip counts as dynamic in the dynamic degree of VBench.

    Huang et al., "VBench: Comprehensive Benchmark Suite for Video Generative Models", 2024: at
    least a quarter as many pairs as there are frames (4 of 16) move, which they do where the mean
    length of the longest 5 % of the flow is above 6 pixels per 256 of the shorter side. VBench's
    flow is RAFT's, at 8 frames a second; here it is that of DIS, of the frames as they come.

    Args:
        fastest: See `FlowSeries`.
        height: Of a frame, in pixels.
        width: Of a frame, in pixels.
    """
    enough = max(1, round((len(fastest) + 1) / 4))
    return bool((fastest > 6 * min(height, width) / 256).sum() >= enough)


def picture_figures(frames: Frames) -> dict[str, float]:
    """Measure a clip.

    Args:
        frames: At least two.

    Returns:
        neighbor_difference: Mean absolute difference of neighbors, 0 to 1; 1 minus it is the
            temporal flickering of VBench.
        flicker: See `flicker`.
        warping_error: Mean of `warping_error`, NaN where nothing can be followed.
        motion: Mean optical flow, pixels a frame.
        motion_share: The same as a share of the picture's diagonal.
        dynamic_degree: 1 or 0, see `is_dynamic`.
        color_drift: Largest `color_distance` to frame 0.
        sharpness: Mean `sharpness` of the frames after frame 0.
        frozen: Share of neighboring pairs that are equal.
        jump: See `jump`.

    Raises:
        ValueError: A side is too small for optical flow.
    """
    height, width = frames.shape[1:3]
    quality, flow = measure_quality(frames), flow_series(frames)
    followed = flow.warping_error[np.isfinite(flow.warping_error)]
    speed = float(flow.speed.mean())
    return {
        "neighbor_difference": quality["neighbor_difference_mean"],
        "flicker": flicker(frames),
        "warping_error": float(followed.mean()) if len(followed) else float("nan"),
        "motion": speed,
        "motion_share": speed / float(np.hypot(height, width)),
        "dynamic_degree": float(is_dynamic(flow.fastest, height, width)),
        "color_drift": quality["color_drift"],
        "sharpness": float(sharpness(frames)[1:].mean()),
        "frozen": quality["frozen_fraction"],
        "jump": jump(frames),
    }
