"""Objects at any fsspec URI: opened once, read, written and listed before one deadline.

Local files are written under a temporary name, synced and then renamed or linked, so that a name
never shows half a file. Remote objects are put whole. Transient faults (a 5xx answer, SlowDown, a
lost connection) are tried again until the deadline of the store; every other fault becomes one
`StoreError` or `StoreInputError` that says what to do, with the secrets of the URI left out.
"""

import errno
import mimetypes
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from fsspec.asyn import AsyncFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from tenacity import Retrying, retry_if_exception, stop_before_delay, wait_random_exponential

from tempprop.errors import StoreError, StoreInputError
from tempprop.storage_faults import (
    display_uri,
    explain,
    is_missing,
    is_transient,
    lost_create,
    one_line,
)

DEADLINE_SECONDS = 60.0
"""How long one operation keeps trying, unless the store says otherwise."""

CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 15
SLOWEST_BYTES_PER_SECOND = 500_000
"""A transfer that is slower than this is taken for a dead one."""

READERS = 16
"""Objects that are read at the same time where many are asked for."""


@dataclass(frozen=True)
class Store:
    """An output location, opened in this process.

    Attributes:
        fs: The fsspec filesystem.
        root: Path of the location in that filesystem, without a slash at the end.
        uri: The location without credentials, for messages and logs.
        deadline_seconds: How long one operation may take, with all its retries.
    """

    fs: Any = field(repr=False)
    root: str
    uri: str
    deadline_seconds: float = DEADLINE_SECONDS

    def __reduce__(self) -> NoReturn:
        # The connections of s3fs do not survive a fork or a pickle, and fail much later.
        raise TypeError("a Store belongs to its process: send the URI and call open_store there")

    @property
    def is_local(self) -> bool:
        """Whether the objects are files of this machine."""
        return isinstance(self.fs, LocalFileSystem)

    @property
    def is_s3(self) -> bool:
        """Whether the objects are reached by the S3 protocol."""
        return "s3" in self.fs.protocol

    def path(self, name: str) -> str:
        """Turn a name below the root into a path of the filesystem."""
        return f"{self.root}/{name}"


def open_store(uri: str, deadline_seconds: float = DEADLINE_SECONDS) -> Store:
    """Open an output location; nothing is read or written yet.

    Credentials and endpoint come from the standard places of the protocol; for S3 these are
    AWS_ENDPOINT_URL, AWS_PROFILE, AWS_ACCESS_KEY_ID and so on, and never from the URI.

    Args:
        uri: A path, or any URI that fsspec knows: `s3://`, `gs://`, `abfs://`, `memory://`, ...
        deadline_seconds: How long one operation may take, with all its retries.

    Returns:
        The store, for this process only: another process opens its own.

    Raises:
        StoreInputError: The URI cannot name an output location, or its package is missing.
    """
    shown = display_uri(uri)
    _check_uri(uri, shown)
    try:
        fs, root = open_filesystem(uri)
    except (ValueError, ImportError) as error:
        raise StoreInputError(
            f"output {shown}: {one_line(error)}. "
            "Use a path, s3://, memory:// or another scheme whose fsspec package is installed"
        ) from error
    return Store(fs, root.rstrip("/"), shown, deadline_seconds)


def open_filesystem(uri: str) -> tuple[Any, str]:
    """Open the filesystem of any path or URI: with fresh listings, and soon tired of waiting.

    Credentials are those of the environment now, not those of an earlier call.

    Args:
        uri: A path, or any URI that fsspec knows.

    Returns:
        The filesystem, and the path in it.

    Raises:
        ValueError: The scheme or the URI is not one, or an S3 URI holds credentials.
        ImportError: The package of the scheme is not installed.
    """
    if _has_secrets(uri):
        raise ValueError("credentials and options do not belong into an S3 URI")
    fs, path = url_to_fs(uri, skip_instance_cache=True, **_options(uri))
    if "s3" in fs.protocol:
        # Retries multiply where they are stacked: only those of the callers are left.
        fs.retries = 1
    return fs, str(path)


def _check_uri(uri: str, shown: str) -> None:
    scheme, _, rest = uri.partition("://")
    if not uri.strip():
        raise StoreInputError("the output location is empty. Give a path or a URI")
    if re.match(r"^[a-z][a-z0-9+]+:/(?!/)", uri):
        raise StoreInputError(f"output {shown}: a scheme is followed by two slashes: ://")
    if "::" in uri:
        raise StoreInputError(f"output {shown}: chained URIs are not supported. Give the last part")
    if scheme not in {"s3", "s3a"}:
        return
    if not rest.split("/")[0]:
        raise StoreInputError(f"output {shown}: the bucket is missing. Write s3://BUCKET/PREFIX")
    if _has_secrets(uri):
        raise StoreInputError(
            f"output {shown}: credentials and options do not belong into an S3 URI. "
            "Set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL or AWS_PROFILE"
        )


def _has_secrets(uri: str) -> bool:
    """Tell whether an S3 URI holds what clients would take for a part of the bucket's name."""
    scheme, _, rest = uri.partition("://")
    return scheme in {"s3", "s3a"} and ("?" in rest or ":" in rest.rpartition("@")[0])


