"""What every method is asked for: the same prompts under the same seeds, and the films behind them.

They are those of the drawn world, or come from a file of JSON Lines, one take a line:

    {"clip": "0001", "prompt": "a red balloon", "seed": 7, "film": "films/0001.gif"}

`film` is the real film that the prompt describes, as a path relative to the file; it may be left
out.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from pydantic import Field, ValidationError

from tempprop.errors import InputError
from tempprop.frames import Frames
from tempprop.lossless import read_frames
from tempprop.mini.held_out import HELD_OUT
from tempprop.mini.motions import motion_at
from tempprop.mini.stills import captions_at, scene_at
from tempprop.mini.world import draw_video
from tempprop.spec import CLIP_ID_PATTERN, ClipSettings, Frozen
from tempprop.whole_files import write_whole

Film = Callable[[ClipSettings], Frames]
"""Gives the first frames of a real film, as many and as large as clips of these settings have."""


@dataclass(frozen=True)
class Take:
    """One clip that every method makes.

    Attributes:
        name: Name of its file, without suffix.
        prompt: What it shows.
        seed: Key of its noise.
        film: The real film that the prompt describes; None where there is none.
    """

    name: str
    prompt: str
    seed: int
    film: Film | None = None


@dataclass(frozen=True)
class Cast:
    """The takes of a comparison.

    Attributes:
        takes: What the methods make.
        others: As many other takes, whose films are the reference; fewer where there are no more.
    """

    takes: tuple[Take, ...]
    others: tuple[Take, ...]


class Line(Frozen):
    """One line of a file of takes.

    Attributes:
        clip: Name of the clip.
        prompt: What it shows.
        seed: Key of its noise, 0 to 2^63 - 1.
        film: The real film that the prompt describes, relative to the file; None for none.
    """

    clip: str = Field(pattern=CLIP_ID_PATTERN)
    prompt: str = Field(min_length=1)
    seed: int = Field(ge=0, lt=2**63)
    film: str | None = None


def drawn_cast(number: int) -> Cast:
    """Give takes of the drawn world: the first held-out scenes, and those after them as the others.

    Things of all sizes are among them, just as in training.

    Args:
        number: How many.
    """
    return Cast(
        tuple(map(_drawn_take, range(number))), tuple(map(_drawn_take, range(number, 2 * number)))
    )


def _drawn_take(index: int) -> Take:
    scene, motion = scene_at(index, HELD_OUT), motion_at(index, HELD_OUT)

    def film(settings: ClipSettings) -> Frames:
        if settings.width != settings.height:
            raise InputError(
                f"the drawn world is square, and the clips are {settings.width}x{settings.height}. "
                "Give an equal width and height, or films of your own with --prompts"
            )
        return draw_video(scene, motion, settings.num_frames, settings.width)

    return Take(f"{index:05}", captions_at(index, HELD_OUT, 1)[0], index, film)


def cast_from_file(path: Path, number: int | None = None) -> Cast:
    """Read takes from a file of JSON Lines.

    Args:
        path: The file.
        number: How many of its first lines are takes; the lines after them are the others. None
            for all.

    Raises:
        InputError: There is no such file, a line is no take, two have one name, or there are too
            few lines.
    """
    try:
        rows = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the prompts {path} cannot be read: {error}. Check the path") from error
    lines = [_line(path, count, row) for count, row in enumerate(rows, 1) if row.strip()]
    names = [line.clip for line in lines]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{path}: two lines are called {twice[0]!r}. Give each clip its own name")
    wanted = len(lines) if number is None else number
    if not 1 <= wanted <= len(lines):
        raise InputError(f"{path} has {len(lines)} lines, not {max(wanted, 1)}. Add some")
    takes = tuple(_read_take(path, line) for line in lines)
    return Cast(takes[:wanted], takes[wanted : 2 * wanted])


def _line(path: Path, count: int, row: str) -> Line:
    try:
        return Line.model_validate_json(row)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}, line {count}: {f'{field}: ' if field else ''}{first['msg']}. A line looks "
            'like {"clip": "0001", "prompt": "a red balloon", "seed": 7, "film": "0001.gif"}'
        ) from error


def _read_take(path: Path, line: Line) -> Take:
    if line.film is None:
        return Take(line.clip, line.prompt, line.seed)
    source = path.parent / line.film
    return Take(line.clip, line.prompt, line.seed, lambda settings: _fitted(source, settings))


def _fitted(source: Path, settings: ClipSettings) -> Frames:
    """Read the first frames of a film; each is cut to the clips' proportions and resized."""
    frames = read_frames(source)
    if len(frames) < settings.num_frames:
        raise InputError(
            f"the film {source} has {len(frames)} frames, fewer than {settings.num_frames}. "
            "Give fewer --frames, or leave it out"
        )
    size = (settings.width, settings.height)
    pictures = map(Image.fromarray, frames[: settings.num_frames])
    return np.stack(
        [np.asarray(ImageOps.fit(each, size, Image.Resampling.LANCZOS)) for each in pictures]
    )


def keep_takes(cast: Cast, directory: Path) -> None:
    """Write what clips show into their directory, as `takes.jsonl` and `others.jsonl`.

    Raises:
        InputError: The clips that are there show something else.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name, takes in (("takes", cast.takes), ("others", cast.others)):
        path = directory / f"{name}.jsonl"
        text = "".join(map(_as_line, takes))
        if not path.exists():
            write_whole(path, text)
        elif path.read_text() != text:
            raise InputError(
                f"the clips in {directory} are of other prompts, or of more or fewer, see {path}. "
                "Give another directory"
            )


def _as_line(take: Take) -> str:
    return json.dumps({"clip": take.name, "prompt": take.prompt, "seed": take.seed}) + "\n"
