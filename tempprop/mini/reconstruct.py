"""Command that measures how well the embedded model's autoencoder returns what it is given.

``python -m tempprop.mini.reconstruct`` encodes and decodes stills that training never saw, and
prints their peak signal-to-noise ratio.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from diffusers import AutoencoderKL

from tempprop.autoencoder import in_precision
from tempprop.frames import Frames
from tempprop.mini import MINI_PATH
from tempprop.mini.held_out import HELD_OUT
from tempprop.mini.stills import draw_stills
from tempprop.mini.train_vae import to_signal
from tempprop.render import to_uint8

FEW = 25
"""Stills that are encoded at a time."""


@torch.inference_mode()
def reconstructed(vae: Any, pictures: Frames) -> Frames:
    """Encode pictures and decode them: the best that a model with this autoencoder can draw.

    Args:
        vae: diffusers' AutoencoderKL. It works in float32, whatever the precision of its weights.
        pictures: Shape `(n, height, width, 3)`, uint8, in a size that the autoencoder takes.

    Returns:
        Pictures of the same shape.
    """
    with in_precision(vae, torch.float32):
        latents = vae.encode(to_signal(pictures, vae.device)).latent_dist.mode()
        return to_uint8((vae.decode(latents).sample + 1) / 2)


def decibels(pictures: Frames, returned: Frames) -> float:
    """Give the peak signal-to-noise ratio, that of each picture, averaged over the pictures.

    `10 log10(255^2 / E)`, with `E` the mean squared error of all values of a picture.

    Args:
        pictures: Shape `(n, height, width, 3)`, uint8.
        returned: The same pictures after a way that lost something in each.
    """
    errors = np.square(pictures.astype(np.float64) - returned).mean(axis=(1, 2, 3))
    return float((10 * np.log10(255**2 / errors)).mean())


def measure(
    count: Annotated[int, typer.Option(min=1, help="Stills.")] = 500,
    model: Annotated[Path, typer.Option(help="The pipeline's directory.")] = MINI_PATH,
) -> None:
    """Print how faithfully held-out stills come back."""
    vae = AutoencoderKL.from_pretrained(model / "vae", local_files_only=True)
    stills = draw_stills(count, HELD_OUT)
    parts = [reconstructed(vae, stills[start : start + FEW]) for start in range(0, count, FEW)]
    print(f"{count} held-out stills: {decibels(stills, np.concatenate(parts)):.1f} dB")


if __name__ == "__main__":
    typer.run(measure)
