"""Fetches the animations and writes what the model learns from and what it is compared with.

``python -m tempprop.studies.emoji.prepare WORK`` takes 730 MB of packages and some minutes on one
core. `tempprop.studies.emoji.dataset` says what it writes, `tempprop.studies.emoji.split` what it
holds out and why. The same packages give the same files.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from tempprop.errors import InputError
from tempprop.studies.emoji.animations import Animation, animations_in, durations_of
from tempprop.studies.emoji.annotations import Annotation, read_annotations
from tempprop.studies.emoji.clear_errors import clear_errors
from tempprop.studies.emoji.dataset import STILLS, Split, drop_split, read_stills
from tempprop.studies.emoji.packages import Archives, archives_of, files_in
from tempprop.studies.emoji.pictures import write_pictures
from tempprop.studies.emoji.plan import Plan, clips_of, plan_of, split_of, stills_of
from tempprop.whole_files import write_whole

NAMES_FILE = "data/openmoji.json"

PackagesOption = Annotated[
    Path | None, typer.Option(help="Folder of archives that were downloaded by hand.")
]

app = typer.Typer()


def _table(archive: Path) -> dict[str, Annotation]:
    for path, text in files_in([archive], NAMES_FILE):
        return read_annotations(text, f"{path} in {archive}")
    raise InputError(
        f"there is no {NAMES_FILE} in {archive}. Use the pinned version of the package"
    )


def _plan(archives: Archives, animations: Iterable[Animation]) -> Plan:
    table = _table(archives.names)
    durations = {animation.code: durations_of(animation) for animation in animations}
    if not durations:
        raise InputError(
            f"there are no animations in {', '.join(map(str, archives.animations))}. "
            "Use the pinned versions of the packages"
        )
    return plan_of(durations, table)


def prepare_data(work: Path, archives: Archives) -> Split:
    """Write the data; what was there before is replaced.

    Args:
        work: Directory of the data.
        archives: The packages.

    Returns:
        What is held out.

    Raises:
        InputError: A package or an animation cannot be used.
    """
    console = Console(stderr=True)
    timing = animations_in(archives.animations)
    plan = _plan(archives, track(timing, "reading the animations", console=console))
    stills, clips = stills_of(plan), clips_of(plan)
    split = split_of(plan, clips)
    work.mkdir(parents=True, exist_ok=True)
    drop_split(work)
    again = animations_in(archives.animations)
    drawn = track(again, "drawing them", total=len(plan), console=console)
    write_pictures(work, drawn, stills, clips)
    write_whole(work / "captions.json", STILLS.dump_json(tuple(stills)))
    write_whole(work / "split.json", split.model_dump_json(indent=1))
    return split


def summary(split: Split, stills: int) -> str:
    """Say in a few lines what was prepared."""
    unseen = [animation for animation in split.animations if animation.unseen]
    clips = [clip for clip in split.clips if not clip.unseen]
    seconds = sum(animation.milliseconds for animation in split.animations) / 1000
    frames = sum(animation.frames for animation in split.animations)
    return (
        f"{len(split.animations)} animations, {frames} frames, {seconds / 60:.1f} minutes\n"
        f"{stills} stills to learn from, of {len(split.animations) - len(unseen)} animations\n"
        f"{len(clips)} reference clips of the same animations, held out\n"
        f"{len(split.clips) - len(clips)} reference clips of {len(unseen)} animations that nothing "
        "is learned from"
    )


@app.command()
def prepare(
    work: Annotated[Path, typer.Argument(help="Directory of the data.")],
    packages: PackagesOption = None,
) -> None:
    """Fetch the animations; write the stills, their captions and the reference clips."""
    with clear_errors():
        split = prepare_data(work, archives_of(work, packages))
        typer.echo(summary(split, len(read_stills(work)[0])))


if __name__ == "__main__":
    app()
