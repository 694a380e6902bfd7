"""Are the media what their records say, and do they say truly where they come from?"""

import math
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from cryptography import x509

from tempprop.digests import sha256_of
from tempprop.encoding.probe import probe
from tempprop.encoding.rates import frame_rate
from tempprop.errors import EncodeError, StoreError, TempPropError
from tempprop.media_objects import digest_of, fetch_media, files_of, part_with
from tempprop.objects import Store, fetch_file
from tempprop.provenance.claim import DIGITAL_SOURCE_TYPE
from tempprop.provenance.formats import can_hold_signature
from tempprop.provenance.marks import is_marked, key_in, tags_in
from tempprop.provenance.signatures import UNTRUSTED, SignatureCheck, check_signature
from tempprop.spec import RENDER_VERSION, ClipResult, Media, RenderConfig, clip_key
from tempprop.store import committed_keys, read_result
from tempprop.watch import Watch, nobody

CHECKERS = 4
"""Clips that are checked at the same time."""

MEANINGS = {
    "assertion.bmffHash.mismatch": "the file was changed after it was signed",
    "assertion.dataHash.mismatch": "the file was changed after it was signed",
    "assertion.hashedURI.mismatch": "what was signed was changed",
    "claimSignature.mismatch": "what was signed was changed",
    "signingCredential.expired": "the certificate had expired",
    UNTRUSTED: "its certificate leads to none of the trust anchors",
}
"""Of C2PA's codes."""


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
        clip_id: Name of the clip, as it says; empty where it does not.
        origin: Which file of the library it is; empty for none, and where nobody has asked.
        problems: What is wrong; nothing where all is well.
    """

    path: Path
    signature: SignatureCheck
    marked: bool
    key: str
    sha256: str
    clip_id: str = ""
    origin: str = ""
    problems: tuple[str, ...] = field(default=())


def verify_library(
    store: Store,
    *,
    trust_anchors: str | None = None,
    decode: bool = False,
    watch: Watch = nobody,
) -> Iterator[ClipCheck]:
    """Check every committed clip of an output, several at a time and few ahead.

    Args:
        store: The output.
        trust_anchors: Root certificates in PEM. Where they are given, a signature that does not
            lead to one of them is a problem.
        decode: Whether every file is decoded to its end as well.
        watch: Is told how many clips are checked.

    Yields:
        What was found out about each clip, in the order of the keys.

    Raises:
        StoreError: The records cannot be listed.
    """

    def check(key: str) -> ClipCheck:
        return _checked(store, key, trust_anchors, decode)

    committed = sorted(committed_keys(store))
    keys, done = iter(committed), 0
    with ThreadPoolExecutor(CHECKERS) as pool:
        while some := list(islice(keys, 16 * CHECKERS)):
            for found in pool.map(check, some):
                done += 1
                watch("checking clips", done, len(committed))
                yield found


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
            pictures = _fetch_pictures(store, result.media, Path(directory))
            signature, found = _signature_of(result, media, pictures[0], trust_anchors)
            problems += found
            problems += _problems_of_pictures(result, pictures, trust_anchors)
            problems += _problems_of_decoding(result, media) if decode else []
        except FileNotFoundError as error:
            problems.append(f"the media are not there: {error}")
        # A record that others can write may say anything, and the clips after it are checked too.
        except (TempPropError, OSError, ValueError, ArithmeticError) as error:
            problems.append(f"the media cannot be read: {error}")
    return ClipCheck(
        key,
        result.clip_id,
        result.media.url,
        signature.state,
        signature.signer,
        tuple(problems),
    )


def _fetch_pictures(store: Store, media: Media, directory: Path) -> list[Path]:
    """Copy the poster, and the preview where there is one, into a local directory."""
    pictures = []
    for url in (media.poster_url, media.preview_url):
        if url is not None:
            pictures.append(directory / Path(url).name)
            fetch_file(store, url, pictures[-1])
    return pictures


def _problems_of_pictures(
    result: ClipResult, pictures: list[Path], trust_anchors: str | None
) -> Iterator[str]:
    """Look at what the poster and the preview say; no record has their digests."""
    if result.provenance is None:
        return
    for picture in pictures:
        if not is_marked(picture):
            yield f"{picture.name} does not say that a model has made it"
        elif (told := key_in(picture)) != result.key:
            yield f"{picture.name} says that it is that of {told[:16] or 'no clip'}"
        if result.provenance.signature is not None:
            found = check_signature(picture, trust_anchors)
            problems = _problems_of_signature(found, trust_anchors, expected=True)
            problems = problems or list(_problems_of_statement(result, found))
            yield from (f"{picture.name}: {problem}" for problem in problems)


def _problems_of_files(result: ClipResult, media: Path) -> Iterator[str]:
    """Compare the bytes with the record, and look for the mark."""
    files = files_of(media)
    if not files:
        yield "the media have no frames"
        return
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
    if result.clip_id != result.spec.clip_id:
        yield f"the record says that it is that of {result.clip_id} and of {result.spec.clip_id}"
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
    if found.state != "missing" and said is None:
        problems.append("it has a signature, of which the record does not tell")
    if found.state not in ("missing", "invalid"):
        problems += _problems_of_statement(result, found)
        if said == "sidecar" and found.media_sha256 != result.media.sha256:
            problems.append("the signed sidecar is that of other media")
    return found, problems


def _problems_of_statement(result: ClipResult, found: SignatureCheck) -> Iterator[str]:
    """Compare what somebody has signed with the record: a signature alone may be about anything."""
    for name, expected in (("key", result.key), ("clip_id", result.clip_id)):
        told = str(found.clip.get(name, ""))
        if told != expected:
            yield f"what is signed has the {name} {told[:16] or 'of no clip'}"
    if found.source_type != DIGITAL_SOURCE_TYPE:
        yield "what is signed does not say that a model has made it"
    signer = result.provenance.signer if result.provenance is not None else None
    if signer is not None and found.signer and found.signer not in _names_in(signer):
        yield f"the record says that {signer} has signed it, and the signature is {found.signer}'s"


def _names_in(subject: str) -> set[str]:
    """Give the values in a distinguished name."""
    return {str(attribute.value) for attribute in x509.Name.from_rfc4514_string(subject)}


def _problems_of_signature(
    found: SignatureCheck, trust_anchors: str | None, *, expected: bool
) -> list[str]:
    if found.state == "missing":
        return ["the record says that it is signed, and there is no signature"] if expected else []
    if found.state == "invalid":
        reasons = ", ".join(map(_in_words, found.reasons)) or "no reason given"
        return [f"the signature does not hold: {reasons}"]
    if trust_anchors is not None and found.state != "trusted":
        return [f"nobody trusted has signed it, but {found.signer or 'somebody without a name'}"]
    return []


def _in_words(code: str) -> str:
    """Say what one of C2PA's codes means."""
    words = MEANINGS.get(code)
    return f"{words} ({code})" if words is not None else code


