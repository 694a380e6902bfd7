"""Training of the embedded model from nothing, by one command that can be interrupted.

``python -m tempprop.mini.train`` draws the stills, learns the tokenizer, trains the autoencoder
and then the denoiser with its text encoder, and saves the pipeline in half precision. On a GPU
(``--device cuda``) it takes larger batches. ``--start`` trains a model further.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from diffusers import AutoencoderKL, StableDiffusionPipeline
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTokenizer

from tempprop.mini import MINI_PATH
from tempprop.mini.held_out import TRAINING, training_indexes
from tempprop.mini.networks import MAX_TOKENS, build_tokenizer, save_pipeline
from tempprop.mini.stills import cached_stills, captions_at
from tempprop.mini.train_denoiser import (
    Denoiser,
    TrainingSet,
    encode_captions,
    train_denoiser,
)
from tempprop.mini.train_vae import encode_stills, train_vae
from tempprop.mini.training import Effort, effort_of, load_checkpoint, save_checkpoint

STILLS = 40_000
"""Stills to draw. The autoencoder learns from all, the denoiser from those of seen pairs."""

GPU_MINUTES = (8.0, 15.0)
"""For the autoencoder and for the denoiser, by default; with the drawing, 25 minutes in all."""

CPU_MINUTES = (42.0, 240.0)

GPU_BATCH_FACTORS = (16, 24)
"""How many times larger the batches are on a GPU, for the autoencoder and for the denoiser.

Beside another training, Python took an H200's host about as long for a step as the GPU for so much.
"""

VaeMinutes = Annotated[
    float | None, typer.Option(help="Minutes for the autoencoder; 42 on a CPU, else 8.")
]
DenoiserMinutes = Annotated[
    float | None, typer.Option(help="Minutes for the denoiser; 240 on a CPU, else 15.")
]
Device = Annotated[str, typer.Option(help='"cpu" or "cuda".')]
Threads = Annotated[int, typer.Option(min=1, help="Processor threads, on a CPU.")]
Drawn = Annotated[
    int, typer.Option(min=1, help="Stills to draw; a GPU has time to learn from more of them.")
]
Start = Annotated[
    Path | None, typer.Option(help="Begin with the weights of this pipeline, not with random ones.")
]


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


def cached_tokens(tokenizer: CLIPTokenizer, captions: Iterable[str], work: Path) -> Tensor:
    """Tokenize captions, or read the tokens from ``tokens.pt``.

    Args:
        tokenizer: The tokenizer.
        captions: Not looked at where the file is there.
        work: Directory of the cache.

    Returns:
        Token ids, shape (captions, 32).
    """
    path = work / "tokens.pt"
    state = load_checkpoint(path)
    if state is None:
        state = {"tokens": encode_captions(tokenizer, list(captions))}
        save_checkpoint(path, state)
    tokens: Tensor = state["tokens"]
    return tokens


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


def train_pipeline(
    pictures: NDArray[np.uint8],
    indexes: Sequence[int],
    tokenizer: CLIPTokenizer,
    captions: Iterable[str],
    work: Path,
    output: Path,
    efforts: tuple[Effort, Effort],
    start: Path | None = None,
) -> None:
    """Train all parts on captioned pictures, or go on where a run was interrupted, and save them.

    Args:
        pictures: What the autoencoder learns from, shape (n, 128, 128, 3), 0 to 255.
        indexes: Which of them the denoiser learns from.
        tokenizer: Reads the captions.
        captions: Of the pictures of those indexes, in order, equally many of each.
        work: Directory of the checkpoints.
        output: Directory of the pipeline.
        efforts: For the autoencoder and for the denoiser.
        start: Directory of a pipeline of this architecture, whose weights are the first ones; None
            for random weights.
    """
    trained = None if start is None else StableDiffusionPipeline.from_pretrained(start)
    vae = train_vae(pictures, work, efforts[0], trained and trained.vae)
    latents, mean, std = cached_latents(vae, pictures, indexes, work, efforts[0].device)
    normalize_latents(vae, mean, std)
    data = TrainingSet(
        latents=(latents - mean[:, None, None]) / std[:, None, None],
        tokens=cached_tokens(tokenizer, captions, work).view(len(indexes), -1, MAX_TOKENS),
        no_tokens=encode_captions(tokenizer, [""])[0],
    )
    first = trained and Denoiser(trained.unet, trained.text_encoder)
    denoiser = train_denoiser(data, tokenizer, work, efforts[1], first)
    save_pipeline(output, vae, denoiser.text_encoder, tokenizer, denoiser.unet)


def efforts_of(
    minutes_vae: float | None, minutes_denoiser: float | None, device: torch.device, threads: int
) -> tuple[Effort, Effort]:
    """Say what each part may use, by default what suits the device."""
    usual = CPU_MINUTES if device.type == "cpu" else GPU_MINUTES
    vae = usual[0] if minutes_vae is None else minutes_vae
    denoiser = usual[1] if minutes_denoiser is None else minutes_denoiser
    return (
        effort_of(vae, device, threads, GPU_BATCH_FACTORS[0]),
        effort_of(denoiser, device, threads, GPU_BATCH_FACTORS[1]),
    )


def train(
    output: Annotated[Path, typer.Option(help="Where to save the pipeline.")] = MINI_PATH,
    work: Annotated[Path, typer.Option(help="Stills and checkpoints.")] = Path("build/mini"),
    minutes_vae: VaeMinutes = None,
    minutes_denoiser: DenoiserMinutes = None,
    stills: Drawn = STILLS,
    start: Start = None,
    device: Device = "cpu",
    threads: Threads = 2,
) -> None:
    """Train the embedded model; the same command goes on after an interruption."""
    # The trainings share each batch among threads, see `tempprop.mini.parallel`.
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    indexes = training_indexes(stills)
    train_pipeline(
        cached_stills(work / "stills.npy", stills, workers=threads),
        indexes,
        cached_tokenizer(work / "tokenizer"),
        (line for index in indexes for line in captions_at(index, TRAINING)),
        work,
        output,
        efforts_of(minutes_vae, minutes_denoiser, torch.device(device), threads),
        start,
    )


if __name__ == "__main__":
    typer.run(train)
