"""Objects at any fsspec URI: read, written and listed before one deadline.

Local files are written under a temporary name, synced and then renamed or linked, so that a name
never shows half a file. Remote objects are put whole, and large ones in parts that become an object
together. What a fault becomes is said in `tempprop.filesystems`.
"""

import errno
import mimetypes
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from fsspec.asyn import AsyncFileSystem

from tempprop.errors import StoreError, StoreInputError
from tempprop.filesystems import (
    Store,
    attempt,
    attempt_write,
    open_filesystem,
    open_store,
    time_allowed,
)
from tempprop.s3_objects import PART_BYTES, object_pages, upload_in_parts
from tempprop.storage_faults import explain

READERS = 16
"""Objects that are read at the same time where many are asked for."""

HEX_DIGITS = "0123456789abcdef"

TEMPORARY_PATTERN = r"\.[0-9a-f]{32}\.tmp"
"""Names of local files that are being written, or that nobody will finish."""


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing shows it.

    Attributes:
        name: Its name below the root.
        bytes: Its size.
        modified: When it was written, by the clock of the storage; None where that does not say.
    """

    name: str
    bytes: int
    modified: datetime | None


def list_names(store: Store, folder: str) -> list[str]:
    """List the objects directly in a folder, and the folders in it.

    Returns:
        Their names without the folder, sorted; none where the folder does not exist.

    Raises:
        StoreInputError: No permission, wrong credentials or a missing bucket.
        StoreError: The store did not answer before the deadline.
    """
    if store.is_s3:
        return sorted(name for page in object_pages(store, folder) for name in _names(page))
    path = store.path(folder).rstrip("/")
    try:
        found = attempt(store, f"list {folder or 'the root'}", store.fs.ls, path, detail=False)
    except FileNotFoundError:
        return []
    return sorted(PurePosixPath(name).name for name in found)


def list_hex_names(store: Store, folder: str) -> list[str]:
    """List the objects directly in a folder whose names begin with hexadecimal digits.

    S3 gives a thousand names at a time, one answer after the other: where there are more, the names
    of each first digit are asked for at the same time.

    Returns:
        Their names without the folder, in any order; other names may be among them.

    Raises:
        StoreInputError: No permission, wrong credentials or a missing bucket.
        StoreError: The store did not answer before the deadline.
    """
    if not store.is_s3:
        return list_names(store, folder)
    first = next(object_pages(store, folder))
    if not first.get("IsTruncated"):
        return _names(first)

    def names_with(digit: str) -> list[str]:
        return [name for page in object_pages(store, folder, digit) for name in _names(page)]

    with _readers() as pool:
        return [name for names in pool.map(names_with, HEX_DIGITS) for name in names]


def list_objects(store: Store, folder: str) -> Iterator[StoredObject]:
    """List the objects directly in a folder with their sizes and times, without folders.

    Raises:
        StoreInputError: No permission, wrong credentials or a missing bucket.
        StoreError: The store did not answer before the deadline.
    """
    prefix = f"{folder}/" if folder else ""
    if store.is_s3:
        for page in object_pages(store, folder):
            for entry in _entries(page):
                name = f"{prefix}{PurePosixPath(entry['Key']).name}"
                yield StoredObject(name, entry["Size"], entry["LastModified"])
        return
    path = store.path(folder).rstrip("/")
    if store.is_local:
        yield from _files(store, path, prefix)
        return
    try:
        found = attempt(store, f"list {folder or 'the root'}", store.fs.ls, path, detail=True)
    except FileNotFoundError:
        return
    for info in found:
        if info["type"] == "file":
            name = f"{prefix}{PurePosixPath(info['name']).name}"
            yield StoredObject(name, info["size"] or 0, _modified(info))


def _files(store: Store, path: str, prefix: str) -> Iterator[StoredObject]:
    """List local files one by one: there may be millions of them."""
    try:
        entries = os.scandir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise explain(store.uri, f"list {prefix or 'the root'}", error) from error
    with entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # it was removed meanwhile
            if stat.S_ISREG(status.st_mode):
                written = datetime.fromtimestamp(status.st_mtime, UTC)
                yield StoredObject(f"{prefix}{entry.name}", status.st_size, written)


def modified_at(store: Store, name: str) -> datetime | None:
    """Tell when an object was written, by the clock of the storage.

    Returns:
        The time; None where the object is not there, or the storage does not say.

    Raises:
        StoreInputError: No permission, wrong credentials or a missing bucket.
        StoreError: The store did not answer before the deadline.
    """
    try:
        return _modified(attempt(store, f"look at {name}", store.fs.info, store.path(name)))
    except FileNotFoundError:
        return None


def _names(page: dict[str, Any]) -> list[str]:
    found = [entry["Key"] for entry in _entries(page)]
    found += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
    return [PurePosixPath(name).name for name in found]


def _entries(page: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the objects of a page without the markers by which some tools make folders."""
    return [entry for entry in page.get("Contents", []) if not entry["Key"].endswith("/")]