def _problems_of_decoding(result: ClipResult, media: Path) -> list[str]:
    try:
        found = probe(media, frame_rate(result.media.fps))
    except EncodeError as error:
        return [str(error)]
    problems = []
    for name in ("num_frames", "width", "height", "codec", "fps", "duration_seconds"):
        here, said = getattr(found, name), getattr(result.media, name)
        same = math.isclose(here, said, rel_tol=1e-3) if isinstance(said, float) else here == said
        if not same:
            problems.append(f"{name} decodes as {here}, and the record says {said}")
    return problems


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
    key = key_in(path) or str(signature.clip.get("key", ""))
    marked = is_marked(path)
    problems = _problems_of_signature(signature, trust_anchors, expected=False)
    if trust_anchors is not None and signature.state == "missing":
        holds = can_hold_signature(path)
        why = "nobody has signed it" if holds else "its format holds no signature, its poster does"
        problems.append(why)
    if not marked:
        problems.append("it does not say that a model has made it")
    clip_id = str(signature.clip.get("clip_id", "")) or tags_in(path).get("clip_id", "")
    origin, found = _origin(library, key, digest) if library is not None else ("", [])
    problems += found
    return FileCheck(path, signature, marked, key, digest, clip_id, origin, tuple(problems))


def _origin(library: Store, key: str, digest: str) -> tuple[str, list[str]]:
    """Say which file of the library it is, or why it is none."""
    if not key:
        return "", ["it does not say which clip it is"]
    if key not in committed_keys(library):
        return "", [f"{library.uri} has no clip {key[:16]}"]
    result = read_result(library, key)
    part = part_with(library, result.media, digest)
    if part is None:
        return "", ["it is none of the files of its record: its sha256 is another"]
    return f"{part} of {result.clip_id}, byte for byte", []
