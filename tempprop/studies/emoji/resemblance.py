"""Measures how much of what is held out resembles what is learned from.

``python -m tempprop.studies.emoji.resemblance WORK`` compares every reference clip with all frames
of its animation that are learned from, put on the clip's own background. Distances are mean
absolute differences of all pixels and channels, in levels of 255.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import track

from tempprop.frames import Frames
from tempprop.studies.emoji.animations import Animation, animations_in, frames_of
from tempprop.studies.emoji.backgrounds import on_background
from tempprop.studies.emoji.clear_errors import clear_errors
from tempprop.studies.emoji.dataset import PICTURE, Split, read_reference
from tempprop.studies.emoji.packages import archives_of
from tempprop.studies.emoji.prepare import PackagesOption

TWIN_LEVELS = 0.5
"""A frame that is closer than this to one that is learned from is as good as that frame."""

app = typer.Typer()


@dataclass(frozen=True)
class Resemblance:
    """How far the frames of a clip lie from others, each a mean over the clip.

    Attributes:
        nearest: Levels to the frame learned from that is most like it.
        average: Levels to a frame learned from.
        step: Levels to the frame before it in the clip.
        twins: Share of the frames that are closer than `TWIN_LEVELS` to one learned from.
    """

    nearest: float
    average: float
    step: float
    twins: float


def resemblance(clip: Frames, learned: Frames) -> Resemblance:
    """Compare a clip with frames that are learned from.

    Args:
        clip: At least two frames, shape `(frames, h, w, 3)`.
        learned: At least one frame of the same size.
    """
    distances = np.stack([_distances(learned, frame) for frame in clip])
    nearest = distances.min(axis=1)
    steps = [_distances(after[None], before)[0] for before, after in pairwise(clip)]
    return Resemblance(
        nearest=float(nearest.mean()),
        average=float(distances.mean()),
        step=float(np.mean(steps)),
        twins=float((nearest < TWIN_LEVELS).mean()),
    )


def _distances(frames: Frames, frame: Frames) -> npt.NDArray[np.float64]:
    difference = np.abs(frames.astype(np.int16) - frame)
    distances: npt.NDArray[np.float64] = difference.mean(axis=(1, 2, 3), dtype=np.float64)
    return distances


def resemblances(
    clips: Frames, split: Split, animations: Iterable[Animation]
) -> Iterator[Resemblance]:
    """Compare the reference clips with what is learned from of their animations.

    Args:
        clips: All reference clips.
        split: What they are and what is held out.
        animations: All animations; those of which nothing is learned from are passed over.

    Raises:
        InputError: An animation cannot be decoded.
    """
    numbers = {clip.code: n for n, clip in enumerate(split.clips) if not clip.unseen}
    held_out = {each.code: each.held_out or (0, 0) for each in split.animations}
    for animation in animations:
        if (number := numbers.get(animation.code)) is not None:
            background = split.clips[number].background
            away = range(*held_out[animation.code])
            learned = [
                on_background(picture, background, PICTURE)
                for frame, (picture, _) in enumerate(frames_of(animation))
                if frame not in away
            ]
            yield resemblance(clips[number], np.stack(learned))


@app.command()
def measure(
    work: Annotated[Path, typer.Argument(help="Directory of the prepared data.")],
    packages: PackagesOption = None,
) -> None:
    """Print how much the held-out clips resemble what is learned from."""
    with clear_errors():
        clips, split = read_reference(work)
        animations = animations_in(archives_of(work, packages).animations)
        shown = track(
            animations, "comparing", total=len(split.animations), console=Console(stderr=True)
        )
        found = list(resemblances(clips, split, shown))
    nearest, average, step, twins = (
        np.mean([getattr(each, name) for each in found])
        for name in ("nearest", "average", "step", "twins")
    )
    typer.echo(
        f"a frame of a held-out clip differs, over {len(found)} clips,\n"
        f"{step:6.2f} levels from the frame before it\n"
        f"{nearest:6.2f} levels from the most similar frame that is learned from\n"
        f"{average:6.2f} levels from any frame of the animation that is learned from\n"
        f"{twins:6.1%} of them by less than {TWIN_LEVELS} levels from one that is learned from"
    )


if __name__ == "__main__":
    app()