MODIFIED = ("mtime", "last_modified", "LastModified", "updated", "modified", "created")
"""What filesystems call the time of the last change; some have only that of the creation."""


def _modified(info: dict[str, Any]) -> datetime | None:
    value = next((info[name] for name in MODIFIED if info.get(name) is not None), None)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, int | float):
        value = datetime.fromtimestamp(value, UTC)
    return value if isinstance(value, datetime) else None


def read_object(store: Store, name: str) -> bytes:
    """Read a small object whole.

    Raises:
        FileNotFoundError: There is no such object.
        StoreInputError: No permission, wrong credentials or a missing bucket.
        StoreError: The store did not answer before the deadline.
    """
    # s3fs asks for the size first unless it may not split the download.
    options = {"max_concurrency": 1} if store.is_s3 else {}
    data: bytes = attempt(store, f"read {name}", store.fs.cat_file, store.path(name), **options)
    return data


def read_objects(store: Store, names: Sequence[str]) -> Iterator[bytes | None]:
    """Read many small objects, several at a time and few ahead.

    Yields:
        The contents in the order of the names; None for an object that is not there any more.

    Raises:
        StoreError: As `read_object`.
    """

    def read(name: str) -> bytes | None:
        with suppress(FileNotFoundError):
            return read_object(store, name)
        return None

    ahead = 16 * READERS
    with _readers() as pool:
        for start in range(0, len(names), ahead):
            yield from pool.map(read, names[start : start + ahead])


@contextmanager
def _readers() -> Iterator[ThreadPoolExecutor]:
    """Give threads that read; after a fault, what has not begun is not tried any more."""
    pool = ThreadPoolExecutor(READERS)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def write_object(store: Store, name: str, data: bytes) -> None:
    """Write a small object whole, over the one that is there.

    Raises:
        StoreInputError: The location cannot be written.
        StoreError: The disk is full, or the store did not answer before the deadline.
    """
    operation = f"write {name}"
    if store.is_local:
        attempt_write(store, operation, _write_file, Path(store.path(name)), data, os.replace)
    else:
        attempt_write(store, operation, _pipe, store, name, data, "overwrite", size=len(data))


def create_object(store: Store, name: str, data: bytes) -> None:
    """Write a small object whole, only where there is none yet.

    S3 decides atomically, by If-None-Match; so do local filesystems that have hard links. With
    others, and with S3 servers that ignore the header, two writers at the same moment may both
    believe that they were first.

    Raises:
        FileExistsError: There is one. After a lost connection it may be the caller's own.
        StoreInputError: The location cannot be written.
        StoreError: The disk is full, or the store did not answer before the deadline.
    """
    operation = f"create {name}"
    if store.is_local:
        attempt_write(store, operation, _write_file, Path(store.path(name)), data, _link)
    else:
        attempt_write(store, operation, _pipe, store, name, data, "create", size=len(data))


def put_file(store: Store, source: Path, name: str, *, create: bool = False) -> None:
    """Copy a finished local file into the store and compare the sizes.

    Args:
        store: Where to.
        source: The file.
        name: Name of the object below the root.
        create: Only where there is none yet, as in `create_object`.

    Raises:
        FileExistsError: `create` was asked for, and there is one.
        StoreInputError: The location cannot be written.
        StoreError: The disk is full, the store did not answer before the deadline, or the
            object has another size than the file.
    """
    size = source.stat().st_size
    operation = f"upload {name}"
    if store.is_local:
        publish = _link if create else os.replace
        attempt_write(store, operation, _write_file, Path(store.path(name)), source, publish)
    elif store.is_s3 and size >= 2 * PART_BYTES:
        until = time.monotonic() + time_allowed(store, size)
        upload_in_parts(store, source, name, _content_type(name), create=create, until=until)
    else:
        mode = "create" if create else "overwrite"
        attempt_write(store, operation, _put, store, source, name, mode, size=size)
    stored = attempt(store, f"look at {name}", store.fs.info, store.path(name))["size"]
    if stored != size:
        raise StoreError(
            f"{store.uri}: {name} has {stored} bytes where {size} were uploaded. "
            "Remove it and render the clip again"
        )


