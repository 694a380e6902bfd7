"""The initial noise of a clip: keyed by seed and frame, correlated along the camera's motion."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tempprop.motion import Matrix, inverse, is_identity, moved

GRAINS = 4
"""Into how many grains, in each direction, a pixel's noise is split before it moves."""

_FRESH, _WARP, _ENDING = 0, 1, 2
"""Streams of one frame's generator that never meet: 2^192 draws lie between them."""


def frame_noise(seed: int, frame: int, shape: Sequence[int]) -> torch.Tensor:
    """Draw the fresh noise of one frame.

    The counter-based generator Philox (Salmon et al., "Parallel Random Numbers: As Easy as
    1, 2, 3", 2011) takes (seed, frame) as its key. The result therefore depends on nothing else:
    not on the frames drawn before, nor on the batch, the device or the number of workers.

    Args:
        seed: Seed of the clip, 0 to 2^63 - 1.
        frame: Number of the frame, from 0.
        shape: Shape of one frame's latent, without a batch axis.

    Returns:
        Independent standard normal numbers of the given shape, float32, on the CPU.
    """
    generator = _generator(seed, frame, _FRESH)
    return torch.from_numpy(generator.standard_normal(tuple(shape), dtype=np.float32))


def warp_noise(
    noise: torch.Tensor, camera_map: Matrix, generator: np.random.Generator
) -> torch.Tensor:
    """Move noise with the camera, so that it stays white and of unit variance.

    Interpolated noise would be smooth and weak. This is the noise transport of Chang et al., "How
    I Warped Your Noise", ICLR 2024: a pixel of noise stands for k * k grains, which are drawn
    given their sum, noise / k + z - mean(z) with z standard normal. Each grain moves to
    one pixel, and a pixel is the sum of its n grains over sqrt(n). No grain is used twice, so
    that the pixels are independent and standard normal under every map. A pixel that no grain
    reaches is drawn afresh. Grains lie at random in their cells (jittered sampling, Cook 1986):
    on a fixed grid, noise would stay behind whenever the camera moves by less than a grain.

    Args:
        noise: Independent standard normal numbers, shape `(channels, h, w)`, on the CPU.
        camera_map: Where positions of this frame lie in the next, in latent pixels.
        generator: Gives the grains, their places and the fresh noise.

    Returns:
        Independent standard normal numbers, same shape. A shift by whole pixels moves the noise
        unchanged.
    """
    channels, height, width = noise.shape
    fresh = generator.standard_normal(noise.shape, dtype=np.float32)
    grains = _grains(noise, generator)
    inside, pixel = _landings((height, width), camera_map, generator)
    count = np.bincount(pixel, minlength=height * width)
    total = np.stack(
        [np.bincount(pixel, of_channel[inside], minlength=count.size) for of_channel in grains]
    )
    arrived = np.where(count > 0, total / np.sqrt(count.clip(1)), fresh.reshape(channels, -1))
    return torch.from_numpy(arrived.reshape(noise.shape).astype(np.float32))


def correlated_noise(
    seed: int,
    first_frame: int,
    num_frames: int,
    shape: Sequence[int],
    correlation: float,
    previous: torch.Tensor | None = None,
    camera: Sequence[Matrix] | None = None,
) -> torch.Tensor:
    """Draw the initial noise of a run of frames as a first-order autoregression.

    With eta_f the fresh noise of frame f, and W_f the camera motion into it: eps_0 = eta_0 and
    eps_f = rho * W_f(eps_{f-1}) + sqrt(1 - rho^2) * eta_f. Every frame is white and of unit
    variance, and where the camera stands still, frames that lie k apart have the correlation
    rho^k.

    Args:
        seed: Seed of the clip.
        first_frame: Number of the first frame of the run.
        num_frames: Length of the run.
        shape: Shape of one frame's latent.
        correlation: rho, 0 for independent frames, 1 for the same noise in all frames.
        previous: Noise of the frame before the run, of the given shape; None if and only if the
            run begins with frame 0.
        camera: W_f of each frame of the run, in latent pixels; None for a camera that stands
            still.

    Returns:
        Noise of shape `(num_frames, *shape)`, float32, on the CPU.

    Raises:
        ValueError: `previous` is missing, or given for frame 0.
    """
    _check_previous(previous, first_frame)
    fresh_share = math.sqrt(1.0 - correlation**2)
    frames: list[torch.Tensor] = []
    for index, frame in enumerate(range(first_frame, first_frame + num_frames)):
        fresh = frame_noise(seed, frame, shape)
        if previous is not None and camera is not None:
            previous = _with_camera(previous, camera[index], seed, frame, _WARP)
        previous = fresh if previous is None else correlation * previous + fresh_share * fresh
        frames.append(previous)
    return torch.stack(frames)


@dataclass(frozen=True)
class BridgeStep:
    """How a frame of a loop follows from the frame before it and from the end.

    u_f = previous * u_{f-1} + ending * u_0 + fresh * eta_f, and u_f / deviation has unit variance.

    Attributes:
        previous: Share of the frame before.
        ending: Share of the frame after the last one, which is frame 0.
        fresh: Share of the frame's own fresh noise.
        deviation: Standard deviation of u_f.
    """

    previous: float
    ending: float
    fresh: float
    deviation: float


