"""What lies in an output and belongs to nothing: found, listed, and removed where it is old enough.

    media             that no record points to, single files and those of sequences: a worker died
                      between the upload and the record
    poster, preview   of such media
    unfinished        what a clip would go on from, of a clip that has been committed since
    temporary         `.*.tmp`, a local file that was being written when its process died
    probe             `.tempprop-probe-*`, with which a run tries the location before it starts
    upload            an upload in parts, on S3, that nobody will complete

Nothing that a record refers to is an orphan, whatever its age; the catalog is asked first, so that
a library of a million clips is not read again. Objects whose names are not of tempprop's making are
never touched. The age is what protects a run that is going on: its media have no record yet, and
are young.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from tempprop.catalog import CATALOG, read_catalog
from tempprop.encoding.profiles import PROFILES
from tempprop.media_frames import PREVIEW_SUFFIX
from tempprop.objects import (
    TEMPORARY_PATTERN,
    StoredObject,
    list_names,
    list_objects,
    remove_object,
)
from tempprop.s3_objects import DanglingUpload, abort_upload, dangling_uploads, uploaded_bytes
from tempprop.store import (
    FAILURES,
    KEY_PATTERN,
    MEDIA,
    PROBE,
    RECORDS,
    RUNS,
    Store,
    committed_keys,
    iter_results,
)
from tempprop.unfinished import SUFFIX, UNFINISHED

Kind = Literal["media", "poster", "preview", "unfinished", "temporary", "probe", "upload"]

KEY_START = re.compile(r"(?<=\.)[0-9a-f]{16}(?=\.|$)")
"""The first digits of a clip's key in the name of its media."""

SUFFIXES = "|".join(sorted({profile.suffix[1:] for profile in PROFILES.values()} | {"jpg"}))
STEM = rf"{MEDIA}/[A-Za-z0-9._-]+\.[0-9a-f]{{16}}"
MEDIA_NAME = re.compile(rf"{STEM}({re.escape(PREVIEW_SUFFIX)}|\.({SUFFIXES}))")
OF_CLIPS: dict[str, Kind] = {".mp4": "media", ".jpg": "poster", PREVIEW_SUFFIX: "preview"}
SEQUENCE_FOLDER = re.compile(STEM)
UNFINISHED_NAME = re.compile(rf"{UNFINISHED}/({KEY_PATTERN}){re.escape(SUFFIX)}")
PROBE_NAME = re.compile(re.escape(PROBE) + r"[0-9a-f]{8}")
TEMPORARY_NAME = re.compile(rf"(?:.*/)?{TEMPORARY_PATTERN}")

FOLDERS = (MEDIA, RECORDS, FAILURES, UNFINISHED, CATALOG, RUNS)


@dataclass(frozen=True)
class Orphan:
    """Something that belongs to nothing.

    Attributes:
        kind: What it is.
        name: Its name below the root.
        bytes: Its size.
        modified: When it was last written.
        upload_id: What the server calls it, where it is an upload.
    """

    kind: Kind
    name: str
    bytes: int
    modified: datetime
    upload_id: str | None = None


def find_orphans(store: Store, older_than: timedelta) -> list[Orphan]:
    """List what belongs to nothing and is old enough.

    Args:
        store: The output.
        older_than: What was written since then is left alone, and so is what has no time.

    Returns:
        The orphans in the order of their names.

    Raises:
        StoreInputError: The location cannot be listed.
        StoreError: A record is damaged, so that nobody knows what it refers to; or the store did
            not answer.
    """
    before = datetime.now(UTC) - older_than
    catalog = _read_catalog(store)
    media = (orphan for orphan in _media(store, before) if _told(orphan.name) not in catalog.urls)
    # The records come after the media: a clip that is committed meanwhile keeps its own.
    candidates = [*media, *_unfinished(store, before)]
    found = [*_without_record(store, candidates, catalog), *_leftovers(store, before)]
    if store.is_s3:
        found += _uploads(store, before)
    return sorted(found, key=lambda orphan: (orphan.name, orphan.upload_id or ""))


def remove_orphans(store: Store, orphans: Iterable[Orphan]) -> int:
    """Remove orphans, except those that a record has come to refer to since they were found.

    Args:
        store: The output.
        orphans: What `find_orphans` has found.

    Returns:
        How many were removed.

    Raises:
        StoreInputError: No permission.
        StoreError: The store did not answer before the deadline. What is removed by then is gone.
    """
    listed = list(orphans)
    named = [orphan for orphan in listed if orphan.kind in {*OF_CLIPS.values(), "unfinished"}]
    still = _without_record(store, named, _read_catalog(store))
    others = [orphan for orphan in listed if orphan not in named]
    for orphan in [*still, *others]:
        if orphan.upload_id is not None:
            abort_upload(store, orphan.name, orphan.upload_id)
        else:
            remove_object(store, orphan.name)
    return len(still) + len(others)


