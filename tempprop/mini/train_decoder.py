"""Further training of the autoencoder's decoder alone, when the latents are already fixed.

Once the denoiser learns on the latents of an encoder, that encoder cannot change any more; but the
decoder can still learn to draw the same latents more crisply.
"""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn

from tempprop.mini.optimizers import KernelOptimizer
from tempprop.mini.parallel import set_gradients, workers_of
from tempprop.mini.progress import (
    Budget,
    average_into,
    learning_rate,
    load_checkpoint,
    run_steps,
    save_checkpoint,
)
from tempprop.mini.train_vae import reconstruction_loss, to_signal

PEAK_RATE = 1.5e-3
BATCH = 4
LATENT_NOISE = 0.06


class Decoder(nn.Module):
    """The decoding half of an autoencoder, from normalized latents to pictures."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.post_quant_conv = vae.post_quant_conv
        self.decoder = vae.decoder

    def forward(self, latents: Tensor) -> Tensor:
        """Decode latents of shape (n, 6, 16, 16) to pictures (n, 3, 128, 128) of -1 to 1."""
        pictures: Tensor = self.decoder(self.post_quant_conv(latents))
        return pictures


def train_decoder(
    vae: AutoencoderKL,
    latents: Tensor,
    stills: NDArray[np.uint8],
    work: Path,
    minutes: float,
    device: torch.device,
    threads: int = 2,
) -> None:
    """Train a decoder further, or go on where a run was interrupted.

    A little noise on the latents prepares the decoder for those of a denoiser, which are never
    exact, and for latents that were blended or warped between frames.

    Args:
        vae: The autoencoder with normalized latents; its decoder is replaced by the averaged one.
        latents: Normalized latents of the stills, shape (n, 6, 16, 16).
        stills: Pictures, shape (n, 128, 128, 3), 0 to 255.
        work: Directory of the checkpoint ``decoder.pt``.
        minutes: Time to train in all.
        device: Where to compute.
        threads: Threads to share a batch.
    """
    model = Decoder(vae).to(device).train().requires_grad_(True)
    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = KernelOptimizer(
        model, lambda name: not any(part in name for part in ("conv_in", "conv_out", "quant"))
    )
    parameters, workers = list(model.parameters()), workers_of(threads)
    budget, first_step = Budget(minutes), 0
    if state := load_checkpoint(work / "decoder.pt"):
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        budget, first_step = Budget(minutes, spent=state["seconds"]), state["step"]

    def part(noisy: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.autocast(device.type, torch.bfloat16):
            output = model(noisy).float()
        loss = reconstruction_loss(output, target)
        return loss, {"loss": loss, "error": (output - target).abs().mean()}

    def step(count: int, progress: float) -> dict[str, Tensor]:
        rng = np.random.default_rng((4, count))
        torch.manual_seed(count)
        chosen = np.sort(rng.choice(len(latents), size=BATCH, replace=False))
        target = to_signal(stills[chosen], device)
        known = latents[torch.from_numpy(chosen)].to(device)
        batch = (known + LATENT_NOISE * torch.randn_like(known), target)
        figures = set_gradients(
            workers,
            parameters,
            [
                partial(part, *(tensor[share::threads] for tensor in batch))
                for share in range(threads)
            ],
        )
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        rate = learning_rate(PEAK_RATE, count, progress, warmup=40)
        optimizer.step(workers, muon_rate=rate, adam_rate=rate)
        average_into(average, model, count, 0.99)
        return figures

    def save(count: int) -> None:
        save_checkpoint(
            work / "decoder.pt",
            {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "seconds": budget.seconds,
                "step": count,
            },
        )

    run_steps(budget, first_step, step, save, label="decoder")
    model.load_state_dict(average.state_dict())
    model.eval().requires_grad_(False)
