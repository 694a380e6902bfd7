"""Trains the embedded model's architecture on stills of the animations.

``python -m tempprop.studies.emoji.train WORK`` learns the tokenizer, trains the autoencoder and
then the denoiser with its text encoder, and saves the pipeline in half precision. It can be
interrupted; the same command goes on. The networks and their trainers are those of
`tempprop.mini`; only the data differs.

The default times are for a GPU (``--device cuda``), where everything takes about 25 minutes: stills
are many, and so are their details, so the denoiser has the larger part. Two CPU cores need about a
hundred times as long for as many steps; ``--minutes-vae 60 --minutes-denoiser 360`` is what gives a
model there that is to be looked at, in seven hours.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor
from transformers import CLIPTokenizer

from tempprop.encode import Frames
from tempprop.errors import InputError
from tempprop.mini.networks import MAX_TOKENS, build_tokenizer, save_pipeline
from tempprop.mini.train import GPU_BATCH_FACTOR, cached_latents, normalize_latents
from tempprop.mini.train_denoiser import TrainingSet, encode_captions, train_denoiser
from tempprop.mini.train_vae import train_vae
from tempprop.mini.training import Effort
from tempprop.studies.emoji.clear_errors import clear_errors
from tempprop.studies.emoji.dataset import Still, read_stills

app = typer.Typer()


def tokenizer_of(stills: Sequence[Still]) -> CLIPTokenizer:
    """Learn the tokenizer from all captions."""
    return build_tokenizer(line for still in stills for line in still.captions)


def tokens_of(tokenizer: CLIPTokenizer, stills: Sequence[Still]) -> Tensor:
    """Convert the captions of stills to token ids, shape `(stills, captions, 32)`."""
    captions = [line for still in stills for line in still.captions]
    return encode_captions(tokenizer, captions).view(len(stills), -1, MAX_TOKENS)


def effort_of(minutes: float, device: torch.device, threads: int) -> Effort:
    """Say what a training may use: large batches and one thread on a GPU, shared ones on a CPU."""
    if device.type == "cpu":
        return Effort(minutes, device, threads)
    return Effort(minutes, device, threads=1, batch_factor=GPU_BATCH_FACTOR)


def train_pipeline(
    pictures: Frames,
    stills: Sequence[Still],
    work: Path,
    vae_effort: Effort,
    denoiser_effort: Effort,
) -> Path:
    """Train on stills, or go on where a run was interrupted.

    Args:
        pictures: Shape `(stills, 128, 128, 3)`, uint8.
        stills: What they show, in the same order.
        work: Directory of the checkpoints and, in `model`, of the pipeline.
        vae_effort: Time and device of the autoencoder.
        denoiser_effort: Time and device of the denoiser.

    Returns:
        The directory of the pipeline.
    """
    work.mkdir(parents=True, exist_ok=True)
    vae = train_vae(pictures, work, vae_effort)
    latents, mean, std = cached_latents(
        vae, pictures, range(len(pictures)), work, vae_effort.device
    )
    normalize_latents(vae, mean, std)
    tokenizer = tokenizer_of(stills)
    data = TrainingSet(
        latents=(latents - mean[:, None, None]) / std[:, None, None],
        tokens=tokens_of(tokenizer, stills),
        no_tokens=encode_captions(tokenizer, [""])[0],
    )
    denoiser = train_denoiser(data, tokenizer, work, denoiser_effort)
    save_pipeline(work / "model", vae, denoiser.text_encoder, tokenizer, denoiser.unet)
    return work / "model"


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"there is no device {name!r}. Use cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("torch sees no CUDA device. Use --device cpu, or another build of torch")
    return device


@app.command()
def train(
    work: Annotated[Path, typer.Argument(help="Directory of the prepared data.")],
    minutes_vae: Annotated[float, typer.Option(help="Minutes for the autoencoder.")] = 8,
    minutes_denoiser: Annotated[float, typer.Option(help="Minutes for the denoiser.")] = 15,
    device: Annotated[str, typer.Option(help='"cpu" or "cuda".')] = "cpu",
    threads: Annotated[int, typer.Option(help="Processor threads, on a CPU.")] = 2,
) -> None:
    """Train on the prepared stills; the same command goes on after an interruption."""
    # The trainings share each batch among threads, see `tempprop.mini.parallel`.
    torch.set_num_threads(1)
    with clear_errors():
        place = _device(device)
        pictures, stills = read_stills(work)
    efforts = (effort_of(minutes, place, threads) for minutes in (minutes_vae, minutes_denoiser))
    typer.echo(
        f"the pipeline is in {train_pipeline(pictures, stills, work / 'training', *efforts)}"
    )


if __name__ == "__main__":
    app()
