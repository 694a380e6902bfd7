"""Commands that show the embedded model: everything it draws, and how its training went.

``python -m tempprop.mini.pictures grid`` writes `docs/mini-grid.png`, and
``python -m tempprop.mini.pictures curve`` writes `docs/mini-training.png`.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from tempprop.mini import MINI_PATH
from tempprop.mini.captions import BACKGROUND_WORDS, LIGHT_WORDS, article_for
from tempprop.mini.paint import COLORS
from tempprop.mini.recognize import generate
from tempprop.mini.things import THINGS
from tempprop.mini.training import load_checkpoint

GAP = 4
PAPER = (22, 23, 27)
COLUMNS = (
    ("sky", "day"),
    ("hills", "day"),
    ("sea", "dusk"),
    ("desert", "day"),
    ("snow", "day"),
    ("mountains", "dusk"),
    ("city", "night"),
    ("cream studio", "day"),
    ("pink studio", "day"),
    ("mint studio", "day"),
)
"""Background and light of each column of the grid; `COLORS` follow one another along a row."""

CURVES = (
    ("vae", "error", "autoencoder: absolute error"),
    ("denoiser", "velocity", "denoiser: squared error of the velocity"),
)
"""Checkpoint, figure and title of each panel of the curve."""

app = typer.Typer(help=__doc__, no_args_is_help=True)


def grid_prompts() -> list[str]:
    """Write a prompt for every thing before every background of the grid, row by row.

    Pairs that training never showed are among them.
    """
    colors = tuple(COLORS)
    prompts = []
    for (row, thing), (column, (background, light)) in product(
        enumerate(THINGS), enumerate(COLUMNS)
    ):
        color = colors[(row + column) % len(colors)]
        hour = "" if background.endswith("studio") else f" {LIGHT_WORDS[light][0]}"
        words = f"large {color} {thing}"
        prompts.append(
            f"{article_for(words)} {words} in the middle {BACKGROUND_WORDS[background][0]}{hour}"
        )
    return prompts


def tile(pictures: NDArray[np.uint8], columns: int) -> Image.Image:
    """Lay pictures out row by row.

    Args:
        pictures: Shape (n, height, width, 3), 0 to 255.
        columns: How many in a row.
    """
    height, width = pictures.shape[1] + GAP, pictures.shape[2] + GAP
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), PAPER)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        sheet.paste(Image.fromarray(picture), (GAP + column * width, GAP + row * height))
    return sheet


def save_grid(prompts: list[str], columns: int, out: Path, model: Path, seed: int) -> None:
    """Draw prompts, plain text-to-image with 12 steps and guidance 2.5, and save them row by row.

    Args:
        prompts: What to draw.
        columns: Pictures in a row.
        out: The PNG to write.
        model: The pipeline's directory.
        seed: Seed of the noise.
    """
    pictures = generate(prompts, steps=12, guidance=2.5, seed=seed, model=model)
    tile(pictures, columns).save(out, optimize=True)


@app.command()
def grid(
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("docs/mini-grid.png"),
    model: Annotated[Path, typer.Option(help="The pipeline's directory.")] = MINI_PATH,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
) -> None:
    """Draw every thing before ten backgrounds, in changing colors."""
    save_grid(grid_prompts(), len(COLUMNS), out, model, seed)


@app.command()
def curve(
    work: Annotated[Path, typer.Option(help="Directory of the checkpoints.")] = Path("build/mini"),
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("docs/mini-training.png"),
) -> None:
    """Plot the losses of the training against its time.

    Raises:
        FileNotFoundError: A checkpoint is missing.
    """
    plot = Figure(figsize=(9, 3.4), layout="constrained")
    for axis, (name, figure, title) in zip(plot.subplots(1, len(CURVES)), CURVES, strict=True):
        state = load_checkpoint(work / f"{name}.pt")
        if state is None:
            raise FileNotFoundError(work / f"{name}.pt")
        minutes = [point["seconds"] / 60 for point in state["curve"]]
        values = [point[figure] for point in state["curve"]]
        axis.plot(minutes, values, color="#c9ccd3", linewidth=0.8)
        axis.plot(minutes, smoothed(values), color="#2563a8")
        axis.set_title(f"{title}, {state['step']:,} steps", fontsize=10)
        axis.set(xlabel="minutes", yscale="log")
    plot.savefig(out, dpi=120)


def smoothed(values: list[float], keep: float = 0.7) -> list[float]:
    """Average a curve exponentially, without a bias towards its beginning.

    The same weights normalize the sum (Kingma & Ba 2015, section 3, for the moments of Adam).

    Args:
        values: The curve.
        keep: Share of the past that is kept at each point.
    """
    total = weight = 0.0
    result = []
    for value in values:
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        result.append(total / weight)
    return result


if __name__ == "__main__":
    app()
