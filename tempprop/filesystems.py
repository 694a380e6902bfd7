"""An output location, opened: which filesystem, with which options, and calls before a deadline.

Transient faults (a 5xx answer, SlowDown, a lost connection) are tried again until the deadline of
the store; every other fault becomes one `StoreError` or `StoreInputError` that says what to do,
with the secrets of the URI left out.
"""

import errno
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NoReturn

from fsspec.asyn import AsyncFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from tenacity import Retrying, retry_if_exception, stop_before_delay, wait_random_exponential

from tempprop.errors import StoreInputError
from tempprop.spec import StorageConfig
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

CONNECTIONS = 32
"""Connections to an S3 server that one process keeps open."""

EXTRAS = {"gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure"}
"""Schemes whose package does not come with tempprop, with the extra that brings it."""

S3_SCHEMES = {"s3", "s3a"}
GOOGLE_SCHEMES = {"gs", "gcs"}
NO_STORAGE = StorageConfig()


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
        """Turn a name below the root into a path of the filesystem.

        Raises:
            StoreInputError: The name leads out of the location. A record may say anything, where
                others can write.
        """
        if name.startswith("/") or "\0" in name or ".." in PurePosixPath(name).parts:
            raise StoreInputError(
                f"{self.uri}: {name!r} leads out of the output. Remove what names it, such as a "
                "record that tempprop did not write"
            )
        return f"{self.root}/{name}"


def open_store(
    uri: str,
    deadline_seconds: float = DEADLINE_SECONDS,
    storage: StorageConfig = NO_STORAGE,
) -> Store:
    """Open an output location; nothing is read or written yet.

    Credentials come from the standard places of the protocol, never from the URI or the
    configuration; for S3 these are AWS_PROFILE, AWS_ACCESS_KEY_ID and so on. What `storage` leaves
    open, such as the endpoint, comes from there too.

    Args:
        uri: A path, or any URI that fsspec knows: `s3://`, `gs://`, `az://`, `memory://`, ...
        deadline_seconds: How long one operation may take, with all its retries.
        storage: What the configuration says about the server.

    Returns:
        The store, for this process only: another process opens its own.

    Raises:
        StoreInputError: The URI cannot name an output location, its package is missing, or
            `storage` has settings that its protocol does not know.
    """
    shown = display_uri(uri)
    _check_uri(uri, shown)
    try:
        fs, root = open_filesystem(uri, storage)
    except ImportError as error:
        raise StoreInputError(f"output {shown}: {_missing_package(uri, error)}") from error
    except ValueError as error:
        raise StoreInputError(
            f"output {shown}: {one_line(error)}. "
            "Use a path, s3://, gs://, az://, memory:// or another scheme that fsspec knows"
        ) from error
    except Exception as error:  # every fsspec driver looks for credentials in its own way
        raise explain(shown, "open it", error) from error
    _check_settings(fs, shown, storage)
    return Store(fs, root.rstrip("/"), shown, deadline_seconds)


def open_filesystem(uri: str, storage: StorageConfig = NO_STORAGE) -> tuple[Any, str]:
    """Open the filesystem of any path or URI: with fresh listings, and soon tired of waiting.

    Credentials are those of the environment now, not those of an earlier call.

    Args:
        uri: A path, or any URI that fsspec knows.
        storage: What the configuration says about the server.

    Returns:
        The filesystem, and the path in it.

    Raises:
        ValueError: The scheme or the URI is not one, or an S3 URI holds credentials.
        ImportError: The package of the scheme is not installed.
    """
    if _has_secrets(uri):
        raise ValueError("credentials and options do not belong into an S3 URI")
    if uri.partition("://")[0] in GOOGLE_SCHEMES:
        # Looking for zonal buckets takes gRPC, which servers other than Google's do not speak.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    fs, path = url_to_fs(uri, skip_instance_cache=True, **_options(uri, storage))
    if isinstance(fs, AsyncFileSystem) and hasattr(fs, "retries"):
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
    if scheme not in S3_SCHEMES:
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
    return scheme in S3_SCHEMES and ("?" in rest or ":" in rest.rpartition("@")[0])


