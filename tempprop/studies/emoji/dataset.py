"""The prepared data as files of one directory.

    packages/        archives of the npm packages
    stills.npy       what is learned from: (stills, 128, 128, 3), uint8, in random order
    captions.json    for each still, in the same order: the frame, its background, its captions
    reference.npy    the held-out real clips: (clips, 16, 128, 128, 3), uint8
    split.json       every animation with what of it is held out, and every clip with its prompt

`split.json` is written last: where it is, the rest is whole.
"""

from pathlib import Path

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from tempprop.errors import InputError
from tempprop.frames import Frames
from tempprop.spec import CLIP_ID_PATTERN, Frozen

PICTURE = 128
"""Side of the pictures in pixels, which is that of the embedded model's."""


class Still(Frozen):
    """One frame to learn from.

    Attributes:
        code: The animation, by its code points.
        frame: Number of the frame.
        background: Name of the background.
        captions: What it shows, in several ways.
    """

    code: str
    frame: int = Field(ge=0)
    background: str
    captions: tuple[str, ...] = Field(min_length=1)


class ReferenceClip(Frozen):
    """One real clip that nothing is learned from, and what asks for it.

    Attributes:
        clip_id: Names the clip in manifests and files.
        code: The animation.
        prompt: Name and background.
        seed: For whoever renders the prompt.
        background: Name of the background.
        shown: Number of the animation's frame that each frame of the clip shows.
        unseen: Whether nothing of this kind of emoji is learned from.
    """

    clip_id: str = Field(pattern=CLIP_ID_PATTERN)
    code: str
    prompt: str
    seed: int
    background: str
    shown: tuple[int, ...]
    unseen: bool


class SplitAnimation(Frozen):
    """One animation, and what of it is held out.

    Attributes:
        code: Its code points.
        name: What it shows.
        frames: How many frames it has.
        milliseconds: How long it lasts.
        held_out: First frame that is held out and the one after the last; None where none is.
        unseen: Whether nothing of it is learned from.
    """

    code: str
    name: str
    frames: int
    milliseconds: int
    held_out: tuple[int, int] | None
    unseen: bool


class Split(Frozen):
    """What is learned from and what is held out.

    Attributes:
        fps: Frames a second of the reference clips.
        animations: All of them.
        clips: The reference clips, in the order of `reference.npy`.
    """

    fps: float
    animations: tuple[SplitAnimation, ...]
    clips: tuple[ReferenceClip, ...]


STILLS = TypeAdapter(tuple[Still, ...])


def drop_split(work: Path) -> None:
    """Say that the data of a directory is no longer whole."""
    (work / "split.json").unlink(missing_ok=True)


def read_split(work: Path) -> Split:
    """Read which animations are there and what of them is held out.

    Raises:
        InputError: The data is not prepared, or its files were written by something else.
    """
    path = _prepared(work, "split.json")
    try:
        return Split.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise _foreign(path, error) from error


def read_stills(work: Path) -> tuple[Frames, tuple[Still, ...]]:
    """Open the stills, mapped from disk, with what is known of each.

    Raises:
        InputError: The data is not prepared, or its files do not belong together.
    """
    pictures = _read_array(work, "stills.npy")
    path = _prepared(work, "captions.json")
    try:
        stills = STILLS.validate_json(path.read_bytes())
    except ValidationError as error:
        raise _foreign(path, error) from error
    if len(stills) != len(pictures):
        raise _foreign(path, f"{len(stills)} captions for {len(pictures)} stills")
    return pictures, stills


def read_reference(work: Path) -> tuple[Frames, Split]:
    """Open the reference clips, mapped from disk, with the split that they belong to.

    Raises:
        InputError: The data is not prepared, or its files do not belong together.
    """
    frames, split = _read_array(work, "reference.npy"), read_split(work)
    if len(split.clips) != len(frames):
        raise _foreign(work / "split.json", f"{len(split.clips)} clips, not {len(frames)}")
    return frames, split


def _read_array(work: Path, name: str) -> Frames:
    path = _prepared(work, name)
    try:
        array: Frames = np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise _foreign(path, error) from error
    if array.dtype != np.uint8 or array.shape[-3:] != (PICTURE, PICTURE, 3):
        raise _foreign(path, f"an array of {array.dtype}, {array.shape}")
    return array


def _prepared(work: Path, name: str) -> Path:
    if not (work / "split.json").is_file() or not (work / name).is_file():
        raise InputError(
            f"there is no prepared data in {work}. Prepare it with "
            f"`python -m tempprop.studies.emoji.prepare {work}`"
        )
    return work / name


def _foreign(path: Path, reason: object) -> InputError:
    said = " ".join(str(reason).split())[:200]
    return InputError(f"{path} is not what was prepared: {said}. Prepare the data again")
