"""Are the media what their records say, and do they say truly where they come from?"""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tempprop.encoding.probe import probe
from tempprop.encoding.rates import frame_rate
from tempprop.errors import EncodeError, StoreError
from tempprop.media_objects import digest_of, fetch_media, files_of, sha256_of
from tempprop.objects import Store, fetch_file
from tempprop.provenance.marks import is_marked, key_in
from tempprop.provenance.sealing import SIGNED_SUFFIXES
from tempprop.provenance.signatures import SignatureCheck, check_signature
from tempprop.provenance.xmp import can_hold_xmp
from tempprop.spec import RENDER_VERSION, ClipResult, RenderConfig, clip_key
from tempprop.store import committed_keys, read_result

CHECKERS = 4
"""Clips that are checked at the same time."""


@dataclass(frozen=True)
class ClipCheck:
    """What was found out about one clip.

    Attributes:
        key: Content key, as its record is named.
        clip_id: Name; empty where the record does not tell.
        media_url: Path of its media below the output root; empty where the record does not tell.
        signature: `trusted`, `valid`, `invalid` or `missing`; empty where nobody could look at it.
        signer: Who signed; empty for nobody.
        problems: What is wrong; nothing where all is well.
    """

    key: str
    clip_id: str = ""
    media_url: str = ""
    signature: str = ""
    signer: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileCheck:
    """What was found out about a single media file.

    Attributes:
        path: The file.
        signature: What its signature is worth.
        marked: Whether it says, for machines, that a model has made it.
        key: Content key of the clip, by its tags or its signature; empty where it does not tell.
        sha256: Its digest, hexadecimal.
        problems: What is wrong; nothing where all is well.
    """

    path: Path
    signature: SignatureCheck
    marked: bool
    key: str
    sha256: str
    problems: tuple[str, ...] = field(default=())


def verify_library(
    store: Store, *, trust_anchors: str | None = None, decode: bool = False
) -> Iterator[ClipCheck]:
    """Check every committed clip of an output, several at a time and few ahead.

    Args:
        store: The output.
        trust_anchors: Root certificates in PEM. Where they are given, a signature that does not
            lead to one of them is a problem.
        decode: Whether every file is decoded to its end as well.

    Yields:
        What was found out about each clip, in the order of the keys.

    Raises:
        StoreError: The records cannot be listed.
    """

    def check(key: str) -> ClipCheck:
        return _checked(store, key, trust_anchors, decode)

    keys = iter(sorted(committed_keys(store)))
    with ThreadPoolExecutor(CHECKERS) as pool:
        while some := list(islice(keys, 16 * CHECKERS)):
            yield from pool.map(check, some)


def _checked(store: Store, key: str, trust_anchors: str | None, decode: bool) -> ClipCheck:
    try:
        result = read_result(store, key)
    except StoreError as error:
        return ClipCheck(key, problems=(f"the record cannot be read: {error}",))
    signature, problems = SignatureCheck(""), list(_problems_of_record(result, key))
    with tempfile.TemporaryDirectory(prefix="tempprop-") as directory:
        try:
            media = fetch_media(store, result.media, Path(directory))
            problems += _problems_of_files(result, media)
            poster = Path(directory) / Path(result.media.poster_url).name
            fetch_file(store, result.media.poster_url, poster)
            signature, found = _signature_of(result, media, poster, trust_anchors)
            problems += found
            problems += _problems_of_decoding(result, media) if decode else []
        except FileNotFoundError as error:
            problems.append(f"the media are not there: {error}")
        except (StoreError, OSError) as error:
            problems.append(f"the media cannot be read: {error}")
    return ClipCheck(
        key,
        result.clip_id,
        result.media.url,
        signature.state,
        signature.signer,
        tuple(problems),
    )


