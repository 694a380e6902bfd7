"""The commit protocol: media first, then one create-only record; a clip is done when that exists.

    OUT/media/<clip_id>.<key16>...   media, posters and previews, see `tempprop.media_objects`
    OUT/records/<key>.json           the commit point
    OUT/failures/<key>.json          clips that were given up
    OUT/unfinished/<key>.zip         what interrupted clips go on from, see `tempprop.unfinished`
    OUT/runs/<run_id>/...            what a run says about itself

Whoever finds a record finds its media complete. Two workers that render the same clip commit it
once. Listing the records is all that it takes to resume.
"""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from pydantic import ValidationError

from tempprop.errors import StoreError, StoreInputError
from tempprop.filesystems import NO_STORAGE
from tempprop.objects import (
    Store,
    create_object,
    has_bucket,
    is_file,
    list_hex_names,
    list_names,
    open_store,
    read_object,
    read_objects,
    remove_object,
    write_object,
)
from tempprop.spec import CLIP_ID_PATTERN, ClipFailure, ClipResult, ClipSpec, StorageConfig
from tempprop.storage_faults import display_uri

CHECK_DEADLINE_SECONDS = 15.0
"""How long the check at the start waits for a storage that does not answer."""

RECORDS = "records"
FAILURES = "failures"
MEDIA = "media"
RUNS = "runs"
PROBE = ".tempprop-probe-"

SIGNS_OF_AN_OUTPUT = {RECORDS, FAILURES, RUNS}

KEY_PATTERN = r"[0-9a-f]{64}"
SEGMENT_PATTERN = r"[A-Za-z0-9._-]{1,128}"

Record = TypeVar("Record", ClipResult, ClipFailure)


@dataclass(frozen=True)
class StoreCapabilities:
    """What a storage was seen to do.

    Attributes:
        conditional_create: It refuses to create an object that exists. Where it does not, two
            workers that render the same clip may overwrite each other's record.
    """

    conditional_create: bool

    @property
    def weakness(self) -> str | None:
        """What is not guaranteed there, and what to do about it; None where everything is."""
        if self.conditional_create:
            return None
        return (
            "it overwrites objects that it was asked only to create (If-None-Match is ignored): "
            "where two runs render the same clip at the same time, the last record stands, and "
            "may point to media of the other run. Let one run at a time write there, or use a "
            "server that honors the condition"
        )


def check_store(store: Store) -> StoreCapabilities:
    """Prove that the location can be listed, written, read and cleaned, before a run starts.

    A small probe object is created twice, read and removed. Nothing stays behind, not even a local
    directory that was not there before.

    Args:
        store: The location.

    Returns:
        What the storage was seen to do.

    Raises:
        StoreInputError: The location cannot be used. The message says why, and what to do.
    """
    hasty = Store(
        store.fs, store.root, store.uri, min(store.deadline_seconds, CHECK_DEADLINE_SECONDS)
    )
    try:
        with _without_new_directories(store):
            return _probe(hasty)
    except (StoreError, FileExistsError, FileNotFoundError) as error:
        raise StoreInputError(f"the output cannot be used: {error}") from error


def open_readable(uri: str, storage: StorageConfig = NO_STORAGE) -> Store:
    """Open a location to look at what is in it, and prove that it answers.

    Args:
        uri: A path, or any URI that fsspec knows; nothing needs to be there yet.
        storage: What a configuration says about the server.

    Returns:
        The store, which soon gives up waiting: somebody sits in front of it.

    Raises:
        StoreInputError: The location cannot be listed, or does not answer.
    """
    store = open_store(uri, CHECK_DEADLINE_SECONDS, storage)
    try:
        list_names(store, "")
    except StoreError as error:
        raise StoreInputError(str(error)) from error
    if store.is_local and is_file(store, ""):
        raise StoreInputError(f"{store.uri} is a file. Give the directory of an output")
    return store


def open_output(uri: str) -> Store:
    """Open a location in which something was rendered before.

    Raises:
        StoreInputError: It cannot be listed, does not answer, or holds no output.
    """
    store = open_readable(uri)
    if SIGNS_OF_AN_OUTPUT.isdisjoint(list_names(store, "")):
        raise StoreInputError(
            f"there is no output at {store.uri}: it has none of "
            f"{', '.join(sorted(SIGNS_OF_AN_OUTPUT))}. Check the path, or render something there "
            "first"
        )
    return store


