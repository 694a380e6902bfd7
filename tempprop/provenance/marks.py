"""What a media file says of itself, which anybody may read and nobody need believe."""

import re
from pathlib import Path

import av

from tempprop.provenance.claim import DIGITAL_SOURCE_TYPE, KEY_TAG
from tempprop.provenance.xmp import read_xmp

TAGGED = {".mp4", ".mov", ".mkv", ".webm"}

IDENTIFIER = re.compile(r"<dc:identifier>([0-9a-f]{64})</dc:identifier>")


def is_marked(path: Path) -> bool:
    """Tell whether a media file says, for machines, that a model has made it."""
    return DIGITAL_SOURCE_TYPE in _packet(path) or DIGITAL_SOURCE_TYPE in tags_in(path).values()


def key_in(path: Path) -> str:
    """Give the key of the clip that a media file says to be; empty where it says nothing."""
    found = IDENTIFIER.search(_packet(path))
    return tags_in(path).get(KEY_TAG) or (found.group(1) if found else "")


def tags_in(path: Path) -> dict[str, str]:
    """Read the tags of a file's container, by their names in small letters.

    Returns:
        Nothing where the format has none, or the file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix == ".exr":
        return _exr_header(path)
    if suffix not in TAGGED:
        return {}
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            # Matroska writes the names of tags in capital letters.
            return {name.lower(): value for name, value in container.metadata.items()}
    except av.FFmpegError:
        return {}


def _exr_header(path: Path) -> dict[str, str]:
    import OpenEXR  # noqa: PLC0415 - for those who have such files

    try:
        with OpenEXR.File(str(path), header_only=True) as file:
            return {name: value for name, value in file.header().items() if isinstance(value, str)}
    except (RuntimeError, OSError, ValueError):
        return {}


def _packet(path: Path) -> str:
    try:
        return (read_xmp(path) or b"").decode(errors="replace")
    except ValueError:
        return ""
