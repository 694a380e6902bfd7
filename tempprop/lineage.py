"""From a media file, or whatever else names a clip, to the record of how it came about.

A clip is named by its clip_id, by its key, and by its media file: whose container carries the key,
whose bytes have the sha256 that the record tells, and which has a place below the output. A file
that was cut, renamed or copied elsewhere still carries the key; one whose tags were stripped is
found by its bytes; one that was encoded again and lost its tags is not found.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tempprop.catalog import find_clip, find_failures, find_results
from tempprop.digests import sha256_of
from tempprop.errors import InputError
from tempprop.media_objects import part_with
from tempprop.objects import Store
from tempprop.provenance.marks import key_in
from tempprop.spec import CLIP_ID_PATTERN, ClipFailure, ClipResult
from tempprop.store import KEY_PATTERN, committed_keys, failed_keys, read_failure, read_result


@dataclass(frozen=True)
class MediaFile:
    """A media file of this machine that was asked about.

    Attributes:
        path: Where it is.
        sha256: Digest of its bytes, hexadecimal.
        key: Key of the clip that it says to be, in its container; None where it says nothing.
        part: Which of the clip's files it is, as `media_objects.part_with` says; None for none.
    """

    path: str
    sha256: str
    key: str | None
    part: str | None = None


@dataclass(frozen=True)
class Lineage:
    """What an output knows of a clip.

    Attributes:
        results: Its committed takes, the newest first.
        failures: Failures that no later success has replaced, the newest first.
        parents: By their keys, the clips that takes were made from, and those that these were.
        file: The media file that was asked about; None for another question.
    """

    results: tuple[ClipResult, ...]
    failures: tuple[ClipFailure, ...] = ()
    parents: dict[str, ClipResult] = field(default_factory=dict)
    file: MediaFile | None = None

    def as_json(self) -> dict[str, Any]:
        """Give it as values of JSON."""
        return {
            "file": vars(self.file) if self.file is not None else None,
            "committed": [result.model_dump(mode="json") for result in self.results],
            "failures": [failure.model_dump(mode="json") for failure in self.failures],
            "parents": [parent.model_dump(mode="json") for parent in self.parents.values()],
        }


def find_lineage(store: Store, name: str) -> Lineage:
    """Find the records of a clip.

    Args:
        store: The output.
        name: A key, a sha256 of a media file, a clip_id, the path of a media file on this machine,
            or its path or URI in the output. They are tried in this order.

    Raises:
        InputError: The output knows nothing of it.
        StoreError: A record is damaged, or the store did not answer.
    """
    lineage = _by_digest(store, name) or _by_clip_id(store, name)
    if lineage is None and Path(name).is_file():
        lineage = _by_file(store, Path(name))
    lineage = lineage or _by_place(store, name)
    if lineage is None:
        raise InputError(
            f"{store.uri} knows no clip {name!r}: it is neither committed nor a dead letter. "
            "Check the clip_id, key, sha256 or media file, or render its manifest"
        )
    return Lineage(
        lineage.results, lineage.failures, _parents(store, lineage.results), lineage.file
    )


def media_file(path: Path) -> MediaFile:
    """Read what a media file says of itself.

    Raises:
        OSError: It cannot be read.
    """
    digest, key = sha256_of(path), key_in(path)
    return MediaFile(str(path), digest, key if re.fullmatch(KEY_PATTERN, key) else None)


def _by_digest(store: Store, text: str) -> Lineage | None:
    if not re.fullmatch(KEY_PATTERN, text):
        return None
    return _by_key(store, text) or _results(find_results(store, "media_sha256", text))


def _by_key(store: Store, key: str) -> Lineage | None:
    if key in committed_keys(store):
        return Lineage((read_result(store, key),))
    return Lineage((), (read_failure(store, key),)) if key in failed_keys(store) else None


def _by_clip_id(store: Store, name: str) -> Lineage | None:
    if not re.fullmatch(CLIP_ID_PATTERN, name):
        return None
    results, failures = find_clip(store, name), find_failures(store, name)
    return Lineage(tuple(results), tuple(failures)) if results or failures else None


def _by_file(store: Store, path: Path) -> Lineage | None:
    try:
        file = media_file(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check its rights") from error
    found = _by_key(store, file.key) if file.key is not None else None
    found = found or _by_digest(store, file.sha256)
    if found is None:
        return None
    parts = (part_with(store, result.media, file.sha256) for result in found.results)
    part = next((part for part in parts if part is not None), None)
    return Lineage(found.results, found.failures, file=replace(file, part=part))


def _by_place(store: Store, name: str) -> Lineage | None:
    """Find a media file by its path below the output, or by its URI there."""
    return _results(find_results(store, "media_url", name.removeprefix(f"{store.uri}/")))


def _results(results: list[ClipResult]) -> Lineage | None:
    return Lineage(tuple(results)) if results else None


def _parents(store: Store, results: tuple[ClipResult, ...]) -> dict[str, ClipResult]:
    """Read the clips that takes were made from, as far back as they are there."""
    parents: dict[str, ClipResult] = {}
    wanted = {result.parent_key for result in results} - {None}
    committed = committed_keys(store) if wanted else set()
    while wanted:
        key = wanted.pop()
        if key in committed and key not in parents:
            parents[key] = read_result(store, key)
            wanted |= {parents[key].parent_key} - {None}
    return parents
