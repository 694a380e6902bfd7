"""Whether what a media file says of itself is signed, by whom, and whether that holds."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import c2pa

from tempprop.provenance.formats import MIME_TYPES
from tempprop.provenance.signing import CLIP_ASSERTION, MEDIA_ASSERTION

UNTRUSTED = "signingCredential.untrusted"


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
    kind = MIME_TYPES.get(path.suffix.lower())
    if kind is None:
        return SignatureCheck("missing")
    # A file may name any URL as the place of its manifest, and who checks it asks nobody.
    trust: dict[str, Any] = {"verify": {"verify_trust": True, "remote_manifest_fetch": False}}
    if trust_anchors is not None:
        trust["trust"] = {"user_anchors": trust_anchors}
    try:
        with (
            c2pa.Context(c2pa.Settings.from_dict(trust)) as context,
            path.open("rb") as file,
            c2pa.Reader(kind, file, context=context) as reader,
        ):
            found = _found(json.loads(reader.json()), reader.get_validation_state())
            if trust_anchors is not None:
                return found
            # Without trust anchors nobody is trusted, which is no reason for anything.
            reasons = tuple(reason for reason in found.reasons if reason != UNTRUSTED)
            return replace(found, reasons=reasons)
    except c2pa.C2paError as error:
        if "ManifestNotFound" in f"{type(error).__name__} {error}":
            return SignatureCheck("missing")
        return SignatureCheck("invalid", reasons=(str(error),))


def _found(report: dict[str, Any], state: str | None) -> SignatureCheck:
    # A damaged file may have lost the manifest that it names, and others' hold anything.
    manifest = report["manifests"].get(report["active_manifest"], {})
    assertions = {
        each["label"]: each["data"]
        for each in manifest.get("assertions", [])
        if isinstance(each.get("data"), dict)
    }
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
