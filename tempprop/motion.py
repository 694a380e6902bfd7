"""Camera motion: maps from one frame to another, and latents seen through them.

W_f takes frame f - 1 to frame f, and W_{a->f} = W_f ... W_{a+1} takes frame a to it. The signs are
those of Deforum's 2D mode (`anim_frame_warp_2d`): the picture is first shifted, to the right by
`translation_x` and down by `translation_y`; then it is turned counter-clockwise by `angle` about
the center of the frame and enlarged by `zoom`. They say what the *picture* does; the camera does
the opposite.

Positions are (x, y) from the upper left corner of the frame, x to the right and y down, in units of
pixels: the first pixel's center is (0.5, 0.5), the center of the frame (width / 2, height / 2).
Thus a change from pixels to latent pixels is a mere division.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from tempprop.anchors import anchor_frames
from tempprop.keyframes import values_at
from tempprop.spec import Motion

Matrix = npt.NDArray[np.float64]
"""Shape `(3, 3)`: takes a position (x, y, 1) to another."""

IDENTITY: Matrix = np.eye(3)

Complexes = npt.NDArray[np.complexfloating[Any, Any]]


@dataclass(frozen=True)
class CameraMaps:
    """Where the picture of a frame comes from.

    Attributes:
        from_previous: W_f, from positions in frame f - 1 to positions in frame f.
        to_outgoing: The inverse of W_{a->f}, from positions in frame f to positions in the outgoing
            anchor, frame a of `tempprop.anchors`. Far along a clip that zooms out it may overflow,
            to infinity or NaN: the anchor is a dot then.
        to_incoming: The same for the incoming anchor.
    """

    from_previous: Matrix
    to_outgoing: Matrix
    to_incoming: Matrix


@dataclass(frozen=True)
class Sampling:
    """How to look up every pixel of a frame in another frame.

    Attributes:
        positions: Shape `(1, h, w, 2)`, as `torch.nn.functional.grid_sample` takes them.
        coverage: Shape `(h, w)`: 1 where the other frame shows the pixel, 0 where it lies outside
            of it, and what bilinear interpolation makes of the two at the border.
    """

    positions: torch.Tensor
    coverage: torch.Tensor


@dataclass(frozen=True)
class View:
    """How a frame sees the frames that it is coupled to; None for one that lies as it does.

    Attributes:
        previous: How it sees the frame before it.
        outgoing: How it sees the outgoing anchor.
        incoming: How it sees the incoming anchor.
        ending: How it sees the frame after the last one, which in a loop is frame 0 again.
    """

    previous: Sampling | None = None
    outgoing: Sampling | None = None
    incoming: Sampling | None = None
    ending: Sampling | None = None


def camera_maps(
    motion: Motion,
    first_frame: int,
    num_frames: int,
    size: tuple[int, int],
    keyframe_interval: int = 0,
) -> list[CameraMaps]:
    """Give the maps of a run of frames, in pixels.

    About the center of the frame, with positions as complex numbers u = x + iy and the motion into
    frame f as m_f = zoom * exp(-i * angle), t_f = translation_x + i * translation_y, one step is
    u -> m_f * (u + t_f). With M_f = m_f ... m_{a+1} the way back to frame a is therefore
    u -> u / M_f - sum over a < k <= f of t_k / M_{k-1}: no need to walk there frame by frame. The
    products begin at the anchor and not at frame 0, whence they would lose all precision, or
    overflow, in a long clip that zooms.

    Args:
        motion: The camera motion. Its values at frame f lead from frame f - 1 to frame f.
        first_frame: Number of the first frame of the run.
        num_frames: Length of the run.
        size: Width and height in pixels.
        keyframe_interval: Frames from one anchor to the next; 0 where frame 0 is the only one.
    """
    end = first_frame + num_frames
    frames = range(first_frame, end)
    anchors = [anchor_frames(frame, keyframe_interval) for frame in frames]
    factors, shifts = _factors_and_shifts(motion, first_frame, end)
    with np.errstate(over="ignore", invalid="ignore"):
        steps = [
            _about_center(factor, factor * shift, size)
            for factor, shift in zip(factors, shifts, strict=True)
        ]
        ways = {anchor: _ways_back(motion, anchor, end) for anchor in set(chain(*anchors))}

        def back(frame: int, anchor: int) -> Matrix:
            factor, shift = ways[anchor]
            return _about_center(factor[frame - anchor], shift[frame - anchor], size)

        return [
            CameraMaps(step, back(frame, outgoing), back(frame, incoming))
            for step, frame, (outgoing, incoming) in zip(steps, frames, anchors, strict=True)
        ]


def ending_maps(
    motion: Motion, first_frame: int, num_frames: int, length: int, size: tuple[int, int]
) -> list[Matrix]:
    """Give W_{f->N} for a run of frames: where what they show lies after the end of the clip.

    In a loop frame N is frame 0 again. With the names of `camera_maps`, and frame 0 for a, it is
    u -> u * M_N / M_f + M_N * sum over f < k <= N of t_k / M_{k-1}.

    Args:
        motion: The camera motion. Its values at frame N lead from the last frame to frame N.
        first_frame: Number of the first frame of the run.
        num_frames: Length of the run.
        length: N, frames of the clip.
        size: Width and height in pixels.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        total, steps = _way_from_first(motion, length + 1)
        return [
            _about_center(total[-1] / total[f], total[-1] * (steps[-1] - steps[f]), size)
            for f in range(first_frame, first_frame + num_frames)
        ]


