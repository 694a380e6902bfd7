"""Training of the embedded model from nothing, by one command that can be interrupted.

``python -m tempprop.mini.train`` draws the stills, learns the tokenizer, trains the autoencoder
and then the denoiser with its text encoder, and saves the pipeline in half precision. On a GPU
(``--device cuda``) it takes larger batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTokenizer

from tempprop.mini import MINI_PATH
from tempprop.mini.held_out import TRAINING, training_indexes
from tempprop.mini.networks import MAX_TOKENS, build_tokenizer, save_pipeline
from tempprop.mini.stills import cached_stills, captions_at
from tempprop.mini.train_denoiser import TrainingSet, encode_captions, train_denoiser
from tempprop.mini.train_vae import encode_stills, train_vae
from tempprop.mini.training import Effort, load_checkpoint, save_checkpoint

STILLS = 40_000
"""Stills to draw. The autoencoder learns from all, the denoiser from those of seen pairs."""

GPU_BATCH_FACTOR = 8
"""How many times larger the batches are on a GPU, which small ones leave idle."""


def cached_latents(
    vae: AutoencoderKL,
    stills: NDArray[np.uint8],
    indexes: Sequence[int],
    work: Path,
    device: torch.device,
) -> tuple[Tensor, Tensor, Tensor]:
    """Encode stills and measure their latents, or read both from ``latents.pt``.

    Args:
        vae: The trained autoencoder.
        stills: Pictures, shape (n, 128, 128, 3), 0 to 255.
        indexes: Which of them.
        work: Directory of the cache.
        device: Where to compute.

    Returns:
        Raw latents of shape (len(indexes), 8, 16, 16), and their mean and standard deviation by
        channel, each of shape (8,).
    """
    path = work / "latents.pt"
    state = load_checkpoint(path)
    if state is None:
        latents = encode_stills(vae, stills, indexes, device)
        state = {
            "latents": latents,
            "mean": latents.mean((0, 2, 3)),
            "std": latents.std((0, 2, 3)),
        }
        save_checkpoint(path, state)
    return state["latents"], state["mean"], state["std"]


def cached_tokenizer(directory: Path) -> CLIPTokenizer:
    """Learn the tokenizer from captions, or load it where that was done before."""
    if not directory.exists():
        captions = (line for index in range(4000) for line in captions_at(index, TRAINING))
        build_tokenizer(captions).save_pretrained(directory)
    return CLIPTokenizer.from_pretrained(directory)


def cached_tokens(tokenizer: CLIPTokenizer, indexes: Sequence[int], work: Path) -> Tensor:
    """Caption and tokenize stills, or read the tokens from ``tokens.pt``.

    Returns:
        Token ids, shape (len(indexes), captions, 32).
    """
    path = work / "tokens.pt"
    state = load_checkpoint(path)
    if state is None:
        captions = [line for index in indexes for line in captions_at(index, TRAINING)]
        tokens = encode_captions(tokenizer, captions).view(len(indexes), -1, MAX_TOKENS)
        state = {"tokens": tokens}
        save_checkpoint(path, state)
    known: Tensor = state["tokens"]
    return known


def normalize_latents(vae: AutoencoderKL, mean: Tensor, std: Tensor) -> None:
    """Bring an autoencoder's latents to mean 0 and deviation 1 without changing its pictures.

    Stable Diffusion multiplies raw latents by one scaling factor and has no place for a shift, so
    both move into the two 1x1 convolutions around the latents, and the factor becomes 1.

    Args:
        vae: The autoencoder, changed in place.
        mean: What each channel's mean was, shape (channels,).
        std: What each channel's standard deviation was, shape (channels,).
    """
    channels = len(mean)
    into, out = vae.quant_conv, vae.post_quant_conv
    mean, std = mean.to(into.bias.device), std.to(into.bias.device)
    with torch.no_grad():
        into.weight[:channels] /= std[:, None, None, None]
        into.bias[:channels] = (into.bias[:channels] - mean) / std
        # The posterior's spread, which is stored as the logarithm of the variance, scales along.
        into.bias[channels:] -= 2 * std.log()
        out.bias += (out.weight[:, :, 0, 0] * mean).sum(1)
        out.weight *= std[:, None, None]
    vae.register_to_config(scaling_factor=1.0)


def train(
    output: Annotated[Path, typer.Option(help="Where to save the pipeline.")] = MINI_PATH,
    work: Annotated[Path, typer.Option(help="Stills and checkpoints.")] = Path("build/mini"),
    minutes_vae: Annotated[float, typer.Option(help="Minutes for the autoencoder.")] = 42,
    minutes_denoiser: Annotated[float, typer.Option(help="Minutes for the denoiser.")] = 90,
    device: Annotated[str, typer.Option(help='"cpu" or "cuda".')] = "cpu",
    threads: Annotated[int, typer.Option(help="Processor threads.")] = 2,
) -> None:
    """Train the embedded model; the same command goes on after an interruption."""
    # The trainings share each batch among threads, see `tempprop.mini.parallel`.
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    place = torch.device(device)
    on_gpu = place.type == "cuda"

    def effort(minutes: float) -> Effort:
        factor = GPU_BATCH_FACTOR if on_gpu else 1
        return Effort(minutes, place, threads=1 if on_gpu else threads, batch_factor=factor)

    stills = cached_stills(work / "stills.npy", STILLS, workers=threads)
    indexes = training_indexes(STILLS)
    tokenizer = cached_tokenizer(work / "tokenizer")
    vae = train_vae(stills, work, effort(minutes_vae))
    latents, mean, std = cached_latents(vae, stills, indexes, work, place)
    normalize_latents(vae, mean, std)
    data = TrainingSet(
        latents=(latents - mean[:, None, None]) / std[:, None, None],
        tokens=cached_tokens(tokenizer, indexes, work),
        no_tokens=encode_captions(tokenizer, [""])[0],
    )
    denoiser = train_denoiser(data, tokenizer, work, effort(minutes_denoiser))
    save_pipeline(output, vae, denoiser.text_encoder, tokenizer, denoiser.unet)


if __name__ == "__main__":
    typer.run(train)
