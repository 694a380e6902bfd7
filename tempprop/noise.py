"""The initial noise of a clip: keyed by seed and frame, correlated along the camera's motion."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tempprop.motion import Matrix, inverse, is_identity, moved

GRAINS = 4
"""Into how many grains, in each direction, a pixel's noise is split before it moves."""

LONGEST_RETURN = 64
"""Frames over which a loop is led back to frame 0, if it has so many: long against the frames that
noise of any useful correlation remembers, and short enough to be drawn again for every run."""

LOOP_SEED = 2**63
"""Above all seeds of clips: added to one, it gives another that no clip has."""

_FRESH, _WARP, _COURSE = range(3)
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
    return _normal(seed, frame, _FRESH, shape)


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


@dataclass(frozen=True)
class NoiseState:
    """What the noise of one frame leaves to the next.

    Attributes:
        noise: The noise itself, shape of one latent, float32, on the CPU.
        course: What the frame before had that this one has not, of unit variance: that frame's
            noise is rho * noise + sqrt(1 - rho^2) * course. It tells where the noise was going.
    """

    noise: torch.Tensor
    course: torch.Tensor


@dataclass(frozen=True)
class NoiseRun:
    """The noise of a run of frames.

    Attributes:
        frames: Shape `(frames, *shape)`, float32, on the CPU.
        state: What the last of them leaves to the next run.
    """

    frames: torch.Tensor
    state: NoiseState


def correlated_noise(
    seed: int,
    first_frame: int,
    num_frames: int,
    shape: Sequence[int],
    correlation: float,
    previous: NoiseState | None = None,
    camera: Sequence[Matrix] | None = None,
) -> NoiseRun:
    """Draw the initial noise of a run of frames, which changes smoothly along them.

    It is the autoregression of second order with one double root r (Box & Jenkins, "Time Series
    Analysis"): that of first order, put through itself once more. Where a first order turns off at
    random at every frame, this keeps its course for a while, as things that move do. Neighbours
    have the correlation rho = 2r / (1 + r^2), and frames that lie k apart the correlation
    r^k * (1 + k * sqrt(1 - rho^2)).

    It is computed as a lattice (Makhoul, "Stable and efficient lattice methods for linear
    prediction", 1977) of rotations, which keep every frame white and of unit variance, and which a
    moving camera can come between. With eta_f the fresh noise of frame f, W_f the camera motion
    into it and u the course:

        w_f   = sqrt(1 - r^4) * eta_f - r^2 * W_f(u_{f-1})
        eps_f = rho * W_f(eps_{f-1}) + sqrt(1 - rho^2) * w_f
        u_f   = sqrt(1 - rho^2) * W_f(eps_{f-1}) - rho * w_f

    and eps_0 = eta_0, with a white u_0 of its own.

    Args:
        seed: Seed of the clip.
        first_frame: Number of the first frame of the run.
        num_frames: Length of the run.
        shape: Shape of one frame's latent.
        correlation: rho, 0 for independent frames, 1 for the same noise in all frames.
        previous: What the frame before the run left behind; None if and only if the run begins
            with frame 0.
        camera: W_f of each frame of the run, in latent pixels; None for a camera that stands
            still.

    Raises:
        ValueError: `previous` is missing, or given for frame 0.
    """
    if (previous is None) != (first_frame == 0):
        raise ValueError("the noise of the previous frame is needed for every run but the first")
    frames: list[torch.Tensor] = []
    state = previous
    for index, frame in enumerate(range(first_frame, first_frame + num_frames)):
        if state is None:
            state = _first_state(seed, shape)
        else:
            if camera is not None:
                state = _state_with_camera(state, camera[index], seed, frame)
            state = _next_state(state, frame_noise(seed, frame, shape), correlation)
        frames.append(state.noise)
    assert state is not None, "a run has a frame at least"
    return NoiseRun(torch.stack(frames), state)


def autocorrelation(correlation: float, distance: int) -> float:
    """Tell how much frames of `correlated_noise` that lie so far apart correlate, camera at rest.

    Args:
        correlation: rho, of neighbours.
        distance: k, in frames.
    """
    turn = math.sqrt(1 - correlation**2)
    root = correlation / (1 + turn)
    return float(root**distance * (1 + distance * turn))


def return_begins(first_frame: int, length: int) -> int:
    """Give the first frame of those from `first_frame` on that is led back to frame 0."""
    return max(first_frame, length - LONGEST_RETURN)


