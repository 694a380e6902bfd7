"""The files of a clip say where they come from, and are signed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tempprop.provenance.claim import DIGITAL_SOURCE_TYPE, Claim
from tempprop.provenance.formats import can_hold_signature
from tempprop.provenance.xmp import add_xmp, can_hold_xmp, xmp_packet
from tempprop.spec import Provenance, ProvenanceConfig

if TYPE_CHECKING:
    from tempprop.provenance.signing import SigningIdentity

Signature = Literal["embedded", "sidecar"]


@dataclass(frozen=True)
class Seal:
    """What the files of a clip say, and who signs it.

    Attributes:
        claim: What they say.
        identity: Who signs; None for nobody.
    """

    claim: Claim
    identity: "SigningIdentity | None" = None


def read_identity(config: ProvenanceConfig) -> "SigningIdentity | None":
    """Read the certificate and the key that a configuration names; None where it names none.

    Raises:
        InputError: They cannot be used.
    """
    if config.certificate is None:
        return None
    from tempprop.provenance.signing import signing_identity  # noqa: PLC0415 - as in `_sign`

    return signing_identity(config, config.certificate)


def seal_media(files: Sequence[Path], seal: Seal) -> Signature | None:
    """Mark the files that a clip's media consist of, and sign a single one that can hold it.

    Returns:
        Where the clip is signed, or will be by `seal_pictures`; None for nowhere.

    Raises:
        SigningError: It could not be signed.
    """
    _mark(files, seal.claim)
    if seal.identity is None:
        return None
    # Of a sequence each frame would need a signature of its own.
    if len(files) > 1 or not can_hold_signature(files[0]):
        return "sidecar"
    _sign(files[0], seal)
    return "embedded"


def seal_pictures(
    files: Sequence[Path], seal: Seal, signature: Signature | None, media_sha256: str
) -> None:
    """Mark and sign the pictures beside the media: poster and preview.

    Args:
        files: The pictures.
        seal: What they say, and who signs it.
        signature: Where the media are signed. Where it is not in themselves, the pictures tell
            their digest.
        media_sha256: Digest of the media, as the record has it.

    Raises:
        SigningError: One could not be signed.
    """
    _mark(files, seal.claim)
    if seal.identity is not None:
        for file in files:
            _sign(file, seal, media_sha256 if signature == "sidecar" else None)


def provenance_of(seal: Seal, signature: Signature | None) -> Provenance:
    """Write down what the files of a clip say."""
    identity = seal.identity
    return Provenance(
        digital_source_type=DIGITAL_SOURCE_TYPE,
        signature=signature,
        signer=identity.subject if identity is not None else None,
        certificate_sha256=identity.fingerprint if identity is not None else None,
    )


def _mark(files: Sequence[Path], claim: Claim) -> None:
    packet = xmp_packet(claim)
    for file in files:
        if can_hold_xmp(file):
            add_xmp(file, packet)


def _sign(file: Path, seal: Seal, media_sha256: str | None = None) -> None:
    # It takes a while to load, and most runs have no certificate.
    from tempprop.provenance.signing import sign_file  # noqa: PLC0415

    assert seal.identity is not None
    sign_file(file, seal.claim, seal.identity, media_sha256)
