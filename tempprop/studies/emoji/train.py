"""Trains the embedded model's architecture on stills of the animations.

``python -m tempprop.studies.emoji.train WORK`` learns the tokenizer, trains the autoencoder and
then the denoiser with its text encoder, and saves the pipeline in half precision. The embedded
model's weights are the first ones, all but those of its words: how edges and shades look need not
be learned twice. It can be interrupted; the same command goes on. The networks and their trainers
are those of `tempprop.mini`.

`docs/emoji.md` says how long it took.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from transformers import CLIPTokenizer

from tempprop.errors import InputError
from tempprop.mini import MINI_PATH
from tempprop.mini.networks import build_tokenizer
from tempprop.mini.train import (
    DenoiserMinutes,
    Device,
    Threads,
    VaeMinutes,
    efforts_of,
    train_pipeline,
)
from tempprop.studies.emoji.clear_errors import clear_errors
from tempprop.studies.emoji.dataset import Still, read_stills

app = typer.Typer()


def tokenizer_of(stills: Sequence[Still]) -> CLIPTokenizer:
    """Learn the tokenizer from all captions."""
    return build_tokenizer(line for still in stills for line in still.captions)


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
    minutes_vae: VaeMinutes = None,
    minutes_denoiser: DenoiserMinutes = None,
    from_scratch: Annotated[
        bool, typer.Option(help="Begin with random weights, not with the embedded model's.")
    ] = False,
    device: Device = "cpu",
    threads: Threads = 2,
) -> None:
    """Train on the prepared stills; the same command goes on after an interruption."""
    # The trainings share each batch among threads, see `tempprop.mini.parallel`.
    torch.set_num_threads(1)
    training = work / "training"
    with clear_errors():
        place = _device(device)
        pictures, stills = read_stills(work)
        belongs_to(training, work)
    train_pipeline(
        pictures,
        range(len(pictures)),
        tokenizer_of(stills),
        (line for still in stills for line in still.captions),
        training,
        training / "model",
        efforts_of(minutes_vae, minutes_denoiser, place, threads),
        None if from_scratch else MINI_PATH,
    )
    typer.echo(f"the pipeline is in {training / 'model'}")


if __name__ == "__main__":
    app()