@contextmanager
def _without_new_directories(store: Store) -> Iterator[None]:
    """Remove what a `with` block made of the path to a local store, where it is empty."""
    root = Path(store.root)
    path_to_it = (root, *root.parents) if store.is_local else ()
    new = [directory for directory in path_to_it if not directory.exists()]
    try:
        yield
    finally:
        for directory in new:
            with suppress(OSError):
                directory.rmdir()


def _probe(store: Store) -> StoreCapabilities:
    if not has_bucket(store):
        raise StoreInputError(
            f"{store.uri}: the bucket does not exist. Create it, or correct the URI"
        )
    name, content = f"{PROBE}{uuid.uuid4().hex[:8]}", b"tempprop was here"
    create_object(store, name, content)
    try:
        if read_object(store, name) != content:
            raise StoreInputError(f"{store.uri} gives back other bytes than were written")
        capabilities = StoreCapabilities(conditional_create=_refuses_to_create(store, name))
    finally:
        remove_object(store, name)
    if is_file(store, ""):
        raise StoreInputError(f"{store.uri} is an object. Choose another output")
    list_names(store, "")
    return capabilities


def _refuses_to_create(store: Store, name: str) -> bool:
    try:
        create_object(store, name, b"overwritten")
    except FileExistsError:
        return True
    return False


def committed_keys(store: Store) -> set[str]:
    """List the keys of all committed clips.

    Raises:
        StoreInputError: The location cannot be listed.
        StoreError: The store did not answer before the deadline.
    """
    return keys_in(store, RECORDS)


def failed_keys(store: Store) -> set[str]:
    """List the keys of the clips that were given up and have not been committed since.

    Raises:
        StoreInputError: The location cannot be listed.
        StoreError: The store did not answer before the deadline.
    """
    failed = keys_in(store, FAILURES)
    # A worker may die between committing a clip and removing its failure.
    return failed - committed_keys(store) if failed else failed


def keys_in(store: Store, folder: str, suffix: str = ".json") -> set[str]:
    """List the keys of the clips of which a folder holds something.

    Raises:
        StoreInputError: The location cannot be listed.
        StoreError: The store did not answer before the deadline.
    """
    names = list_hex_names(store, folder)
    wanted = re.compile(KEY_PATTERN + re.escape(suffix))
    return {name.removesuffix(suffix) for name in names if wanted.fullmatch(name)}


def read_result(store: Store, key: str) -> ClipResult:
    """Read the record of a committed clip.

    Raises:
        StoreError: There is no such record, it is damaged, or the store did not answer.
    """
    name = record_name(RECORDS, key)
    return _parse(ClipResult, store, name, _read_known(store, name))


def read_failure(store: Store, key: str) -> ClipFailure:
    """Read why a clip was given up.

    Raises:
        StoreError: There is no such failure, it is damaged, or the store did not answer.
    """
    name = record_name(FAILURES, key)
    return _parse(ClipFailure, store, name, _read_known(store, name))


def iter_results(store: Store, keys: set[str] | None = None) -> Iterator[ClipResult]:
    """Read the records of committed clips, in the order of their keys.

    Args:
        store: Where from.
        keys: Which ones; None for all.

    Yields:
        Each result; records that were removed in the meantime are left out.

    Raises:
        StoreError: A record is damaged, or the store did not answer.
    """
    return _iter(ClipResult, store, RECORDS, committed_keys(store) if keys is None else keys)


def iter_failures(store: Store) -> Iterator[ClipFailure]:
    """Read why clips were given up, in the order of their keys, without those committed since.

    Raises:
        StoreError: A failure is damaged, or the store did not answer.
    """
    return _iter(ClipFailure, store, FAILURES, failed_keys(store))


def _iter(kind: type[Record], store: Store, folder: str, keys: set[str]) -> Iterator[Record]:
    names = [record_name(folder, key) for key in sorted(keys)]
    for name, data in zip(names, read_objects(store, names), strict=True):
        if data is not None:
            yield _parse(kind, store, name, data)


