"""Digests of local files, alone and as the lists that `sha256sum` writes and checks."""

import hashlib
from collections.abc import Mapping
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Hash a file, a piece at a time.

    Returns:
        64 hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(digests: Mapping[str, str]) -> str:
    """Write a list of digests.

    Args:
        digests: By the names of files, in the order of the list.
    """
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items())


def read_sums(text: str) -> dict[str, str]:
    """Read a list of digests, by the names of files; a name may be anything."""
    lines = (line.partition("  ") for line in text.splitlines())
    return {name: digest for digest, _, name in lines}