def looped_noise(
    onward: torch.Tensor,
    seed: int,
    first_frame: int,
    length: int,
    correlation: float,
    camera: Sequence[Matrix] | None = None,
) -> torch.Tensor:
    """Lead the noise of a run of frames back to that of frame 0, which follows on the last frame.

    Frame N of the loop is frame 0 again, and what came before frame 0 belongs before it. So a
    second chain Y goes backwards from there: Y_N = eps_0, Y_{N-1} is the noise that the course of
    frame 0 says was before it, and so on, for an autoregression looks the same in both directions.
    One chain X fades into the other:

        eps_f = (cos(t) * X_f + sin(t) * Y_f) / sqrt(1 + r * sin(2t))

    where t rises smoothly from 0 to a right angle along the last frames, 64 at most, and r is the
    correlation of the two. There is no seam, neither in the noise nor in its course.

    Args:
        onward: X, the frames of `correlated_noise`, shape `(frames, channels, h, w)`.
        seed: Seed of the clip.
        first_frame: Number of the first frame of the run.
        length: N, frames of the loop.
        correlation: rho, 0 to 1.
        camera: W_f, in latent pixels, of the frames after `return_begins` up to N; None for a
            camera that stands still.

    Returns:
        Noise of the shape of `onward`, float32, on the CPU.
    """
    begin = return_begins(first_frame, length)
    frames = list(onward)
    returning = _returning_noise(seed, begin, length, onward.shape[1:], correlation, camera)
    for frame, noise in zip(range(length - 1, begin - 1, -1), returning, strict=True):
        if 0 < frame < first_frame + len(frames):
            there = frame - first_frame
            common = autocorrelation(correlation, length)
            if camera is not None:
                common = float(torch.cosine_similarity(frames[there].ravel(), noise.ravel(), 0))
            angle = _fading_angle(frame, length)
            faded = math.cos(angle) * frames[there] + math.sin(angle) * noise
            frames[there] = faded / math.sqrt(1 + common * math.sin(2 * angle))
    return torch.stack(frames)


def _returning_noise(
    seed: int,
    begin: int,
    length: int,
    shape: Sequence[int],
    rho: float,
    camera: Sequence[Matrix] | None,
) -> Iterator[torch.Tensor]:
    """Give Y of `looped_noise` for the frames from N - 1 down to `begin`."""
    state = _first_state(seed, shape)
    for back in range(1, length - begin + 1):
        if camera is not None:
            state = _state_with_camera(state, inverse(camera[-back]), LOOP_SEED + seed, back)
        if back == 1:
            state = _turned(state.noise, state.course, rho)
        else:
            state = _next_state(state, frame_noise(LOOP_SEED + seed, back, shape), rho)
        yield state.noise


def _fading_angle(frame: int, length: int) -> float:
    """Rise from 0 to a right angle along the frames that are led back, at rest at both ends."""
    way = min(length, LONGEST_RETURN)
    share = (frame - (length - way)) / way
    return math.pi / 2 * share**2 * (3 - 2 * share)


def _first_state(seed: int, shape: Sequence[int]) -> NoiseState:
    return NoiseState(frame_noise(seed, 0, shape), _normal(seed, 0, _COURSE, shape))


def _next_state(state: NoiseState, fresh: torch.Tensor, rho: float) -> NoiseState:
    """Take one step of the lattice, see `correlated_noise`."""
    kept = (rho / (1 + math.sqrt(1 - rho**2))) ** 2
    change = math.sqrt(1 - kept**2) * fresh - kept * state.course
    return _turned(state.noise, change, rho)


def _turned(noise: torch.Tensor, change: torch.Tensor, rho: float) -> NoiseState:
    """Turn noise towards what is to change it, and leave behind what it was."""
    turn = math.sqrt(1 - rho**2)
    return NoiseState(rho * noise + turn * change, turn * noise - rho * change)


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


def _state_with_camera(state: NoiseState, camera_map: Matrix, seed: int, frame: int) -> NoiseState:
    """Move noise and course by the same ways, but of grains that are drawn for each."""
    both = torch.cat([state.noise, state.course])
    moved_noise, moved_course = _with_camera(both, camera_map, seed, frame, _WARP).chunk(2)
    return NoiseState(moved_noise, moved_course)


def _with_camera(
    noise: torch.Tensor, camera_map: Matrix, seed: int, frame: int, stream: int
) -> torch.Tensor:
    if is_identity(camera_map):
        return noise
    return warp_noise(noise, camera_map, _generator(seed, frame, stream))


def _normal(seed: int, frame: int, stream: int, shape: Sequence[int]) -> torch.Tensor:
    generator = _generator(seed, frame, stream)
    return torch.from_numpy(generator.standard_normal(tuple(shape), dtype=np.float32))


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
