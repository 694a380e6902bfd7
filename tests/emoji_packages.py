"""Tiny packages in the layout of the real ones, whose frames say themselves which they are."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tempprop.studies.emoji.packages import Archives

LONG = (42,) * 72
"""Three seconds, as most of the real animations last."""

NAMES = {
    "1f609": ("winking face", "smileys-emotion", "cheerful, face, happy"),
    "1f3c3-200d-2642-fe0f": ("man running", "people-body", "fast, race"),
    "1f3c3-200d-2640-fe0f": ("woman running", "people-body", "fast, race"),
    "2600": ("sun", "travel-places", "bright, happy"),
    "1f98b": ("butterfly", "animals-nature", "insect, pretty"),
    "1f9d1-200d-1f9b0": ("person: red hair", "people-body", "face, hair"),
    "1f44b": ("waving hand", "people-body", "hand, hello"),
    "1f4d6": ("open book", "objects", "read"),
}
"""Code in openmoji's table to name, group and tags."""

DURATIONS = {
    "1f609": LONG,
    "1f3c3-200d-2642-fe0f": LONG,
    "1f3c3-200d-2640-fe0f": (42,) * 70,
    # The name of its file has a selector that the table leaves out.
    "2600-fe0f": (41, 42) * 36,
    "1f98b": LONG,
    "1f9d1-200d-1f9b0": (42,) * 20,
    # Left out of the data: another skin tone, and a picture that stands still.
    "1f44b-1f3fd": LONG,
    "1f4d6": (42,),
}
"""Name of the file to milliseconds of its frames."""

UNSEEN = "1f98b"
"""What `is_unseen` names among them."""

SHORT = "1f9d1-200d-1f9b0"
"""What is too short for a reference clip."""

TAKEN = tuple(code for code in DURATIONS if code not in ("1f44b-1f3fd", "1f4d6"))
"""What belongs into the data."""


def mark(code: str, frame: int) -> tuple[int, int, int]:
    """The color in the middle of a frame, by which a test knows it again."""
    return 3 * frame, 20 * list(DURATIONS).index(code), 100


def frame_in(picture: np.ndarray) -> tuple[str, int]:
    """Read from a picture of 128x128 which animation and frame it shows."""
    red, green, _ = picture[56:72, 56:72].reshape(-1, 3).mean(axis=0)
    return list(DURATIONS)[round(green / 20)], round(red / 3)


def webp(code: str, durations: Sequence[int], side: int = 24) -> bytes:
    """An animation of a square on a transparent ground."""
    frames = []
    for number in range(len(durations)):
        frame = Image.new("RGBA", (side, side))
        frame.paste(
            (*mark(code, number), 255), (side // 4, side // 4, 3 * side // 4, 3 * side // 4)
        )
        frames.append(frame)
    file = io.BytesIO()
    first, *rest = frames
    options = {"save_all": True, "append_images": rest, "duration": list(durations), "loop": 0}
    first.save(file, "WEBP", lossless=True, exact=True, **(options if rest else {}))
    return file.getvalue()


def table(names: Mapping[str, tuple[str, str, str]] = NAMES) -> bytes:
    rows = [
        {"hexcode": code.upper(), "annotation": name, "group": group, "tags": tags, "emoji": "?"}
        for code, (name, group, tags) in names.items()
    ]
    return json.dumps(rows).encode()


def pack(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write an archive as npm packs it."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def animation_files(codes: Sequence[str] = tuple(DURATIONS)) -> dict[str, bytes]:
    return {f"assets/{code}.webp": webp(code, DURATIONS[code]) for code in codes}


def small_archives(folder: Path) -> Archives:
    """Two packages of animations and one of names."""
    codes = list(DURATIONS)
    halves = (codes[:4], codes[4:])
    animations = [
        pack(folder / f"{number}.tgz", {"README.md": b"", **animation_files(half)})
        for number, half in enumerate(halves)
    ]
    return Archives(animations, pack(folder / "names.tgz", {"data/openmoji.json": table()}))
