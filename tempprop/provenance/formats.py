"""Which files can hold a C2PA signature."""

from collections.abc import Mapping
from pathlib import Path

MIME_TYPES: Mapping[str, str] = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
}


def can_hold_signature(path: Path) -> bool:
    """Tell whether files of such a name can hold a signature."""
    return path.suffix in MIME_TYPES
