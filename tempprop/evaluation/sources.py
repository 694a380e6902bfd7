"""The directories that a caller wants evaluated: their names, and a first look at every clip."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tempprop.errors import ClipError
from tempprop.evaluation.clip_files import (
    ClipFile,
    find_clips,
    identified,
    local_copy,
    read_clip,
)
from tempprop.evaluation.instruments import Shown
from tempprop.evaluation.measured import measured_key, read_measured, write_measured
from tempprop.evaluation.optical_flow import SMALLEST_SIDE
from tempprop.objects import Store
from tempprop.storage_faults import display_uri
from tempprop.watch import Watch

NAMED = re.compile(r"(?P<name>[^=/:*?\[]+)=(?P<source>.+)")


@dataclass(frozen=True)
class Clip:
    """A clip that has been looked at.

    Attributes:
        file: Where it lies; its digest is known.
        shown: What is known of its frames.
    """

    file: ClipFile
    shown: Shown


@dataclass(frozen=True)
class Source:
    """The clips of one row.

    Attributes:
        name: What the caller calls it.
        uri: Its path or URI, without credentials.
        clips: At least one, sorted by name, all of one size.
    """

    name: str
    uri: str
    clips: tuple[Clip, ...]


def named_sources(words: Sequence[str]) -> dict[str, str]:
    """Give every source a name of its own.

    Args:
        words: Paths, globs or URIs, each perhaps as NAME=SOURCE. Without a name, a source is
            called by the last part of its path where no other one has it, else by all of it.

    Returns:
        The sources by name, in order.

    Raises:
        ClipError: Two have the same name.
    """
    pairs = [_split(word) for word in words]
    short = Counter(_last_part(source) for name, source in pairs if name is None)
    names = [
        name or (_last_part(source) if short[_last_part(source)] == 1 else display_uri(source))
        for name, source in pairs
    ]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ClipError(
            f"several sources are called {twice[0]!r}. Name them, as in ours=out/default"
        )
    return {name: source for name, (_, source) in zip(names, pairs, strict=True)}


def _split(word: str) -> tuple[str | None, str]:
    match = NAMED.fullmatch(word)
    # A directory such as run=3 has no name but its own.
    if match is None or Path(word).exists():
        return None, word
    return match["name"].strip(), match["source"]


def _last_part(source: str) -> str:
    return display_uri(source).rstrip("/").rpartition("/")[2] or source


@dataclass(frozen=True)
class Found:
    """Clips that have been found, and not been looked at.

    Attributes:
        name: What the caller calls their source.
        uri: Its path or URI, without credentials.
        files: At least one, sorted by name.
    """

    name: str
    uri: str
    files: tuple[ClipFile, ...]


def find_sources(sources: Mapping[str, str]) -> list[Found]:
    """List the clips of sources, given by name.

    Raises:
        ClipError: One has no clips, or cannot be listed.
        StoreError: A record of an output location is damaged, or it does not answer.
    """
    return [
        Found(name, display_uri(source), tuple(find_clips(source)))
        for name, source in sources.items()
    ]


def with_prompts(found: Sequence[Found], prompts: Mapping[str, str]) -> list[Found]:
    """Say what clips show, whatever they say themselves.

    Args:
        found: The clips of all sources.
        prompts: By the clip's name.

    Raises:
        ClipError: There are prompts, and no clip has the name of one.
    """
    names = {file.name for each in found for file in each.files}
    if prompts and names.isdisjoint(prompts):
        raise ClipError(
            f"no clip has a name of the prompts: these are of {next(iter(prompts))!r} and so on, "
            f"clips are {min(names)!r} and so on. Name clips by their files, without the suffix"
        )
    return [
        replace(
            each,
            files=tuple(
                replace(file, prompt=prompts.get(file.name, file.prompt)) for file in each.files
            ),
        )
        for each in found
    ]


def look_at_sources(
    found: Sequence[Found], frames: int, store: Store | None, watch: Watch
) -> list[Source]:
    """Read all clips to see whether they can be evaluated, before anything is measured.

    Args:
        found: The clips of all sources.
        frames: How many frames of each clip count.
        store: Where it is kept what was seen before; None for nowhere.
        watch: Is told how far it is.

    Raises:
        ClipError: Some cannot be evaluated; all of them are listed.
        StoreError: The store did not answer.
    """
    total, done, seen, problems = sum(len(each.files) for each in found), 0, [], list[str]()
    for each in found:
        clips = []
        for file in each.files:
            watch(f"reading {each.name}", done, total)
            done += 1
            try:
                clips.append(_look(file, frames, store))
            except ClipError as error:
                problems.append(f"{file.uri}: {error}")
        problems += _sizes(each.name, clips)
        seen.append(Source(each.name, each.uri, tuple(clips)))
    if problems:
        raise ClipError("\n  ".join(["some clips cannot be evaluated:", *problems]))
    _remember(seen, frames, store)
    return seen


def _look(file: ClipFile, frames: int, store: Store | None) -> Clip:
    if file.sha256 is not None and (shape := _known_shape(file, frames, store)) is not None:
        return Clip(file, Shown(*shape, prompt=file.prompt))
    with local_copy(file) as path:
        file = identified(file, path)
        shape = _known_shape(file, frames, store) or read_clip(path, frames, file.fps).shape[:3]
    _check(*shape)
    return Clip(file, Shown(*shape, prompt=file.prompt))


def _known_shape(file: ClipFile, frames: int, store: Store | None) -> tuple[int, int, int] | None:
    known = read_measured(store, _key(file, frames))
    if known is None:
        return None
    num_frames, height, width = map(int, known["shape"])
    return num_frames, height, width


def _remember(sources: list[Source], frames: int, store: Store | None) -> None:
    """Keep what was seen, now that all of it can be evaluated."""
    for clip in (clip for source in sources for clip in source.clips):
        if _known_shape(clip.file, frames, store) is None:
            shown = clip.shown
            shape = np.array([shown.num_frames, shown.height, shown.width], dtype=np.float64)
            write_measured(store, _key(clip.file, frames), {"shape": shape})


def _key(file: ClipFile, frames: int) -> str:
    return measured_key("shape", file.sha256, frames)


def _check(num_frames: int, height: int, width: int) -> None:
    if num_frames < 2:
        raise ClipError("it has one frame, and a clip takes two. Leave it out")
    if min(height, width) < SMALLEST_SIDE:
        raise ClipError(
            f"it has {width}x{height} pixels, and the optical flow takes {SMALLEST_SIDE} each way. "
            "Leave it out"
        )


def _sizes(name: str, clips: list[Clip]) -> Iterator[str]:
    sizes = Counter((clip.shown.width, clip.shown.height) for clip in clips)
    if len(sizes) < 2:
        return
    first = {size: next(c for c in clips if _size(c) == size).file.name for size in sizes}
    listed = ", ".join(
        f"{width}x{height} ({sizes[width, height]}, such as {first[width, height]})"
        for width, height in sizes
    )
    yield f"{name}: its clips differ in size: {listed}. Give sources of one size each"


def _size(clip: Clip) -> tuple[int, int]:
    return clip.shown.width, clip.shown.height