def _problems_of_files(result: ClipResult, media: Path) -> Iterator[str]:
    """Compare the bytes with the record, and look for the mark."""
    files = files_of(media)
    size = sum(file.stat().st_size for file in files)
    if size != result.media.bytes:
        yield f"the media have {size:,} bytes, and the record says {result.media.bytes:,}"
    if digest_of(result.media, media) != result.media.sha256:
        yield "the media are not those of the record: their sha256 is another"
    if result.provenance is not None and not all(is_marked(file) for file in files):
        yield "the media do not say that a model has made them"
    told = key_in(files[0])
    if told and told != result.key:
        yield f"the media say that they are those of {told[:16]}"


def _problems_of_record(result: ClipResult, key: str) -> Iterator[str]:
    """Work out the key again, which names all that shapes the pixels."""
    if result.key != key:
        yield f"the record says that it is that of {result.key[:16]}"
    shaping = ("dtype", "scheduler", "encoder", "finishing", "watermark")
    config = RenderConfig.model_validate({name: getattr(result, name) for name in shaping})
    here = clip_key(result.spec, config, result.model, result.init_image_sha256)
    if here != key and result.render_version == RENDER_VERSION:
        yield "its key says that it was rendered from another spec, model or settings"


def _signature_of(
    result: ClipResult, media: Path, poster: Path, trust_anchors: str | None
) -> tuple[SignatureCheck, list[str]]:
    """Check the signature that the record tells of."""
    said = result.provenance.signature if result.provenance is not None else None
    signed = poster if said == "sidecar" else media
    found = check_signature(signed, trust_anchors)
    problems = _problems_of_signature(found, trust_anchors, expected=said is not None)
    if said == "sidecar" and found.media_sha256 not in (None, result.media.sha256):
        problems.append("the signed sidecar is that of other media")
    if found.clip and found.clip.get("key") != result.key:
        problems.append(f"the signature is that of the clip {found.clip.get('key', '')[:16]}")
    return found, problems


def _problems_of_signature(
    found: SignatureCheck, trust_anchors: str | None, *, expected: bool
) -> list[str]:
    if found.state == "missing":
        return ["the record says that it is signed, and there is no signature"] if expected else []
    if found.state == "invalid":
        return [f"the signature does not hold: {', '.join(found.reasons) or 'no reason given'}"]
    if trust_anchors is not None and found.state != "trusted":
        return [f"nobody trusted has signed it, but {found.signer or 'somebody without a name'}"]
    return []


def _problems_of_decoding(result: ClipResult, media: Path) -> list[str]:
    try:
        found = probe(media, frame_rate(result.media.fps))
    except EncodeError as error:
        return [str(error)]
    if found.num_frames != result.media.num_frames:
        return [f"{found.num_frames} frames decode, and the record says {result.media.num_frames}"]
    return []


def verify_file(
    path: Path, *, trust_anchors: str | None = None, library: Store | None = None
) -> FileCheck:
    """Check one media file, wherever it is.

    Args:
        path: The file.
        trust_anchors: Root certificates in PEM, as for `verify_library`.
        library: The output that it is said to come from; None for any.

    Raises:
        OSError: It cannot be read.
        StoreError: The library does not answer.
    """
    signature, digest = check_signature(path, trust_anchors), sha256_of(path)
    key = key_in(path) or signature.clip.get("key", "")
    marked = is_marked(path)
    problems = _problems_of_signature(signature, trust_anchors, expected=False)
    if not marked and (can_hold_xmp(path) or path.suffix in SIGNED_SUFFIXES):
        problems.append("it does not say that a model has made it")
    if library is not None:
        problems += _problems_of_origin(library, key, digest)
    return FileCheck(path, signature, marked, key, digest, tuple(problems))


def _problems_of_origin(library: Store, key: str, digest: str) -> list[str]:
    if not key:
        return ["it does not say which clip it is"]
    if key not in committed_keys(library):
        return [f"{library.uri} has no clip {key[:16]}"]
    if read_result(library, key).media.sha256 != digest:
        return ["it is not the file of its record: its sha256 is another"]
    return []