def _options(uri: str) -> dict[str, Any]:
    """Give the filesystem's options: fresh listings, and for S3 short time-outs."""
    if not uri.startswith(("s3://", "s3a://")):
        return {"use_listings_cache": False}
    return {
        "use_listings_cache": False,
        "config_kwargs": {
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "read_timeout": READ_TIMEOUT_SECONDS,
            "max_pool_connections": 2 * READERS,
            "retries": {"total_max_attempts": 1, "mode": "standard"},
        },
    }


def list_names(store: Store, folder: str) -> list[str]:
    """List the objects directly in a folder.

    Returns:
        Their names without the folder, sorted; none where the folder does not exist.

    Raises:
        StoreInputError: No permission, wrong credentials or a missing bucket.
        StoreError: The store did not answer before the deadline.
    """
    path = store.path(folder).rstrip("/")
    try:
        found = _attempt(store, f"list {folder or 'the root'}", store.fs.ls, path, detail=False)
    except FileNotFoundError:
        return []
    return sorted(PurePosixPath(name).name for name in found)


def read_object(store: Store, name: str) -> bytes:
    """Read a small object whole.

    Raises:
        FileNotFoundError: There is no such object.
        StoreInputError: No permission, wrong credentials or a missing bucket.
        StoreError: The store did not answer before the deadline.
    """
    # s3fs asks for the size first unless it may not split the download.
    options = {"max_concurrency": 1} if store.is_s3 else {}
    data: bytes = _attempt(store, f"read {name}", store.fs.cat_file, store.path(name), **options)
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
    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(names), ahead):
            yield from pool.map(read, names[start : start + ahead])


def write_object(store: Store, name: str, data: bytes) -> None:
    """Write a small object whole, over the one that is there.

    Raises:
        StoreInputError: The location cannot be written.
        StoreError: The disk is full, or the store did not answer before the deadline.
    """
    operation = f"write {name}"
    if store.is_local:
        _write(store, operation, _write_file, Path(store.path(name)), data, os.replace)
    else:
        _write(store, operation, _pipe, store, name, data, "overwrite", size=len(data))


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
        _write(store, operation, _write_file, Path(store.path(name)), data, _link)
    else:
        _write(store, operation, _pipe, store, name, data, "create", size=len(data))


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
        _write(store, operation, _write_file, Path(store.path(name)), source, publish)
    else:
        mode = "create" if create else "overwrite"
        _write(store, operation, _put, store, source, name, mode, size=size)
    stored = _attempt(store, f"look at {name}", store.fs.info, store.path(name))["size"]
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
    _attempt(store, f"download {name}", store.fs.get_file, store.path(name), str(target))


def remove_object(store: Store, name: str) -> None:
    """Remove an object; one that is not there is fine.

    Raises:
        StoreInputError: No permission.
        StoreError: The store did not answer before the deadline.
    """
    with suppress(FileNotFoundError):
        _attempt(store, f"remove {name}", store.fs.rm_file, store.path(name))


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
        _attempt(store, "look at the bucket", store.fs.info, store.root.partition("/")[0])
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
        info = _attempt(store, "look", store.fs.info, store.path(name).rstrip("/"))
    except FileNotFoundError:
        return False
    return bool(info["type"] == "file")


def _pipe(store: Store, name: str, data: bytes, mode: str, **options: Any) -> None:
    _make_parent(store, name)
    if store.is_s3:
        options["ContentType"] = mimetypes.guess_type(name)[0] or "application/octet-stream"
    store.fs.pipe_file(store.path(name), data, mode=mode, **options)


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


def _write(
    store: Store, operation: str, function: Callable[..., Any], *args: Any, size: int = 0
) -> None:
    """Attempt a write, for which something that is missing is a fault like any other."""
    try:
        _attempt(store, operation, function, *args, size=size)
    except FileNotFoundError as error:
        raise explain(store.uri, operation, error) from error


def _attempt(
    store: Store, operation: str, function: Callable[..., Any], *args: Any, size: int = 0, **kw: Any
) -> Any:
    """Call until it works, fails for good, or the deadline has passed.

    Raises:
        FileNotFoundError: There is no such object.
        FileExistsError: A create-only write found one.
        StoreInputError: Trying again does not help.
        StoreError: Anything else.
    """
    started, allowed = time.monotonic(), store.deadline_seconds + size / SLOWEST_BYTES_PER_SECOND

    def call() -> Any:
        if store.is_s3:
            # Time-outs of the connection do not see a server that stops reading in mid-upload.
            kw["timeout"] = max(0.1, started + allowed - time.monotonic())
        return function(*args, **kw)

    retrying = Retrying(
        retry=retry_if_exception(is_transient),
        stop=stop_before_delay(store.deadline_seconds),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        reraise=True,
    )
    try:
        return retrying(call)
    except Exception as error:
        if lost_create(error):
            raise FileExistsError(errno.EEXIST, "the object exists", operation) from error
        if is_missing(error):
            raise
        raise explain(store.uri, operation, error) from error
