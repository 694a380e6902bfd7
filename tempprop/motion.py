"""Camera motion: maps from one frame to the next, and latents seen through them.

W_f takes frame f - 1 to frame f, and W_{0->f} = W_f ... W_1 takes frame 0 to it. The signs are
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
from itertools import repeat

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from tempprop.keyframes import values_at
from tempprop.spec import Motion

Matrix = npt.NDArray[np.float64]
"""Shape `(3, 3)`: takes a position (x, y, 1) to another."""

IDENTITY: Matrix = np.eye(3)


@dataclass(frozen=True)
class CameraMaps:
    """Where the picture of a frame comes from.

    Attributes:
        from_previous: W_f, from positions in frame f - 1 to positions in frame f.
        to_first: The inverse of W_{0->f}, from positions in frame f to positions in frame 0. Far
            along a clip that zooms out it may overflow, to infinity or NaN: frame 0 is a dot then.
    """

    from_previous: Matrix
    to_first: Matrix


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
        anchor: How it sees frame 0.
        ending: How it sees the frame after the last one, which in a loop is frame 0 again.
    """

    previous: Sampling | None
    anchor: Sampling | None
    ending: Sampling | None = None


def camera_maps(
    motion: Motion, first_frame: int, num_frames: int, size: tuple[int, int]
) -> list[CameraMaps]:
    """Give the maps of a run of frames, in pixels.

    About the center of the frame, with positions as complex numbers u = x + iy and the motion into
    frame f as m_f = zoom * exp(-i * angle), t_f = translation_x + i * translation_y, one step is
    u -> m_f * (u + t_f). With M_f = m_f ... m_1 the way back to frame 0 is therefore
    u -> u / M_f - sum over k <= f of t_k / M_{k-1}: no need to walk there frame by frame.

    Args:
        motion: The camera motion. Its values at frame f lead from frame f - 1 to frame f.
        first_frame: Number of the first frame of the run.
        num_frames: Length of the run.
        size: Width and height in pixels.
    """
    factor, shift = _factors_and_shifts(motion, first_frame + num_frames)
    with np.errstate(over="ignore", invalid="ignore"):
        back = np.cumprod(1 / factor)
        back_shift = -np.cumsum(shift * np.concatenate([[1], back[:-1]]))
        return [
            CameraMaps(
                _about_center(factor[frame], factor[frame] * shift[frame], size),
                _about_center(back[frame], back_shift[frame], size),
            )
            for frame in range(first_frame, first_frame + num_frames)
        ]


def ending_maps(
    motion: Motion, first_frame: int, num_frames: int, length: int, size: tuple[int, int]
) -> list[Matrix]:
    """Give W_{f->N} for a run of frames: where what they show lies after the end of the clip.

    In a loop frame N is frame 0 again. With the names of `camera_maps`, where frame f lies at u,
    frame N lies at u * M_N / M_f + M_N * sum over f < k <= N of t_k / M_{k-1}.

    Args:
        motion: The camera motion. Its values at frame N lead from the last frame to frame N.
        first_frame: Number of the first frame of the run.
        num_frames: Length of the run.
        length: N, frames of the clip.
        size: Width and height in pixels.
    """
    factor, shift = _factors_and_shifts(motion, length + 1)
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.cumprod(factor)
        steps = np.cumsum(shift / np.concatenate([[1], total[:-1]]))
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
    """Prepare how every frame of a run sees the frame before it, frame 0 and the end.

    Args:
        maps: The maps of the run, in latent pixels.
        shape: Height and width in latent pixels.
        device: Where the latents lie.
        endings: The maps to the frame after the last one; None where the clip is no loop.
    """
    return tuple(
        View(
            _sampling(inverse(frame.from_previous), shape, device),
            _sampling(frame.to_first, shape, device),
            None if ending is None else _sampling(ending, shape, device),
        )
        for frame, ending in zip(maps, endings or repeat(None, len(maps)), strict=True)
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


def _factors_and_shifts(
    motion: Motion, num_frames: int
) -> tuple[npt.NDArray[np.complex128], npt.NDArray[np.complex128]]:
    """Give m_f and t_f of `camera_maps` for the first frames of a clip."""
    frames = np.arange(num_frames)
    turn = np.exp(-1j * np.deg2rad(values_at(motion.angle, frames)))
    factor = values_at(motion.zoom, frames) * turn
    shift = values_at(motion.translation_x, frames) + 1j * values_at(motion.translation_y, frames)
    factor[0], shift[0] = 1, 0  # nothing leads into frame 0
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
