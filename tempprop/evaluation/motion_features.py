"""How the points of a clip move, as the features of a Fréchet distance.

Liu et al., "Fréchet Video Motion Distance: A Metric for Evaluating Motion Consistency in Videos",
2024: points on a grid of frame 0 are tracked; histograms of the directions in which they go and in
which their velocities change, over cubes of space and time, are the features. A picture's content
does not enter, where I3D hears it more than the motion (Ge et al., "On the Content Bias in Fréchet
Video Distance", 2024).

Here tracks are chained out of optical flow, where the authors have the network PIPs++, so that
values do not compare with theirs. Flow has fractions of a pixel everywhere: lengths are not rounded
up, as theirs are, and directions are binned around the axes, so that a pan falls into one bin. It
takes a change of light for a little motion.
"""

from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from tempprop.evaluation.optical_flow import follower, gray, taken_at
from tempprop.frames import Frames

GRID = 20
"""Points along each side of the grid."""

MARGIN = 8 / 256
"""Between the grid and the edges, as a share of the side."""

CELL = 5
"""Points along each side of a cube."""

CUBE_FRAMES = 4

DIRECTIONS = 8

SIDE = 256
"""Lengths are in pixels of pictures whose shorter side has so many."""

LONGEST = 255.0
"""Pixels; longer ways count as this."""

Ways = npt.NDArray[np.float64]
"""Shape `(frames, GRID, GRID, 2)`: rightwards and downwards."""


def tracks(frames: Frames) -> Ways:
    """Follow the points of a grid from frame to frame.

    A point that comes to the edge moves on with what is there.

    Args:
        frames: `(frames, height, width, 3)`, uint8, RGB.

    Returns:
        Their places in pixels: column and row.

    Raises:
        ValueError: A side is too small for optical flow.
    """
    height, width = frames.shape[1:3]
    follow = follower(height, width)
    along = np.linspace(MARGIN, 1 - MARGIN, GRID)
    places = [np.stack(np.meshgrid(along * (width - 1), along * (height - 1)), axis=2)]
    last = np.array([width - 1, height - 1])
    for first, second in pairwise(gray(frames)):
        x, y = places[-1].astype(np.float32).transpose(2, 0, 1)
        moved = taken_at(follow(first, second), x, y, cv2.BORDER_REPLICATE)
        places.append(np.clip(places[-1] + moved, 0, last))
    return np.stack(places)


def histograms(ways: Ways) -> Ways:
    """Count in which directions ways lead, and how far, within cubes of points and frames.

    A way of length `d` counts `log2(1 + d) / 8` in the nearest of `DIRECTIONS`.

    Args:
        ways: Of each point at each frame, in pixels of `SIDE`. Frames beyond the last whole cube
            do not count.

    Returns:
        Shape `(frames // CUBE_FRAMES, GRID // CELL, GRID // CELL, DIRECTIONS)`.
    """
    lengths = np.minimum(np.linalg.norm(ways, axis=3), LONGEST)
    turn = np.arctan2(ways[..., 1], ways[..., 0]) / (2 * np.pi) * DIRECTIONS
    nearest = np.round(turn).astype(int) % DIRECTIONS
    counted = np.eye(DIRECTIONS)[nearest] * (np.log2(1 + lengths) / 8)[..., None]
    cubes, cells = len(ways) // CUBE_FRAMES, GRID // CELL
    split = counted[: cubes * CUBE_FRAMES].reshape(
        cubes, CUBE_FRAMES, cells, CELL, cells, CELL, DIRECTIONS
    )
    summed: Ways = split.sum(axis=(1, 3, 5))
    return summed


def motion_features(frames: Frames) -> Ways:
    """Give the histograms of the points' velocities and accelerations in one row.

    Args:
        frames: `(frames, height, width, 3)`, uint8, RGB; at least `CUBE_FRAMES`.

    Returns:
        Shape `(256 * (frames // CUBE_FRAMES),)`: 1,024 of 16 frames.

    Raises:
        ValueError: A side is too small for optical flow.
    """
    places = tracks(frames) * (SIDE / min(frames.shape[1:3]))
    # The first frame has no velocity, the first two have no acceleration.
    velocity = np.diff(places, axis=0, prepend=places[:1])
    acceleration = np.diff(velocity, axis=0, prepend=velocity[:1])
    acceleration[:2] = 0
    return np.concatenate([histograms(velocity).ravel(), histograms(acceleration).ravel()])
