"""The initial noise of a clip: keyed by seed and frame, correlated from frame to frame."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch


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
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, frame], dtype=np.uint64)))
    return torch.from_numpy(generator.standard_normal(tuple(shape), dtype=np.float32))


def correlated_noise(
    seed: int,
    first_frame: int,
    num_frames: int,
    shape: Sequence[int],
    correlation: float,
    previous: torch.Tensor | None = None,
) -> torch.Tensor:
    """Draw the initial noise of a run of frames as a first-order autoregression.

    With eta_f the fresh noise of frame f: eps_0 = eta_0 and
    eps_f = rho * eps_{f-1} + sqrt(1 - rho^2) * eta_f. Every frame keeps unit variance, and frames
    that lie k apart have the correlation rho^k.

    Args:
        seed: Seed of the clip.
        first_frame: Number of the first frame of the run.
        num_frames: Length of the run.
        shape: Shape of one frame's latent.
        correlation: rho, 0 for independent frames, 1 for the same noise in all frames.
        previous: Noise of the frame before the run, of the given shape; None if and only if the
            run begins with frame 0.

    Returns:
        Noise of shape `(num_frames, *shape)`, float32, on the CPU.

    Raises:
        ValueError: `previous` is missing, or given for frame 0.
    """
    if (previous is None) != (first_frame == 0):
        raise ValueError("the noise of the previous frame is needed for every run but the first")
    fresh_share = math.sqrt(1.0 - correlation**2)
    frames: list[torch.Tensor] = []
    for frame in range(first_frame, first_frame + num_frames):
        fresh = frame_noise(seed, frame, shape)
        previous = fresh if previous is None else correlation * previous + fresh_share * fresh
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
