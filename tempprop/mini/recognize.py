"""Commands that train the classifier and measure what the embedded model draws.

``python -m tempprop.mini.recognize measure`` prints the share of generated pictures in which the
classifier recognizes what the prompt asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice, product
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tempprop.mini import MINI_PATH
from tempprop.mini.classifier import (
    CLASSIFIER_PATH,
    LABELS,
    answers_of,
    load_classifier,
    recognize,
    save_classifier,
    train_classifier,
)
from tempprop.mini.held_out import HELD_OUT, held_out_indexes
from tempprop.mini.stills import cached_stills, captions_at, draw_stills, scene_at
from tempprop.mini.world import Scene

STILLS = 24_000

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "dpm++": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
}
"""Schedulers to compare, by their classes in diffusers; ``ddim`` is the model's own."""

app = typer.Typer(help=__doc__, no_args_is_help=True)


def shares(answers: Sequence[Mapping[str, str]], scenes: Sequence[Scene]) -> dict[str, float]:
    """Compare answers with the truth.

    Args:
        answers: What was recognized in each picture.
        scenes: What each should show.

    Returns:
        The share of right answers to each question, and under ``"all"`` the share of pictures with
        all of them right.
    """
    right = np.array(
        [
            [answer[name] == truth[name] for name in LABELS]
            for answer, truth in zip(answers, map(answers_of, scenes), strict=True)
        ]
    )
    return {
        **dict(zip(LABELS, map(float, right.mean(0)), strict=True)),
        "all": float(right.all(1).mean()),
    }


def generate(
    prompts: list[str],
    *,
    steps: int,
    guidance: float,
    seed: int,
    scheduler: str = "ddim",
    model: Path = MINI_PATH,
    batch: int = 20,
) -> NDArray[np.uint8]:
    """Render prompts with the embedded model, plain text-to-image.

    Args:
        prompts: What to draw.
        steps: Denoising steps.
        guidance: Scale of classifier-free guidance; 1 is without.
        seed: Seed of the noise.
        scheduler: A key of `SCHEDULERS`.
        model: The pipeline's directory.
        batch: Pictures at a time.

    Returns:
        Pictures, shape (len(prompts), 128, 128, 3), 0 to 255.
    """
    # Loading diffusers takes seconds, which the other commands need not wait for.
    import diffusers  # noqa: PLC0415

    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        model, torch_dtype=torch.float32, local_files_only=True
    )
    kind = getattr(diffusers, SCHEDULERS[scheduler])
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, len(prompts), batch):
        pictures = pipeline(
            prompts[start : start + batch],
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generator,
            output_type="np",
        ).images
        parts.append(np.rint(pictures * 255).astype(np.uint8))
    return np.concatenate(parts)


def _print(title: str, rows: dict[str, dict[str, float]]) -> None:
    names = list(next(iter(rows.values())))
    table = Table("", *names, title=title)
    for label, row in rows.items():
        table.add_row(label, *(f"{100 * row[name]:.1f} %" for name in names))
    Console().print(table)


@app.command()
def train(
    work: Annotated[Path, typer.Option(help="Directory of the stills.")] = Path("build/mini"),
    minutes: Annotated[float, typer.Option(help="Minutes to train.")] = 5,
    threads: Annotated[int, typer.Option(help="Processor threads.")] = 2,
) -> None:
    """Train the classifier on stills, save it and print its accuracy on others."""
    torch.set_num_threads(threads)
    network = train_classifier(cached_stills(work / "stills.npy", STILLS), minutes)
    save_classifier(network)
    check()


@app.command()
def check(count: Annotated[int, typer.Option(help="Stills to judge.")] = 1000) -> None:
    """Print the classifier's accuracy on held-out stills."""
    answers = recognize(load_classifier(CLASSIFIER_PATH), draw_stills(count, HELD_OUT))
    scenes = [scene_at(index, HELD_OUT) for index in range(count)]
    _print(f"{count} held-out stills", {"stills": shares(answers, scenes)})


@app.command()
def measure(
    count: Annotated[int, typer.Option(help="Prompts to render.")] = 500,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="Pairs that training never showed together.")
    ] = False,
    scheduler: Annotated[list[str] | None, typer.Option(help="Repeatable.")] = None,
    steps: Annotated[list[int] | None, typer.Option(help="Denoising steps; repeatable.")] = None,
    guidance: Annotated[list[float] | None, typer.Option(help="Guidance; repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    model: Annotated[Path, typer.Option(help="The pipeline's directory.")] = MINI_PATH,
) -> None:
    """Render held-out prompts and print how many show what was asked for."""
    indexes = list(islice(held_out_indexes(unseen=unseen), count))
    scenes = [scene_at(index, HELD_OUT) for index in indexes]
    prompts = [captions_at(index, HELD_OUT, 1)[0] for index in indexes]
    network = load_classifier(CLASSIFIER_PATH)
    rows = {}
    for name, number, scale in product(scheduler or ["ddim"], steps or [12], guidance or [2.5]):
        pictures = generate(
            prompts, steps=number, guidance=scale, seed=seed, scheduler=name, model=model
        )
        label = f"{name}, {number} steps, guidance {scale:g}"
        rows[label] = shares(recognize(network, pictures), scenes)
    pairs = "unseen" if unseen else "seen"
    _print(f"{count} held-out prompts of {pairs} pairs, seed {seed}", rows)


if __name__ == "__main__":
    app()