def fetch_file(store: Store, name: str, target: Path) -> None:
    """Copy an object into a local file.

    Raises:
        FileNotFoundError: There is no such object.
        StoreError: The store did not answer before the deadline.
    """
    attempt(store, f"download {name}", store.fs.get_file, store.path(name), str(target))


def remove_object(store: Store, name: str) -> None:
    """Remove an object; one that is not there is fine.

    Raises:
        StoreInputError: No permission.
        StoreError: The store did not answer before the deadline.
    """
    with suppress(FileNotFoundError):
        attempt(store, f"remove {name}", store.fs.rm_file, store.path(name))


def has_bucket(store: Store) -> bool:
    """Tell whether the bucket is there; some S3 servers make a missing one at the first write.

    Returns:
        False only where the server says so; True where the storage has no buckets, or the caller
        has no right to ask.

    Raises:
        StoreError: The store did not answer before the deadline.
    """
    if not store.is_s3:
        return True
    try:
        attempt(store, "look at the bucket", store.fs.info, store.root.partition("/")[0])
    except FileNotFoundError:
        return False
    except StoreInputError:
        return True
    return True


def is_file(store: Store, name: str) -> bool:
    """Tell whether there is an object of exactly this name.

    Raises:
        StoreInputError: No permission, wrong credentials or a missing bucket.
        StoreError: The store did not answer before the deadline.
    """
    try:
        info = attempt(store, "look", store.fs.info, store.path(name).rstrip("/"))
    except FileNotFoundError:
        return False
    return bool(info["type"] == "file")


def _pipe(store: Store, name: str, data: bytes, mode: str, **options: Any) -> None:
    _make_parent(store, name)
    if store.is_s3:
        options["ContentType"] = _content_type(name)
    store.fs.pipe_file(store.path(name), data, mode=mode, **options)


def _content_type(name: str) -> str:
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def _put(store: Store, source: Path, name: str, mode: str, **options: Any) -> None:
    _make_parent(store, name)
    store.fs.put_file(str(source), store.path(name), mode=mode, **options)


def _make_parent(store: Store, name: str) -> None:
    # Object stores have no directories, and s3fs would try to make the bucket.
    if not isinstance(store.fs, AsyncFileSystem):
        store.fs.makedirs(store.path(name).rpartition("/")[0], exist_ok=True)


def _write_file(
    final: Path, content: bytes | Path, publish: Callable[[Path, Path], None], **_: Any
) -> None:
    """Write and sync a file under a temporary name, then publish it under its own."""
    _make_directory(final.parent)
    with _temporary(final.parent) as temporary:
        with temporary.open("wb") as target:
            if isinstance(content, Path):
                with content.open("rb") as source:
                    shutil.copyfileobj(source, target, 1 << 20)
            else:
                target.write(content)
            target.flush()
            os.fsync(target.fileno())
        publish(temporary, final)
    _sync_directory(final.parent)


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        # Not to be taken for an object that another writer has created.
        raise NotADirectoryError(errno.ENOTDIR, "a file is in the way", str(path)) from error


@contextmanager
def _temporary(directory: Path) -> Iterator[Path]:
    path = directory / f".{uuid.uuid4().hex}.tmp"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _link(temporary: Path, final: Path) -> None:
    """Publish a file only where there is none of that name."""
    try:
        os.link(temporary, final)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}:
            raise
        # A filesystem without hard links: the best that is left is to look first.
        if final.exists():
            raise FileExistsError(errno.EEXIST, "exists", str(final)) from error
        temporary.replace(final)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


__all__ = [
    "Store",
    "StoredObject",
    "create_object",
    "fetch_file",
    "has_bucket",
    "is_file",
    "list_hex_names",
    "list_names",
    "list_objects",
    "modified_at",
    "open_filesystem",
    "open_store",
    "put_file",
    "read_object",
    "read_objects",
    "remove_object",
    "write_object",
]
