"""Training of the autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tempprop.mini.networks import PICTURE, build_vae, take_over
from tempprop.mini.parallel import Part
from tempprop.mini.training import Effort, Recipe, train_module

CROP = 64
CROPS = 8
WHOLE = 4
CROPPED_SHARE = 0.6
EDGE_WEIGHT = 2.0
GRADIENT_WEIGHT = 0.5
PRIOR_WEIGHT = 3e-4


def _is_inner(name: str) -> bool:
    return not any(part in name for part in ("conv_in", "conv_out", "quant"))


RECIPE = Recipe("vae", _is_inner, muon_rate=3e-3, adam_rate=3e-3, averaging=0.995, warmup=40)


def to_signal(pictures: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """Convert (n, h, w, 3) pictures of 0 to 255 to (n, 3, h, w) floats of -1 to 1."""
    tensor = torch.from_numpy(np.ascontiguousarray(pictures)).to(device)
    return tensor.permute(0, 3, 1, 2).float() / 127.5 - 1


def slopes(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Difference neighboring pixels: (n, 3, h, w) to the steps rightwards and downwards."""
    return pictures[..., 1:] - pictures[..., :-1], pictures[..., 1:, :] - pictures[..., :-1, :]


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Measure a reconstruction with an eye for edges.

    The absolute error is weighted by the target's own slope, and the slopes are compared too:
    in flat illustration most pixels are easy, and a plain mean would tolerate soft outlines.

    Args:
        output: Reconstruction, shape (n, 3, h, w), about -1 to 1.
        target: Original of the same shape.

    Returns:
        The loss, a scalar.
    """
    across, down = slopes(target)
    edges = functional.pad(across.abs().mean(1, keepdim=True), (0, 1))
    edges = edges + functional.pad(down.abs().mean(1, keepdim=True), (0, 0, 0, 1))
    edges = functional.max_pool2d(edges, 3, stride=1, padding=1).clamp(max=1.0)
    loss = ((1 + EDGE_WEIGHT * edges) * (output - target).abs()).mean()
    out_across, out_down = slopes(output)
    loss = loss + GRADIENT_WEIGHT * (out_across - across).abs().mean()
    return loss + GRADIENT_WEIGHT * (out_down - down).abs().mean()


def random_batch(
    stills: NDArray[np.uint8], crop: int, count: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Cut random squares from random stills, half of them mirrored."""
    squares = []
    for index in rng.integers(len(stills), size=count):
        top, left = rng.integers(PICTURE - crop + 1, size=2)
        square = stills[index, top : top + crop, left : left + crop]
        squares.append(square[:, ::-1] if rng.random() < 0.5 else square)
    return np.stack(squares)


def train_vae(
    stills: NDArray[np.uint8], work: Path, effort: Effort, start: AutoencoderKL | None = None
) -> AutoencoderKL:
    """Train the autoencoder, or go on where a run was interrupted.

    It learns from crops first, which show more variety for the same effort, and from whole
    pictures at the end, because group normalization sees other statistics on those.

    Args:
        stills: Pictures, shape (n, 128, 128, 3), 0 to 255.
        work: Directory of the checkpoint ``vae.pt``.
        effort: Time, device and threads.
        start: The autoencoder to begin with; None for random weights.

    Returns:
        The autoencoder with averaged weights, in evaluation mode.
    """
    torch.manual_seed(0)
    vae, device = build_vae(), effort.device
    if start is not None:
        take_over(vae, start)
    vae.to(device)

    def part(target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.autocast(device.type, torch.bfloat16):
            posterior = vae.encode(target).latent_dist
            output = vae.decode(posterior.sample()).sample.float()
        loss = reconstruction_loss(output, target)
        prior = posterior.kl().float().sum() / posterior.mean.numel()
        error = (output - target).abs().mean()
        return loss + PRIOR_WEIGHT * prior, {"loss": loss, "prior": prior, "error": error}

    def batch(count: int, progress: float) -> Sequence[Part]:
        rng = np.random.default_rng((1, count))
        crop, number = (CROP, CROPS) if progress < CROPPED_SHARE else (PICTURE, WHOLE)
        squares = random_batch(stills, crop, number * effort.batch_factor, rng)
        target = to_signal(squares, device)
        return [partial(part, target[share :: effort.threads]) for share in range(effort.threads)]

    return train_module(vae, RECIPE, batch, work, effort)


@torch.no_grad()
def encode_stills(
    vae: AutoencoderKL,
    stills: NDArray[np.uint8],
    indexes: Sequence[int],
    device: torch.device,
    batch: int = 50,
) -> Tensor:
    """Encode pictures to the means of their latents, not yet scaled.

    Args:
        vae: The autoencoder.
        stills: Pictures, shape (n, 128, 128, 3), 0 to 255.
        indexes: Which of them.
        device: Where to compute.
        batch: Pictures at a time.

    Returns:
        Latents, shape (len(indexes), 8, 16, 16), float32 on the CPU.
    """
    parts = []
    for start in range(0, len(indexes), batch):
        pictures = to_signal(stills[list(indexes[start : start + batch])], device)
        with torch.autocast(device.type, torch.bfloat16):
            mean = vae.encode(pictures).latent_dist.mean
        parts.append(mean.float().cpu())
    return torch.cat(parts)