def commit(store: Store, result: ClipResult) -> ClipResult:
    """Commit a rendered clip: write its record, only where there is none yet.

    A record that is there already is either this one, whose acknowledgment got lost, or that of
    another worker that was faster. Both mean that the clip is committed, once. The credentials that
    a URI of its spec may hold are not written.

    Args:
        store: Where to; the media are there already.
        result: The record.

    Returns:
        The record that counts: `result` itself, or the one of the worker that was faster.

    Raises:
        ValueError: The key is not one.
        StoreInputError: The location cannot be written.
        StoreError: The disk is full, the store did not answer before the deadline, or the record
            that is there is damaged.
    """
    name = record_name(RECORDS, result.key)
    committed = result
    try:
        create_object(store, name, _json(result))
    except FileExistsError:
        committed = read_result(store, result.key)
    remove_object(store, record_name(FAILURES, result.key))
    return committed


def write_failure(store: Store, failure: ClipFailure) -> None:
    """Say that a clip was given up, over what an earlier run said about it.

    Raises:
        ValueError: The key is not one.
        StoreInputError: The location cannot be written.
        StoreError: The disk is full, or the store did not answer before the deadline.
    """
    write_object(store, record_name(FAILURES, failure.key), _json(failure))


def write_run_file(store: Store, run_id: str, name: str, data: bytes) -> str:
    """Write one of the files in which a run describes itself, over the one that is there.

    Args:
        store: Where to.
        run_id: The run.
        name: File name, for example `summary.json`.
        data: Its content.

    Returns:
        Path of the file below the root.

    Raises:
        ValueError: The run_id or the name cannot be part of a path.
        StoreInputError: The location cannot be written.
        StoreError: The disk is full, or the store did not answer before the deadline.
    """
    url = f"{RUNS}/{check_segment(run_id)}/{check_segment(name)}"
    write_object(store, url, data)
    return url


def media_stem(clip_id: str, key: str) -> str:
    """Name the media of a clip below the root, without the suffix.

    Raises:
        ValueError: The clip_id or the key is not one.
    """
    if not re.fullmatch(CLIP_ID_PATTERN, clip_id):
        raise ValueError(f"not a clip_id: {clip_id!r}")
    return f"{MEDIA}/{clip_id}.{_check_key(key)[:16]}"


def record_name(folder: str, key: str, suffix: str = ".json") -> str:
    """Name what a folder holds of a clip, such as its record, below the root.

    Raises:
        ValueError: The key is not one.
    """
    return f"{folder}/{_check_key(key)}{suffix}"


def check_segment(text: str) -> str:
    """Make sure that a text can be one part of a path, and leads nowhere else.

    Raises:
        ValueError: It cannot.
    """
    if text in {".", ".."} or not re.fullmatch(SEGMENT_PATTERN, text):
        raise ValueError(f"cannot be part of a path: {text!r}")
    return text


def _check_key(key: str) -> str:
    if not re.fullmatch(KEY_PATTERN, key):
        raise ValueError(f"not a key of 64 hexadecimal digits: {key!r}")
    return key


def _json(value: ClipResult | ClipFailure) -> bytes:
    shown = value.model_copy(update={"spec": _without_credentials(value.spec)})
    return shown.model_dump_json(indent=1).encode()


def _without_credentials(spec: ClipSpec) -> ClipSpec:
    loras = (lora.model_copy(update={"path": display_uri(lora.path)}) for lora in spec.loras)
    picture = display_uri(spec.init_image) if spec.init_image is not None else None
    update = {"model": display_uri(spec.model), "loras": tuple(loras), "init_image": picture}
    return spec.model_copy(update=update)


def _read_known(store: Store, name: str) -> bytes:
    try:
        return read_object(store, name)
    except FileNotFoundError as error:
        raise StoreError(f"{store.uri}: there is no {name}. It was never written") from error


def _parse(kind: type[Record], store: Store, name: str, data: bytes) -> Record:
    try:
        record = kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise StoreError(
            f"{store.uri}: {name} is damaged, or from another version of tempprop: "
            f"{first['msg']}. Remove it to render the clip again"
        ) from error
    if PurePosixPath(name).stem != record.key:
        raise StoreError(
            f"{store.uri}: {name} is damaged: it is the record of another clip, {record.key!r}. "
            "Remove it to render the clip again"
        )
    return record


__all__ = [
    "Store",
    "StoreCapabilities",
    "check_store",
    "commit",
    "committed_keys",
    "display_uri",
    "failed_keys",
    "iter_failures",
    "iter_results",
    "open_output",
    "open_readable",
    "open_store",
    "read_failure",
    "read_result",
    "write_failure",
    "write_run_file",
]
