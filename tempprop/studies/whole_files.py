"""Files of the studies, which are there only when they are whole."""

from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a file; one that is there is replaced as a whole.

    Args:
        path: The file, in a directory that is there.
        text: What it is to hold.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
