"""Draws what the model learned from the animations, one picture a prompt.

``python -m tempprop.studies.emoji.grid PROMPTS`` writes `docs/emoji-grid.png`.
"""

from pathlib import Path
from typing import Annotated

import typer

from tempprop.mini.pictures import save_grid
from tempprop.studies.emoji.clear_errors import clear_errors
from tempprop.studies.takes import cast_from_file

WEIGHTS = Path(__file__).parent / "weights"

COLUMNS = 10

app = typer.Typer()


@app.command()
def grid(
    prompts: Annotated[Path, typer.Argument(help="JSON Lines, as `reference` writes them.")],
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("docs/emoji-grid.png"),
    model: Annotated[Path, typer.Option(help="The pipeline's directory.")] = WEIGHTS,
    count: Annotated[int, typer.Option(min=1, help="How many of the prompts.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
) -> None:
    """Draw the first prompts of a file."""
    with clear_errors():
        cast = cast_from_file(prompts, count)
    save_grid([take.prompt for take in cast.takes], COLUMNS, out, model, seed)


if __name__ == "__main__":
    app()