def _media(store: Store, before: datetime) -> Iterator[Orphan]:
    for entry in _old(list_objects(store, MEDIA), before):
        if match := MEDIA_NAME.fullmatch(entry.name):
            yield _orphan(OF_CLIPS.get(match[1], "media"), entry)
    for name in list_names(store, MEDIA):
        folder = f"{MEDIA}/{name}"
        if SEQUENCE_FOLDER.fullmatch(folder):
            yield from (
                _orphan("media", entry) for entry in _old(list_objects(store, folder), before)
            )


def _told(name: str) -> str:
    """Give what a record tells of the media that an object belongs to.

    A preview goes with its poster, and the files of a sequence with their folder.
    """
    if name.endswith(PREVIEW_SUFFIX):
        return f"{name.removesuffix(PREVIEW_SUFFIX)}.jpg"
    folder = name.rpartition("/")[0]
    return name if folder == MEDIA else folder


def _told_by(media_url: str, poster_url: str) -> set[str]:
    """Give the same for the media of a record."""
    return {_told(media_url), poster_url}


def _unfinished(store: Store, before: datetime) -> Iterator[Orphan]:
    for entry in _old(list_objects(store, UNFINISHED), before):
        if UNFINISHED_NAME.fullmatch(entry.name):
            yield _orphan("unfinished", entry)


@dataclass(frozen=True)
class _Catalogued:
    """What the catalog says about the clips that are committed.

    Attributes:
        keys: Their keys.
        urls: Their media and posters, see `_told`.
    """

    keys: set[str]
    urls: set[str]


def _read_catalog(store: Store) -> _Catalogued:
    committed = committed_keys(store)
    known = _Catalogued(set(), set())
    for batch in read_catalog(store, ["key", "media_url", "poster_url"]).to_batches():
        for key, *urls in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if key in committed:
                known.keys.add(key)
                known.urls.update(_told_by(*urls))
    return known


def _without_record(store: Store, candidates: list[Orphan], catalog: _Catalogued) -> list[Orphan]:
    """Leave out the media that a record refers to, and the rest of clips that are not committed."""
    if not candidates:
        return []
    committed = committed_keys(store)
    media = {_told(orphan.name) for orphan in candidates if orphan.kind != "unfinished"}
    referred = catalog.urls | _urls_of_records(store, committed, media - catalog.urls, catalog)
    return [
        orphan
        for orphan in candidates
        if (
            orphan.name.removeprefix(f"{UNFINISHED}/").removesuffix(SUFFIX) in committed
            if orphan.kind == "unfinished"
            else _told(orphan.name) not in referred
        )
    ]


def _urls_of_records(
    store: Store, committed: set[str], names: set[str], catalog: _Catalogued
) -> set[str]:
    """Read what the records say that may refer to one of the media.

    These are the ones that are not in the catalog. There may also be an older record of a key in it
    than the one that counts: so those whose key is in the name of one of the media are read too.
    """
    # A clip_id may look like the start of a key itself.
    starts = {start for name in names for start in KEY_START.findall(name)}
    doubtful = {key for key in committed & catalog.keys if key[:16] in starts}
    results = iter_results(store, (committed - catalog.keys) | doubtful)
    media = (result.media for result in results)
    return {url for each in media for url in _told_by(each.url, each.poster_url)}


def _leftovers(store: Store, before: datetime) -> Iterator[Orphan]:
    for entry in _old(list_objects(store, ""), before):
        if PROBE_NAME.fullmatch(entry.name):
            yield _orphan("probe", entry)
    for folder in _folders(store) if store.is_local else ():
        for entry in _old(list_objects(store, folder), before):
            if TEMPORARY_NAME.fullmatch(entry.name):
                yield _orphan("temporary", entry)


def _folders(store: Store) -> Iterator[str]:
    """Give every folder that tempprop writes into."""
    yield from ("", *FOLDERS)
    for folder in (CATALOG, RUNS):
        yield from (f"{folder}/{name}" for name in list_names(store, folder))


def _uploads(store: Store, before: datetime) -> Iterator[Orphan]:
    for upload in dangling_uploads(store):
        ours = upload.name.partition("/")[0] in FOLDERS
        if ours and upload.initiated < before:
            yield _upload(store, upload)


def _upload(store: Store, upload: DanglingUpload) -> Orphan:
    size = uploaded_bytes(store, upload)
    return Orphan("upload", upload.name, size, upload.initiated, upload.upload_id)


def _old(entries: Iterable[StoredObject], before: datetime) -> Iterator[StoredObject]:
    return (entry for entry in entries if entry.modified is not None and entry.modified < before)


def _orphan(kind: Kind, entry: StoredObject) -> Orphan:
    assert entry.modified is not None, "only what is old enough gets here"
    return Orphan(kind, entry.name, entry.bytes, entry.modified)
