"""Decodes the animations once more and draws each frame where the plan wants it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tempprop.frames import Frames
from tempprop.studies.emoji.animations import Animation, frames_of
from tempprop.studies.emoji.backgrounds import on_background
from tempprop.studies.emoji.dataset import PICTURE, ReferenceClip, Still
from tempprop.studies.emoji.split import CLIP_FRAMES
from tempprop.whole_files import draft_of


@dataclass(frozen=True)
class Place:
    """Where one frame goes.

    Attributes:
        frames: The array of all stills or of all clips.
        index: Of the picture in it.
        background: What the frame is put on.
    """

    frames: Frames
    index: tuple[int, ...]
    background: str


Places = Mapping[tuple[str, int], Sequence[Place]]
"""By code of the animation and number of the frame."""


def write_pictures(
    work: Path,
    animations: Iterable[Animation],
    stills: Sequence[Still],
    clips: Sequence[ReferenceClip],
) -> None:
    """Write `stills.npy` and `reference.npy`, each of which is there only when it is whole.

    Args:
        work: Where to write.
        animations: All that stills and clips name.
        stills: Frames to learn from, in order.
        clips: Reference clips, in order.

    Raises:
        InputError: An animation cannot be decoded.
    """
    with (
        draft_of(work / "stills.npy") as stills_draft,
        draft_of(work / "reference.npy") as clips_draft,
    ):
        learned = _pictures_in(stills_draft, len(stills))
        films = _pictures_in(clips_draft, len(clips), CLIP_FRAMES)
        places = _places(learned, stills, films, clips)
        for animation in animations:
            _draw(animation, places)
        learned.flush()
        films.flush()


def _pictures_in(file: Path, *shape: int) -> "np.memmap[Any, np.dtype[np.uint8]]":
    return np.lib.format.open_memmap(file, "w+", np.uint8, (*shape, PICTURE, PICTURE, 3))


def _places(
    learned: Frames, stills: Sequence[Still], films: Frames, clips: Sequence[ReferenceClip]
) -> Places:
    places = defaultdict[tuple[str, int], list[Place]](list)
    for number, still in enumerate(stills):
        places[still.code, still.frame].append(Place(learned, (number,), still.background))
    for number, clip in enumerate(clips):
        for position, frame in enumerate(clip.shown):
            place = Place(films, (number, position), clip.background)
            places[clip.code, frame].append(place)
    return places


def _draw(animation: Animation, places: Places) -> None:
    for number, (picture, _) in enumerate(frames_of(animation)):
        for place in places.get((animation.code, number), ()):
            place.frames[place.index] = on_background(picture, place.background, PICTURE)
