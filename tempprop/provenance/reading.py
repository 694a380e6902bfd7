"""What a media file says of itself, and whether that can be believed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import c2pa

from tempprop.provenance.claim import DIGITAL_SOURCE_TYPE
from tempprop.provenance.signing import CLIP_ASSERTION, MEDIA_ASSERTION, MIME_TYPES
from tempprop.provenance.xmp import read_xmp

TAGGED = {".mp4", ".mov", ".mkv", ".webm"}


@dataclass(frozen=True)
class SignatureCheck:
    """What was found out about a signature.

    Attributes:
        state: `trusted` (its certificate leads to a trust anchor), `valid` (it is whole, and who
            signed is not known to be trusted), `invalid`, or `missing`.
        signer: Who signed, as the certificate says; empty for nobody.
        reasons: Why it is invalid, by C2PA's codes.
        clip: What the manifest says of the clip.
        media_sha256: Of the media that the file is the sidecar of; None where it is none.
        source_type: IPTC's digital source type of the action that made it.
    """

    state: str
    signer: str = ""
    reasons: tuple[str, ...] = ()
    clip: Mapping[str, str] = field(default_factory=dict)
    media_sha256: str | None = None
    source_type: str = ""


def check_signature(path: Path, trust_anchors: str | None = None) -> SignatureCheck:
    """Check the C2PA signature of a file.

    Args:
        path: Any file; formats that hold no signature have none.
        trust_anchors: Root certificates in PEM that are trusted; None for none.
    """
    if path.suffix not in MIME_TYPES:
        return SignatureCheck("missing")
    trust: dict[str, Any] = {"verify": {"verify_trust": True}}
    if trust_anchors is not None:
        trust["trust"] = {"user_anchors": trust_anchors}
    try:
        with (
            c2pa.Context(c2pa.Settings.from_dict(trust)) as context,
            path.open("rb") as file,
            c2pa.Reader(MIME_TYPES[path.suffix], file, context=context) as reader,
        ):
            return _found(json.loads(reader.json()), reader.get_validation_state())
    except c2pa.C2paError as error:
        if "ManifestNotFound" in f"{type(error).__name__} {error}":
            return SignatureCheck("missing")
        return SignatureCheck("invalid", reasons=(str(error),))


def _found(report: dict[str, Any], state: str | None) -> SignatureCheck:
    manifest = report["manifests"][report["active_manifest"]]
    assertions = {each["label"]: each["data"] for each in manifest.get("assertions", [])}
    lists = [data["actions"] for label, data in assertions.items() if "c2pa.actions" in label]
    made = [action for each in lists for action in each if action.get("action") == "c2pa.created"]
    return SignatureCheck(
        state=(state or "invalid").lower(),
        signer=manifest.get("signature_info", {}).get("common_name", "")
        or manifest.get("signature_info", {}).get("issuer", ""),
        reasons=tuple(each["code"] for each in report.get("validation_status", [])),
        clip=assertions.get(CLIP_ASSERTION, {}),
        media_sha256=assertions.get(MEDIA_ASSERTION, {}).get("sha256"),
        source_type=made[0].get("digitalSourceType", "") if made else "",
    )


def is_marked(path: Path) -> bool:
    """Tell whether a media file says, for machines, that a model has made it."""
    return (
        DIGITAL_SOURCE_TYPE in (_packet(path) or "") or DIGITAL_SOURCE_TYPE in tags(path).values()
    )


def tags(path: Path) -> dict[str, str]:
    """Read the tags of a file's container; none where its format has none, or it cannot be read."""
    if path.suffix == ".exr":
        return _exr_header(path)
    if path.suffix not in TAGGED:
        return {}
    try:
        with av.open(str(path)) as container:
            return {name.lower(): value for name, value in container.metadata.items()}
    except av.FFmpegError:
        return {}


def _exr_header(path: Path) -> dict[str, str]:
    import OpenEXR  # noqa: PLC0415 - for those who have such files

    with OpenEXR.File(str(path)) as file:
        return {name: value for name, value in file.header().items() if isinstance(value, str)}


def _packet(path: Path) -> str | None:
    try:
        packet = read_xmp(path)
    except ValueError:
        return None
    return packet.decode(errors="replace") if packet is not None else None