def bridge_step(correlation: float, frame: int, length: int) -> BridgeStep:
    """Condition the autoregression of `correlated_noise` on its coming back to where it began.

    Given frame f - 1 and frame N, frame f is normal, with the mean and the variance of regression
    on the two; they correlate with it by rho and rho^(N - f), and with each other by
    rho^(N - f + 1). It is the bridge of the Ornstein-Uhlenbeck process (Barczy & Kern, "Sample
    path deviations of the Wiener and the Ornstein-Uhlenbeck process from its bridges", 2013) from
    u_0 to itself, in which neighbouring frames correlate alike all around the loop.

    Args:
        correlation: rho, 0 to 1.
        frame: f, 1 to N - 1.
        length: N, frames of the loop.
    """
    left = length - frame
    if correlation == 1.0:
        return BridgeStep(left / (left + 1), 1 / (left + 1), 0.0, 1.0)
    before, after, whole = correlation**frame, correlation**left, correlation**length
    span = 1 - correlation ** (2 * (left + 1))
    own = (before + after) / (1 + whole)
    variance = 1 - (before**2 + after**2 - 2 * whole * before * after) / (1 - whole**2)
    return BridgeStep(
        previous=correlation * (1 - after**2) / span,
        ending=after * (1 - correlation**2) / span,
        fresh=math.sqrt((1 - correlation**2) * (1 - after**2) / span),
        deviation=math.sqrt(own**2 + variance),
    )


def looped_noise(
    seed: int,
    first_frame: int,
    num_frames: int,
    shape: Sequence[int],
    correlation: float,
    length: int,
    previous: torch.Tensor | None = None,
    camera: Sequence[Matrix] | None = None,
    endings: Sequence[Matrix] | None = None,
) -> torch.Tensor:
    """Draw the initial noise of a run of frames of a loop, whose last frame leads into its first.

    Like `correlated_noise`, but the autoregression is a bridge from frame 0 to itself, see
    `bridge_step`. Every frame is white, and of unit variance where the camera stands still; where
    it moves, the noise that has come with it and that which is to meet it have lost a part of their
    correlation to the grains, and the variance is a few percent less.

    Args:
        seed: Seed of the clip.
        first_frame: Number of the first frame of the run.
        num_frames: Length of the run.
        shape: Shape of one frame's latent.
        correlation: rho, 0 to 1.
        length: N, frames of the loop.
        previous: Noise of the frame before the run, of the given shape; None if and only if the
            run begins with frame 0.
        camera: W_f of each frame of the run, in latent pixels; None for a camera at rest.
        endings: W_{f->N} of each frame of the run, in latent pixels; None for a camera at rest.

    Returns:
        Noise of shape `(num_frames, *shape)`, float32, on the CPU.

    Raises:
        ValueError: `previous` is missing, or given for frame 0.
    """
    _check_previous(previous, first_frame)
    first = frame_noise(seed, 0, shape)
    frames: list[torch.Tensor] = []
    for index, frame in enumerate(range(first_frame, first_frame + num_frames)):
        if previous is None:
            previous = first
        else:
            step = bridge_step(correlation, frame, length)
            scale = bridge_step(correlation, frame - 1, length).deviation if frame > 1 else 1.0
            ending = first
            if camera is not None and endings is not None:
                previous = _with_camera(previous, camera[index], seed, frame, _WARP)
                ending = _with_camera(first, inverse(endings[index]), seed, frame, _ENDING)
            fresh = frame_noise(seed, frame, shape)
            bridge = step.previous * scale * previous + step.ending * ending + step.fresh * fresh
            previous = bridge / step.deviation
        frames.append(previous)
    return torch.stack(frames)


def step_noise_generator(seed: int) -> torch.Generator:
    """Make the generator of the noise that a stochastic scheduler adds at each step.

    Every frame of a clip gets its own generator in the same state, so that all frames are given
    the same noise at the same step: independent noise would make each frame a new picture.

    Args:
        seed: Seed of the clip.

    Returns:
        A generator on the CPU.
    """
    digest = hashlib.sha256(f"step noise of {seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _check_previous(previous: torch.Tensor | None, first_frame: int) -> None:
    if (previous is None) != (first_frame == 0):
        raise ValueError("the noise of the previous frame is needed for every run but the first")


def _with_camera(
    noise: torch.Tensor, camera_map: Matrix, seed: int, frame: int, stream: int
) -> torch.Tensor:
    if is_identity(camera_map):
        return noise
    return warp_noise(noise, camera_map, _generator(seed, frame, stream))


def _generator(seed: int, frame: int, stream: int) -> np.random.Generator:
    key = np.array([seed, frame], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, stream]))


def _grains(noise: torch.Tensor, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Split each pixel into grains of unit variance, shape `(channels, h, w, k, k)`."""
    spread = generator.standard_normal((*noise.shape, GRAINS, GRAINS), dtype=np.float32)
    # In double precision the grains of a pixel add up to it exactly, as far as float32 can tell.
    spread64 = spread.astype(np.float64)
    spread64 -= spread64.mean(axis=(3, 4), keepdims=True)
    return noise.numpy()[:, :, :, None, None] / GRAINS + spread64


def _landings(
    shape: tuple[int, int], camera_map: Matrix, generator: np.random.Generator
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Find which grains land in the picture, shape `(h, w, k, k)`, and in which of its pixels."""
    height, width = shape
    places = (height, width, GRAINS, GRAINS)
    row, column, down, right = np.indices(places, sparse=True)
    x = column + (right + generator.random(places)) / GRAINS
    y = row + (down + generator.random(places)) / GRAINS
    new_x, new_y = (np.floor(position).astype(np.int64) for position in moved(camera_map, x, y))
    inside = (new_x >= 0) & (new_x < width) & (new_y >= 0) & (new_y < height)
    return inside, new_y[inside] * width + new_x[inside]
