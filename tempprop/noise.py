"""The initial noise of a clip: keyed by seed and frame, correlated along the camera's motion."""

import hashlib
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from tempprop.motion import Matrix, is_identity, moved

GRAINS = 4
"""Into how many grains, in each direction, a pixel's noise is split before it moves."""

SEAM_EXPONENT = 0.7
"""Chosen on the embedded model: with 1, the seam was the wider step in two clips of three."""

LOOP_SEED = 2**63
"""Above all seeds of clips: added to one, it gives another that no clip has."""

_FRESH, _WARP, _SEAM, _BEHIND, _AHEAD = range(5)
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
    correlation: float | Sequence[float],
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
        correlation: rho, 0 for independent frames, 1 for the same noise in all frames; or one for
            each frame of the run, with the frame before it.
        previous: Noise of the frame before the run, of the given shape; None if and only if the
            run begins with frame 0.
        camera: W_f of each frame of the run, in latent pixels; None for a camera that stands
            still.

    Returns:
        Noise of shape `(num_frames, *shape)`, float32, on the CPU.

    Raises:
        ValueError: `previous` is missing, or given for frame 0.
    """
    if (previous is None) != (first_frame == 0):
        raise ValueError("the noise of the previous frame is needed for every run but the first")
    rhos = [correlation] * num_frames if isinstance(correlation, float) else correlation
    frames: list[torch.Tensor] = []
    for index, frame in enumerate(range(first_frame, first_frame + num_frames)):
        fresh = frame_noise(seed, frame, shape)
        if previous is not None and camera is not None:
            previous = _with_camera(previous, camera[index], seed, frame, _WARP)
        rho = rhos[index]
        previous = fresh if previous is None else rho * previous + math.sqrt(1 - rho**2) * fresh
        frames.append(previous)
    return torch.stack(frames)


def share_of_ends(correlation: float, frame: int, length: int) -> float:
    """Tell how much a frame of a loop correlates with frame 0, both behind and ahead of it.

    An autoregression that comes back to where it began, the bridge of the Ornstein-Uhlenbeck
    process from u to u (Barczy & Kern, "Sample path deviations of the Wiener and the
    Ornstein-Uhlenbeck process from its bridges", 2013), has the mean
    u * (r^f + r^(N - f)) / (1 + r^N). Here r = rho^0.7: the two steps at the seam are a little
    smaller than the others, so that what the denoising adds of its own does not open it.

    Args:
        correlation: rho, 0 to 1.
        frame: f, 0 to N.
        length: N, frames of the loop.
    """
    closer: float = correlation**SEAM_EXPONENT
    ends: float = closer**frame + closer ** (length - frame)
    return ends / (1 + closer**length)


def chain_correlations(
    correlation: float, first_frame: int, num_frames: int, length: int
) -> list[float]:
    """Give the correlations of a loop's chain for which its neighbouring frames correlate by rho.

    The share that frames f - 1 and f have in frame 0 makes them correlate by c_{f-1} * c_f already;
    the chain adds sqrt(1 - c_{f-1}^2) * sqrt(1 - c_f^2) times its own correlation.

    Args:
        correlation: rho, 0 to 1.
        first_frame: Number of the first frame of the run.
        num_frames: Length of the run.
        length: N, frames of the loop.
    """
    frames = range(first_frame, first_frame + num_frames)
    shares = [
        share_of_ends(correlation, abs(frame), length) for frame in (first_frame - 1, *frames)
    ]
    chain = []
    for before, share in pairwise(shares):
        free = math.sqrt(max(0.0, (1 - before**2) * (1 - share**2)))
        chain.append(min(1.0, max(0.0, (correlation - before * share) / free)) if free else 0.0)
    return chain


def looped_noise(
    chain: torch.Tensor,
    seed: int,
    first_frame: int,
    length: int,
    correlation: float,
    camera: Sequence[tuple[Matrix, Matrix]] | None = None,
) -> torch.Tensor:
    """Lead the noise of a run of frames back to that of frame 0, which follows on the last frame.

    eps_f = c_f * E_f + sqrt(1 - c_f^2) * chain_f with c_f of `share_of_ends`, and eps_0 = E_0. E_f
    is the noise of frame 0, as it has come with the camera or as it is to be met at the end: pixel
    by pixel, at random, one is replaced by the other along the clip. Every frame is white and of
    unit variance, and it correlates with the frames before the seam as with those after it.

    Args:
        chain: `correlated_noise` of the run under the seed `LOOP_SEED + seed`, which knows nothing
            of frame 0, with `chain_correlations`; shape `(frames, channels, h, w)`.
        seed: Seed of the clip.
        first_frame: Number of the first frame of the run.
        length: N, frames of the loop.
        correlation: rho, 0 to 1.
        camera: W_{0->f} and the inverse of W_{f->N} for each frame of the run, in latent pixels;
            None for a camera that stands still.

    Returns:
        Noise of the shape of `chain`, float32, on the CPU.
    """
    first = frame_noise(seed, 0, chain.shape[1:])
    turn = torch.from_numpy(_generator(seed, 0, _SEAM).random(chain.shape[2:]))
    frames = []
    for index, frame in enumerate(range(first_frame, first_frame + len(chain))):
        behind = ahead = first
        if camera is not None:
            behind = _with_camera(first, camera[index][0], seed, frame, _BEHIND)
            ahead = _with_camera(first, camera[index][1], seed, frame, _AHEAD)
        ends = torch.where(turn * length < frame, ahead, behind)
        share = share_of_ends(correlation, frame, length)
        frames.append(share * ends + math.sqrt(max(0.0, 1 - share**2)) * chain[index])
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
