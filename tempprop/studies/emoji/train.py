"""Trains the embedded model's architecture on stills of the animations.

``python -m tempprop.studies.emoji.train WORK`` learns the tokenizer, trains the autoencoder and
then the denoiser with its text encoder, and saves the pipeline in half precision. It can be
interrupted; the same command goes on. The networks and their trainers are those of
`tempprop.mini`; only the data differs.

On a GPU (``--device cuda``) it takes 25 minutes by default, on two CPU cores seven hours for far
fewer steps; `docs/emoji.md` has the plan.
"""

import hashlib
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

GPU_MINUTES = (8.0, 15.0)
"""For the autoencoder and the denoiser, which has more to learn: hundreds of emoji by name."""

CPU_MINUTES = (60.0, 360.0)

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


def belongs_to(training: Path, work: Path) -> None:
    """Make sure that checkpoints began with the data that is there, or note what they begin with.

    Args:
        training: Directory of the checkpoints; made if missing.
        work: Directory of the prepared data.

    Raises:
        InputError: The data was prepared anew since, and is not the same.
    """
    training.mkdir(parents=True, exist_ok=True)
    note = training / "captions.sha256"
    digest = hashlib.sha256((work / "captions.json").read_bytes()).hexdigest()
    if not note.exists():
        note.write_text(digest)
    elif note.read_text() != digest:
        raise InputError(
            f"the training in {training} began with other data. Remove that directory to begin "
            "anew, or prepare the data in another one"
        )


@app.command()
def train(
    work: Annotated[Path, typer.Argument(help="Directory of the prepared data.")],
    minutes_vae: Annotated[
        float | None, typer.Option(help="Minutes for the autoencoder; 8 on a GPU, else 60.")
    ] = None,
    minutes_denoiser: Annotated[
        float | None, typer.Option(help="Minutes for the denoiser; 15 on a GPU, else 360.")
    ] = None,
    device: Annotated[str, typer.Option(help='"cpu" or "cuda".')] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Processor threads, on a CPU.")] = 2,
) -> None:
    """Train on the prepared stills; the same command goes on after an interruption."""
    # The trainings share each batch among threads, see `tempprop.mini.parallel`.
    torch.set_num_threads(1)
    training = work / "training"
    with clear_errors():
        place = _device(device)
        pictures, stills = read_stills(work)
        belongs_to(training, work)
    usual = CPU_MINUTES if place.type == "cpu" else GPU_MINUTES
    efforts = (
        effort_of(usual[part] if minutes is None else minutes, place, threads)
        for part, minutes in enumerate((minutes_vae, minutes_denoiser))
    )
    model = train_pipeline(pictures, stills, training, *efforts)
    typer.echo(f"the pipeline is in {model}")


if __name__ == "__main__":
    app()
