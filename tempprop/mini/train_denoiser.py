"""Training of the denoiser together with its text encoder, on cached latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from tempprop.mini.networks import build_scheduler, build_text_encoder, build_unet, take_over
from tempprop.mini.parallel import Part
from tempprop.mini.training import Effort, Recipe, train_module

BATCH = 64
DROPPED_CAPTIONS = 0.1
SNR_CEILING = 5.0


@dataclass(frozen=True)
class TrainingSet:
    """What the denoiser learns from.

    Attributes:
        latents: Scaled latents of mean 0 and deviation about 1, shape (n, 8, 16, 16).
        tokens: Token ids of several captions a still, shape (n, captions, 32).
        no_tokens: Token ids of the empty caption, shape (32,).
    """

    latents: Tensor
    tokens: Tensor
    no_tokens: Tensor


def encode_captions(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """Convert captions to token ids, shape (len(captions), 32), padded to full length."""
    ids: Tensor = tokenizer(
        list(captions), padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    return ids


def velocity_weights(snr: Tensor) -> Tensor:
    """Weigh the loss of velocity predictions by the signal-to-noise ratio α²/σ².

    An error in the velocity counts as an error in the picture times SNR + 1 (Salimans & Ho 2022,
    section 4).  Capping that factor keeps the nearly clean, easy steps from ruling the training,
    as in the min-SNR weighting of Hang et al. 2023 (section 3.4).  The cap is put on SNR + 1, not
    on SNR, because with a schedule that ends in pure noise the latter would give the last step,
    where sampling begins, no weight at all.

    Args:
        snr: Signal-to-noise ratios, at least 0; may be infinite.

    Returns:
        Factors of the squared velocity error, between 0 and 1, of the same shape.
    """
    return (SNR_CEILING / (snr + 1)).clamp(max=1.0)


class Denoiser(nn.Module):
    """The denoiser and the text encoder as one module, so they train and average together."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def forward(self, noisy: Tensor, times: Tensor, tokens: Tensor) -> Tensor:
        """Predict velocities.

        Args:
            noisy: Noisy latents, shape (n, 8, 16, 16).
            times: Training steps of the noise, shape (n,), 0 to 999.
            tokens: Token ids of the captions, shape (n, 32).

        Returns:
            Velocities α·ε - σ·x, shape (n, 8, 16, 16).
        """
        states = self.text_encoder(tokens)[0]
        velocity: Tensor = self.unet(noisy, times, states).sample
        return velocity


def _is_inner(name: str) -> bool:
    return not any(part in name for part in ("conv_in", "conv_out", "embedding"))


RECIPE = Recipe("denoiser", _is_inner, muon_rate=2e-3, adam_rate=1e-3, averaging=0.998, warmup=100)


def train_denoiser(
    data: TrainingSet,
    tokenizer: CLIPTokenizer,
    work: Path,
    effort: Effort,
    start: Denoiser | None = None,
) -> Denoiser:
    """Train the denoiser, or go on where a run was interrupted.

    Args:
        data: Latents and captions.
        tokenizer: Gives the size of the text encoder's vocabulary.
        work: Directory of the checkpoint ``denoiser.pt``.
        effort: Time, device and threads.
        start: The denoiser to begin with, perhaps of other words; None for random weights.

    Returns:
        The denoiser with averaged weights, in evaluation mode.
    """
    torch.manual_seed(0)
    device = effort.device
    model = Denoiser(build_unet(), build_text_encoder(tokenizer))
    if start is not None:
        take_over(model, start)
    model.to(device).train()
    if device.type == "cpu":
        # Over so few tokens, the backward pass of fused attention takes longer than all the rest.
        model.unet.set_attn_processor(AttnProcessor())
        model.text_encoder.set_attn_implementation("eager")
    else:
        # Its many small operations would leave a GPU waiting for Python.
        model.unet.compile()
    latents, captions, no_tokens = (
        tensor.to(device) for tensor in (data.latents, data.tokens, data.no_tokens)
    )
    signal = build_scheduler().alphas_cumprod.to(device)
    steps, size = len(signal), BATCH * effort.batch_factor

    def part(
        clean: Tensor, noise: Tensor, times: Tensor, tokens: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        alpha = signal[times].sqrt()[:, None, None, None]
        sigma = (1 - signal[times]).sqrt()[:, None, None, None]
        with torch.autocast(device.type, torch.bfloat16):
            output = model(alpha * clean + sigma * noise, times, tokens)
        error = (output.float() - (alpha * noise - sigma * clean)).square().mean((1, 2, 3))
        loss = (velocity_weights(signal[times] / (1 - signal[times])) * error).mean()
        return loss, {"loss": loss, "velocity": error.mean()}

    def batch(count: int, progress: float) -> Sequence[Part]:
        rng = np.random.default_rng((2, count))
        chosen = torch.from_numpy(rng.integers(len(latents), size=size)).to(device)
        variant = torch.from_numpy(rng.integers(captions.shape[1], size=size)).to(device)
        clean = latents[chosen]
        dropped = torch.from_numpy(rng.random(size) < DROPPED_CAPTIONS).to(device)
        tokens = torch.where(dropped[:, None], no_tokens, captions[chosen, variant])
        # One time from each of equal stretches: the loss varies less than with free draws.
        times = (torch.arange(size) + torch.rand(size)) * steps / size
        times = times.long().clamp(max=steps - 1).to(device)
        whole = (clean, torch.randn_like(clean), times, tokens)
        return [
            partial(part, *(tensor[share :: effort.threads] for tensor in whole))
            for share in range(effort.threads)
        ]

    return train_module(model, RECIPE, batch, work, effort)
