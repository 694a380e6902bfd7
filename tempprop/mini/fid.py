"""Command that measures how close the embedded model's pictures come to the stills of its world.

``python -m tempprop.mini.fid`` prints the Fréchet inception distance of generated pictures to
stills, beside that of other stills, which is what so many pictures can reach.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tempprop.evaluation.frechet import frechet_distance, gaussian_of
from tempprop.evaluation.inception import picture_features
from tempprop.evaluation.judges import load_judge
from tempprop.mini import MINI_PATH
from tempprop.mini.held_out import HELD_OUT
from tempprop.mini.recognize import generate
from tempprop.mini.stills import captions_at, draw_stills

CHUNK = 100
"""Pictures that are in memory at a time."""


def measure(
    count: Annotated[int, typer.Option(help="Pictures in each set.")] = 2500,
    steps: Annotated[int, typer.Option(help="Denoising steps.")] = 12,
    guidance: Annotated[float, typer.Option(help="Guidance.")] = 2.5,
    judges: Annotated[Path | None, typer.Option(help="Directory of the judges.")] = None,
    model: Annotated[Path, typer.Option(help="The pipeline's directory.")] = MINI_PATH,
) -> None:
    """Print the distance of generated pictures to stills of the same prompts."""
    network = load_judge("inception", judges)
    sets: dict[str, list[NDArray[np.float64]]] = {"stills": [], "generated": [], "others": []}
    for start in track(range(0, count, CHUNK), "judging", console=Console(stderr=True)):
        number = min(CHUNK, count - start)
        prompts = [captions_at(start + index, HELD_OUT, 1)[0] for index in range(number)]
        pictures = {
            "stills": draw_stills(number, HELD_OUT, start),
            "generated": generate(prompts, steps=steps, guidance=guidance, seed=start, model=model),
            "others": draw_stills(number, HELD_OUT, count + start),
        }
        for name, shown in pictures.items():
            sets[name].append(picture_features(network, shown))
    seen = {name: gaussian_of(np.concatenate(parts)) for name, parts in sets.items()}
    distances = {name: frechet_distance(seen[name], seen["stills"]) for name in seen}
    table = Table("", "FID", title=f"{count} pictures to {count} stills, {steps} steps")
    table.add_row(f"generated, guidance {guidance:g}", f"{distances['generated']:.1f}")
    table.add_row("other stills", f"{distances['others']:.1f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(measure)
