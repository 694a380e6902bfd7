"""Local files that are there only when they are whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """Give a path to write to; what was written there gets its name at the end, all at once.

    Where writing fails, the draft is removed, and a file that was there before stays.

    Args:
        path: The file, in a directory that is there.
    """
    draft = path.with_name(f".{path.name}.partial")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file; one that is there is replaced as a whole.

    Args:
        path: The file, in a directory that is there.
        content: What it is to hold; text is written as UTF-8.
    """
    with draft_of(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)
