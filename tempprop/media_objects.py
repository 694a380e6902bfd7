"""Media in a store: put where the record will point, and fetched from there."""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from glob import escape as glob_escape
from pathlib import Path

from tempprop.digests import read_sums, sha256_of, write_sums
from tempprop.encode import CHECKSUMS, EncodedClip
from tempprop.errors import StoreInputError
from tempprop.media_frames import PREVIEW_SUFFIX, is_sequence
from tempprop.objects import Store, fetch_file, modified_at, put_file, read_object
from tempprop.spec import Media
from tempprop.store import media_stem

RECENT = timedelta(hours=1)
"""So long media may lie there without a record before a clip that uses them writes them anew."""

TRANSFERS = 8
"""Files of a sequence that are transferred at the same time."""


def upload_media(store: Store, encoded: EncodedClip, clip_id: str, key: str) -> Media:
    """Put the finished files of a clip where the record will point.

    A file that is already there is left alone, since another worker's record may point to it: other
    bytes are put beside it under a longer name. The same bytes are used as they are; they are
    written anew only where they have lain there for long, and might be taken for an orphan just now
    (see `tempprop.orphans`). The files of a sequence lie in a directory that is named by their
    content.

    Args:
        store: Where to.
        encoded: The verified local files.
        clip_id: Name of the clip.
        key: Content key of the clip.

    Returns:
        The media as the record describes them.

    Raises:
        ValueError: The clip_id or the key is not one.
        StoreInputError: The location cannot be written.
        StoreError: The disk is full, or the store did not do its part before the deadline.
    """
    stem, checksums_url = media_stem(clip_id, key), None
    if encoded.is_sequence:
        stem = f"{stem}.{encoded.sha256[:16]}"
        url, checksums_url = _put_sequence(store, encoded, stem)
    else:
        stem, url = _put_single(store, encoded, stem)
    put_file(store, encoded.poster_path, f"{stem}.jpg")
    if encoded.preview_path is not None:
        put_file(store, encoded.preview_path, f"{stem}{PREVIEW_SUFFIX}")
    found = encoded.probe
    return Media(
        url=url,
        poster_url=f"{stem}.jpg",
        preview_url=f"{stem}{PREVIEW_SUFFIX}" if encoded.preview_path is not None else None,
        checksums_url=checksums_url,
        sha256=encoded.sha256,
        bytes=encoded.bytes,
        codec=found.codec,
        pixel_format=found.pixel_format,
        encoder=encoded.encoder.name,
        encoder_instead=encoded.encoder.instead_of,
        width=found.width,
        height=found.height,
        fps=found.fps,
        num_frames=found.num_frames,
        duration_seconds=found.duration_seconds,
    )


def fetch_media(store: Store, media: Media, directory: Path) -> Path:
    """Copy a clip's media into a local directory.

    Args:
        store: Where from.
        media: What the record says.
        directory: Where to; it exists.

    Returns:
        The file, or the pattern of the files of a sequence: `tempprop.media_frames` reads both.

    Raises:
        FileNotFoundError: It is not there.
        StoreInputError: The record, or a sequence's list of digests, names what leads elsewhere.
        StoreError: The store did not answer before the deadline.
    """
    if media.checksums_url is None:
        local = directory / Path(media.url).name
        fetch_file(store, media.url, local)
        return local
    folder = media.url.rpartition("/")[0]
    sums = read_object(store, media.checksums_url).decode(errors="replace")
    names = list(read_sums(sums))
    if any(not name or Path(name).name != name for name in names):
        raise StoreInputError(f"{store.uri}: {media.checksums_url} names what is no file's name")
    with ThreadPoolExecutor(TRANSFERS) as pool:
        _finish(pool.map(lambda n: fetch_file(store, f"{folder}/{n}", directory / n), names))
    return directory / Path(media.url).name


def part_with(store: Store, media: Media, sha256: str) -> str | None:
    """Say which of a clip's files has a digest.

    No record has the digests of a poster and a preview, so that they are fetched.

    Args:
        store: Where they are.
        media: What the record tells.
        sha256: The digest, hexadecimal.

    Returns:
        `media`, `poster`, `preview` or the name of a frame's file; None for none of them.

    Raises:
        StoreError: The store did not answer.
    """
    return next((part for part, digest in _digests(store, media) if digest == sha256), None)


def _digests(store: Store, media: Media) -> Iterator[tuple[str, str]]:
    """Name the files of a clip, as far as they are there, with their digests."""
    yield "media", media.sha256
    if media.checksums_url is not None:
        with suppress(FileNotFoundError):
            sums = read_object(store, media.checksums_url)
            if hashlib.sha256(sums).hexdigest() == media.sha256:
                yield from read_sums(sums.decode()).items()
    for part, url in (("poster", media.poster_url), ("preview", media.preview_url)):
        if url is not None:
            with suppress(FileNotFoundError):
                yield part, hashlib.sha256(read_object(store, url)).hexdigest()


def digest_of(media: Media, local: Path) -> str:
    """Hash what `fetch_media` has fetched, as records do.

    Args:
        media: What the record says.
        local: The file, or the pattern of the files of a sequence.
    """
    if media.checksums_url is None:
        return sha256_of(local)
    sums = write_sums({file.name: sha256_of(file) for file in files_of(local)})
    return hashlib.sha256(sums.encode()).hexdigest()


def files_of(local: Path) -> list[Path]:
    """List the files of a clip's media: one, or one for each frame, in their order."""
    if not is_sequence(local.name):
        return [local]
    start, _, suffix = local.name.partition("%05d")
    return sorted(local.parent.glob(f"{glob_escape(start)}*{suffix}"))


def _put_single(store: Store, encoded: EncodedClip, stem: str) -> tuple[str, str]:
    """Put a media file where no other bytes are, and tell the stem and the name that it has."""
    suffix = encoded.path.suffix
    try:
        put_file(store, encoded.path, f"{stem}{suffix}", create=True)
    except FileExistsError:
        same = _sha256_of(store, f"{stem}{suffix}") == encoded.sha256
        stem = stem if same else f"{stem}.{encoded.sha256[:16]}"
        if not same or _is_old(store, f"{stem}{suffix}"):
            put_file(store, encoded.path, f"{stem}{suffix}")
    return stem, f"{stem}{suffix}"


def _put_sequence(store: Store, encoded: EncodedClip, folder: str) -> tuple[str, str]:
    """Put the files of a sequence, those of the frames first, and name their pattern and sums."""
    frames = [file for file in sorted(encoded.path.iterdir()) if file.name != CHECKSUMS]
    with ThreadPoolExecutor(TRANSFERS) as pool:
        _finish(pool.map(lambda file: put_file(store, file, f"{folder}/{file.name}"), frames))
    put_file(store, encoded.path / CHECKSUMS, f"{folder}/{CHECKSUMS}")
    return f"{folder}/{encoded.pattern.name}", f"{folder}/{CHECKSUMS}"


def _finish(transfers: Iterable[None]) -> None:
    """Wait for all, and raise what the first of them that failed has raised."""
    for _ in transfers:
        pass


def _sha256_of(store: Store, name: str) -> str:
    with tempfile.TemporaryDirectory(prefix="tempprop-") as directory:
        local = Path(directory) / "media"
        fetch_file(store, name, local)
        return sha256_of(local)


def _is_old(store: Store, name: str) -> bool:
    written = modified_at(store, name)
    return written is None or datetime.now(UTC) - written > RECENT
