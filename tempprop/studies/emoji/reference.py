"""Writes the held-out real clips as files, with the prompts that ask for the same.

``python -m tempprop.studies.emoji.reference WORK OUT`` writes:

    OUT/seen/<clip_id>.mkv      clips of animations of which other moments are learned from
    OUT/unseen/<clip_id>.mkv    clips of emoji that nothing is learned from
    OUT/prompts.jsonl           a line for each clip of `seen`: clip, prompt, seed and film
    OUT/prompts-unseen.jsonl    the same for `unseen`

The clips are lossless, 16 frames at 12 fps; `film` is their path from `OUT`. The prompts are in
random order, so that any part of them is like the rest.
"""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from tempprop.frames import Frames
from tempprop.lossless import SUFFIX, write_lossless
from tempprop.studies.emoji.clear_errors import clear_errors
from tempprop.studies.emoji.dataset import ReferenceClip, read_reference, read_split

app = typer.Typer()


@dataclass(frozen=True)
class RealClip:
    """A held-out clip.

    Attributes:
        about: Its name, its prompt, and where it comes from.
        frames: Shape `(16, 128, 128, 3)`, uint8, RGB, at `tempprop.studies.emoji.split.FPS`.
    """

    about: ReferenceClip
    frames: Frames


def real_clips(work: Path, *, unseen: bool) -> Iterator[RealClip]:
    """Give the held-out clips, in the order of the animations.

    Args:
        work: Directory of the prepared data.
        unseen: Whether to give those of emoji that nothing is learned from, or the others.

    Raises:
        InputError: The data is not prepared.
    """
    frames, split = read_reference(work)
    return (
        RealClip(about, frames[number])
        for number, about in enumerate(split.clips)
        if about.unseen == unseen
    )


def prompt_lines(clips: Iterable[ReferenceClip], folder: str) -> str:
    """Write what asks for clips as JSON Lines, in random order.

    Args:
        clips: What is asked for.
        folder: Where their files are, from the file of the prompts.

    Returns:
        Lines of `clip` (its name), `prompt`, `seed` and `film` (its file).
    """
    lines = [
        {
            "clip": clip.clip_id,
            "prompt": clip.prompt,
            "seed": clip.seed,
            "film": f"{folder}/{clip.clip_id}{SUFFIX}",
        }
        for clip in clips
    ]
    random.Random("prompts").shuffle(lines)
    return "".join(json.dumps(line) + "\n" for line in lines)


def write_clips(clips: Sequence[RealClip], folder: Path, prompts: Path, fps: float) -> None:
    """Write clips as lossless files, and their prompts; what is there is replaced.

    Args:
        clips: What to write.
        folder: Where the files go, named by their `clip_id`; made if missing.
        prompts: The file of prompts, in the directory that holds the folder.
        fps: Frames a second.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for clip in track(clips, f"writing {folder}", console=Console(stderr=True)):
        write_lossless(clip.frames, folder / f"{clip.about.clip_id}{SUFFIX}", fps)
    prompts.write_text(prompt_lines((clip.about for clip in clips), folder.name))


@app.command()
def reference(
    work: Annotated[Path, typer.Argument(help="Directory of the prepared data.")],
    out: Annotated[Path, typer.Argument(help="Directory for the clips and prompts.")],
) -> None:
    """Write the held-out real clips as lossless files, and the prompts that ask for the same."""
    with clear_errors():
        fps = read_split(work).fps
        for name, prompts in (("seen", "prompts.jsonl"), ("unseen", "prompts-unseen.jsonl")):
            clips = list(real_clips(work, unseen=name == "unseen"))
            write_clips(clips, out / name, out / prompts, fps)
            typer.echo(f"{len(clips)} clips in {out / name}, their prompts in {out / prompts}")


if __name__ == "__main__":
    app()
