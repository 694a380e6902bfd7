"""Where a manifest lies: one Parquet file, a directory of them or a glob, on any fsspec URI."""

import posixpath
import re
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from tempprop.errors import ManifestError, Problem
from tempprop.objects import open_filesystem
from tempprop.storage_faults import diagnose, is_remote_fault, one_line

CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@|\?[^\s]*")


class ManifestFile(NamedTuple):
    """One Parquet file of a manifest.

    Attributes:
        filesystem: The fsspec file system that holds it.
        path: Its path there.
        name: What to call it in a message; None where it is the manifest's only file.
    """

    filesystem: Any
    path: str
    name: str | None


def without_credentials(text: str) -> str:
    """Take user names, passwords and query strings out of the URIs in a text."""
    return CREDENTIALS.sub("", text) if "://" in text else text


def find_manifest_files(source: str) -> list[ManifestFile]:
    """List the files of a manifest, sorted by path.

    A directory stands for the `.parquet` files directly in it. Names that begin with a dot or an
    underscore are ignored, as in every tool that writes directories of Parquet files.

    Args:
        source: A path or fsspec URI of a file or a directory, or a glob.

    Returns:
        At least one file.

    Raises:
        ManifestError: If there is nothing there, or it cannot be listed.
    """
    if not source.strip():
        raise ManifestError("manifest", [Problem("its name is empty", "Give a path or a URI")])
    try:
        filesystem, paths = _find(source)
    except Exception as error:  # every fsspec driver raises its own
        raise unreadable(source, error) from error
    if not paths:
        raise ManifestError(without_credentials(source), [_nothing_found(source)])
    if len(paths) == 1:
        return [ManifestFile(filesystem, paths[0], None)]
    root = posixpath.commonpath([posixpath.dirname(path) for path in paths])
    return [ManifestFile(filesystem, path, posixpath.relpath(path, root)) for path in paths]


@contextmanager
def open_parquet(file: ManifestFile) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file for reading.

    Raises:
        OSError: If it cannot be opened.
        pyarrow.ArrowInvalid: If it is not Parquet.
    """
    with file.filesystem.open(file.path, "rb") as stream, pq.ParquetFile(stream) as parquet:
        yield parquet


def read_problem(error: Exception, name: str | None) -> Problem:
    """Describe why a file cannot be read."""
    if isinstance(error, pa.ArrowException):
        return Problem(
            f"is not a Parquet file, or is damaged ({_first_line(error)})",
            "Write it again; `tempprop manifest from-csv` makes one from CSV or JSON Lines",
            file=name,
        )
    if isinstance(error, FileNotFoundError):
        return Problem("there is no such file", "Check the path", file=name)
    if is_remote_fault(error):
        _, reason, remedy = diagnose(error)
        return Problem(f"cannot be read: {reason} ({one_line(error)})", remedy, file=name)
    return Problem(
        f"cannot be read ({type(error).__name__}: {_first_line(error)})",
        "Check the path, the permissions and the credentials; if they are right, it is damaged",
        file=name,
    )


def unreadable(source: str, error: Exception) -> ManifestError:
    """Make the error for a source that cannot be read at all."""
    return ManifestError(without_credentials(source), [read_problem(error, None)])


def unwritable(target: str, error: Exception) -> ManifestError:
    """Make the error for a target that cannot be written."""
    message = f"cannot be written ({type(error).__name__}: {_first_line(error)})"
    advice = "Check the path, the free space, the permissions and the credentials"
    return ManifestError(without_credentials(target), [Problem(message, advice)])


@contextmanager
def replacing(target: str) -> Iterator[Path]:
    """Give a local file to write; put it at `target` when the block ends without an exception.

    A reader sees the old file or the new one, never half of one: a local target is replaced by a
    rename, a remote one by uploading the finished file.

    Args:
        target: Path or fsspec URI.

    Raises:
        ManifestError: If a remote target cannot be reached.
        OSError: If a local one cannot be written.
    """
    with _telling(target):
        filesystem, path = open_filesystem(target)
    if isinstance(filesystem, LocalFileSystem):
        final = Path(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        partial = final.with_name(f".{final.name}.{uuid.uuid4().hex}.partial")
        try:
            yield partial
            partial.replace(final)
        finally:
            partial.unlink(missing_ok=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        partial = Path(folder, "partial")
        yield partial
        with _telling(target):
            filesystem.put_file(str(partial), path)


def _find(source: str) -> tuple[Any, list[str]]:
    filesystem, path = open_filesystem(source)
    if filesystem.isfile(path):
        return filesystem, [path]
    if filesystem.isdir(path):
        inside = [entry for entry in filesystem.ls(path, detail=False) if _is_parquet(entry)]
        return filesystem, sorted(inside)
    if not any(mark in path for mark in "*?["):
        return filesystem, []
    matches = [entry for entry in filesystem.glob(path) if not _is_hidden(entry)]
    return filesystem, sorted(entry for entry in matches if filesystem.isfile(entry))


@contextmanager
def _telling(target: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # every fsspec driver raises its own
        raise unwritable(target, error) from error


def _is_parquet(path: str) -> bool:
    return path.endswith(".parquet") and not _is_hidden(path)


def _is_hidden(path: str) -> bool:
    return posixpath.basename(path).startswith((".", "_"))


def _nothing_found(source: str) -> Problem:
    return Problem(
        "there is no such file, and no Parquet file in a directory or under a glob of that name",
        "Check the path; for files in subdirectories use a glob such as 'shots/**/*.parquet'",
    )


def _first_line(error: Exception) -> str:
    text = without_credentials(str(error)).strip()
    return text.splitlines()[0] if text else "no details"