def _options(uri: str, storage: StorageConfig) -> dict[str, Any]:
    """Give the filesystem's options: fresh listings, and what its protocol has of `storage`."""
    scheme = uri.partition("://")[0] if "://" in uri else ""
    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme in S3_SCHEMES:
        return options | _s3_options(storage)
    if scheme in GOOGLE_SCHEMES:
        options |= {"endpoint_url": storage.endpoint_url} if storage.endpoint_url else {}
        options |= {"token": "anon"} if storage.anonymous else {}
    elif scheme in EXTRAS and storage.anonymous:
        options["anon"] = True
    return options


def _s3_options(storage: StorageConfig) -> dict[str, Any]:
    config: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "read_timeout": READ_TIMEOUT_SECONDS,
        "max_pool_connections": CONNECTIONS,
        "retries": {"total_max_attempts": 1, "mode": "standard"},
    }
    if storage.addressing_style is not None:
        config["s3"] = {"addressing_style": storage.addressing_style}
    options: dict[str, Any] = {"config_kwargs": config, "anon": storage.anonymous}
    if storage.endpoint_url is not None:
        options["endpoint_url"] = storage.endpoint_url
    if storage.region is not None:
        options["client_kwargs"] = {"region_name": storage.region}
    if storage.profile is not None:
        options["profile"] = storage.profile
    return options


def _check_settings(fs: Any, shown: str, storage: StorageConfig) -> None:
    """Refuse settings that would silently do nothing; local outputs of rehearsals ignore all."""
    if isinstance(fs, LocalFileSystem | MemoryFileSystem) or "s3" in fs.protocol:
        return
    known = {"anonymous"} if set(fs.protocol) & set(EXTRAS) else set()
    known |= {"endpoint_url"} if set(fs.protocol) & GOOGLE_SCHEMES else set()
    given = storage.model_dump(exclude_defaults=True)
    if unknown := sorted(set(given) - known):
        raise StoreInputError(
            f"output {shown}: {', '.join(f'storage.{name}' for name in unknown)} is not a setting "
            "of this protocol. Leave it out, and use the environment variables of its package"
        )


def _missing_package(uri: str, error: ImportError) -> str:
    extra = EXTRAS.get(uri.partition("://")[0])
    if extra is None:
        return f"{one_line(error)}. Install the fsspec package of this scheme"
    return f"its package is not installed ({one_line(error)}). Run: pip install 'tempprop[{extra}]'"


def attempt(
    store: Store,
    operation: str,
    function: Callable[..., Any],
    *args: Any,
    size: int = 0,
    until: float | None = None,
    **kw: Any,
) -> Any:
    """Call until it works, fails for good, or the deadline has passed.

    Args:
        store: Whose deadline counts.
        operation: What is done, as in "write records/a.json", for messages.
        function: What to call.
        args: What with.
        size: Bytes to transfer, for which there is more time.
        until: Time of the monotonic clock after which nothing is tried again; None for the
            deadline of the store alone.
        kw: What with.

    Raises:
        FileNotFoundError: There is no such object.
        FileExistsError: A create-only write found one.
        StoreInputError: Trying again does not help.
        StoreError: Anything else.
    """
    started, allowed = time.monotonic(), time_allowed(store, size)
    if until is not None:
        allowed = min(allowed, until - started)

    def call() -> Any:
        if isinstance(store.fs, AsyncFileSystem):
            # Time-outs of the connection do not see a server that stops reading in mid-upload.
            kw["timeout"] = max(0.1, started + allowed - time.monotonic())
        return function(*args, **kw)

    retrying = Retrying(
        retry=retry_if_exception(is_transient),
        stop=stop_before_delay(min(store.deadline_seconds, max(allowed, 0.0))),
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


def attempt_write(
    store: Store, operation: str, function: Callable[..., Any], *args: Any, **kw: Any
) -> Any:
    """Attempt a write, for which something that is missing is a fault like any other.

    Raises:
        FileExistsError: A create-only write found an object.
        StoreInputError: Trying again does not help.
        StoreError: Anything else.
    """
    try:
        return attempt(store, operation, function, *args, **kw)
    except FileNotFoundError as error:
        raise explain(store.uri, operation, error) from error


def time_allowed(store: Store, size: int) -> float:
    """Give the seconds that a transfer of so many bytes may take, with all its retries."""
    return store.deadline_seconds + size / SLOWEST_BYTES_PER_SECOND