def in_latent_pixels(matrix: Matrix, scale: int) -> Matrix:
    """Turn a map of pixels into the same map of latent pixels, each `scale` pixels wide."""
    scaled = matrix.copy()
    scaled[:2, 2] /= scale
    return scaled


def inverse(matrix: Matrix) -> Matrix:
    """Give the map that leads back."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def moved(matrix: Matrix, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Matrix, Matrix]:
    """Apply a map to positions, given and returned as arrays of x and of y of one shape."""
    x, y = np.asarray(x), np.asarray(y)
    (a, b, c), (d, e, f), _ = matrix
    return a * x + b * y + c, d * x + e * y + f


def is_identity(matrix: Matrix) -> bool:
    """Tell whether a map leaves every position where it is, to the bit."""
    return np.array_equal(matrix, IDENTITY)


def views(
    maps: Sequence[CameraMaps],
    shape: tuple[int, int],
    device: torch.device,
    endings: Sequence[Matrix] | None = None,
) -> tuple[View, ...]:
    """Prepare how every frame of a run sees the frame before it, its anchors and the end.

    Args:
        maps: The maps of the run, in latent pixels.
        shape: Height and width in latent pixels.
        device: Where the latents lie.
        endings: The maps to the frame after the last one; None where the clip is no loop.
    """
    return tuple(
        _view(frame, ending, shape, device)
        for frame, ending in zip(maps, endings or repeat(None, len(maps)), strict=True)
    )


def _view(
    maps: CameraMaps, ending: Matrix | None, shape: tuple[int, int], device: torch.device
) -> View:
    incoming = _sampling(maps.to_incoming, shape, device)
    one_anchor = np.array_equal(maps.to_outgoing, maps.to_incoming, equal_nan=True)
    return View(
        _sampling(inverse(maps.from_previous), shape, device),
        incoming if one_anchor else _sampling(maps.to_outgoing, shape, device),
        incoming,
        None if ending is None else _sampling(ending, shape, device),
    )


def seen(latent: torch.Tensor, beneath: torch.Tensor, sampling: Sampling | None) -> torch.Tensor:
    """See a latent through a camera map.

    The interpolation is bilinear: its weights are positive and add up to one, so that whatever is
    passed on from frame to frame may lose detail but never grows, while the sharper bicubic kernel
    amplifies some frequencies, up to 3 % each time. What comes from outside of the picture is
    not made up by repeating or mirroring the border, which would be drawn out to streaks over the
    frames; it is taken from `beneath`.

    Args:
        latent: Shape `(channels, h, w)`.
        beneath: What to show where the latent does not reach, same shape.
        sampling: Where each pixel comes from; None returns the latent as it is.
    """
    if sampling is None:
        return latent
    picture = functional.grid_sample(latent[None], sampling.positions, align_corners=False)[0]
    return picture + (1 - sampling.coverage) * beneath


def _ways_back(motion: Motion, anchor: int, end: int) -> tuple[Complexes, Complexes]:
    """Give factor and shift of the way back to an anchor, for the frames from it on."""
    factor, shift = _factors_and_shifts(motion, anchor, end)
    factor[0], shift[0] = 1, 0
    back = np.cumprod(1 / factor)
    back_shift = -np.cumsum(shift * np.concatenate([[1], back[:-1]]))
    return back, back_shift


def _way_from_first(motion: Motion, num_frames: int) -> tuple[Complexes, Complexes]:
    """Give M_f and the sum over k <= f of t_k / M_{k-1} for the first frames of a clip."""
    factor, shift = _factors_and_shifts(motion, 0, num_frames)
    total = np.cumprod(factor)
    return total, np.cumsum(shift / np.concatenate([[1], total[:-1]]))


def _factors_and_shifts(motion: Motion, start: int, end: int) -> tuple[Complexes, Complexes]:
    """Give m_f and t_f of `camera_maps` for the frames from `start` to before `end`."""
    frames = np.arange(start, end)
    turn = np.exp(-1j * np.deg2rad(values_at(motion.angle, frames)))
    factor = values_at(motion.zoom, frames) * turn
    shift = values_at(motion.translation_x, frames) + 1j * values_at(motion.translation_y, frames)
    # Nothing leads into frame 0.
    factor[frames == 0], shift[frames == 0] = 1, 0
    return factor.astype(np.complex128), shift.astype(np.complex128)


def _about_center(factor: complex, shift: complex, size: tuple[int, int]) -> Matrix:
    """Write u -> factor * u + shift, with u counted from the center of the frame, as a matrix."""
    center = complex(size[0] / 2, size[1] / 2)
    constant = shift + (center - factor * center)
    return np.array(
        [
            [factor.real, -factor.imag, constant.real],
            [factor.imag, factor.real, constant.imag],
            [0.0, 0.0, 1.0],
        ]
    )


def _sampling(backward: Matrix, shape: tuple[int, int], device: torch.device) -> Sampling | None:
    if is_identity(backward):
        return None
    height, width = shape
    rows, columns = np.mgrid[:height, :width] + 0.5
    with np.errstate(over="ignore", invalid="ignore"):
        x, y = moved(backward, columns, rows)
    normalized = np.stack([2 * x / width - 1, 2 * y / height - 1], axis=-1)
    # Beyond 2 is outside in any case; grid_sample knows neither infinity nor NaN.
    bounded = np.nan_to_num(normalized, nan=9.0).clip(-9, 9)
    positions = torch.from_numpy(bounded)[None].to(device, torch.float32)
    inside = torch.ones(1, 1, height, width, device=device)
    coverage = functional.grid_sample(inside, positions, align_corners=False)[0, 0]
    return Sampling(positions, coverage)
