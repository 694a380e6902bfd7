"""C2PA: media that are signed, so that what they say of themselves can be proven.

The signature covers the whole file (C2PA Technical Specification 2.x, content bindings). Formats
that cannot hold one get a sidecar: their poster is signed, and tells the digest of the media.
"""

import io
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from PIL import Image

from tempprop.errors import InputError, SigningError
from tempprop.provenance.claim import DIGITAL_SOURCE_TYPE, SOFTWARE, Claim, software_version
from tempprop.provenance.formats import MIME_TYPES
from tempprop.spec import ProvenanceConfig

CLIP_ASSERTION = "com.tempprop.clip"
MEDIA_ASSERTION = "com.tempprop.media"
"""In a sidecar: the digest of the media that it is about."""

# Pictures of pictures would be larger than many a clip.
SETTINGS = {"builder": {"thumbnail": {"enabled": False}}}


@dataclass(frozen=True)
class SigningIdentity:
    """Who signs.

    Attributes:
        chain: Certificates in PEM, the signer's first.
        key: Private key in PEM, PKCS#8, as C2PA takes it; never shown.
        algorithm: C2PA's name of the algorithm.
        timestamp_url: Time-stamp authority; None for none.
        subject: The signer's name, as its certificate has it.
        fingerprint: sha256 of the signer's certificate, hexadecimal.
    """

    chain: bytes
    key: bytes = field(repr=False)
    algorithm: str
    timestamp_url: str | None
    subject: str
    fingerprint: str


def signing_identity(config: ProvenanceConfig, certificate: str) -> SigningIdentity:
    """Read the certificate and the key that a configuration names.

    Args:
        config: Says where the key is.
        certificate: Path of the chain.

    Raises:
        InputError: One of them is missing, is not what it should be, has expired, or they do not
            belong together. The message never shows a key.
    """
    chain = _read(certificate, "provenance.certificate")
    try:
        signer = x509.load_pem_x509_certificates(chain)[0]
    except ValueError as error:
        raise InputError(
            f"provenance.certificate {certificate} holds no certificate in PEM. Give the "
            "chain, the signer's certificate first"
        ) from error
    try:
        private = serialization.load_pem_private_key(_key(config), None)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{_name_of_key(config)} holds no private key in PEM without a password. Give one"
        ) from error
    encoding = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*encoding) != signer.public_key().public_bytes(*encoding):
        raise InputError(
            f"{_name_of_key(config)} is not the key of the first certificate in "
            f"{certificate}. Give the key that belongs to it"
        )
    identity = SigningIdentity(
        chain=chain,
        key=private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        algorithm=config.algorithm,
        timestamp_url=config.timestamp_url,
        subject=signer.subject.rfc4514_string(),
        fingerprint=signer.fingerprint(hashes.SHA256()).hex(),
    )
    _try(identity, certificate)
    return identity


def try_timestamp(identity: SigningIdentity) -> None:
    """Ask the time-stamp authority for one time stamp; without an authority there is none to ask.

    Raises:
        InputError: It does not give one.
    """
    if identity.timestamp_url is None:
        return
    try:
        _sign_picture(identity)
    except c2pa.C2paError as error:
        raise InputError(
            f"provenance.timestamp_url {identity.timestamp_url} gives no time stamp: {error}. "
            "Correct it, or leave it out"
        ) from error


def sign_file(
    path: Path, claim: Claim, identity: SigningIdentity, media_sha256: str | None = None
) -> None:
    """Sign a file, in its place.

    Args:
        path: An MP4, MOV, GIF, WebP or JPEG.
        claim: What is said of it.
        identity: Who signs.
        media_sha256: Of the media that this file is the sidecar of; None where it is none.

    Raises:
        SigningError: It could not be signed.
    """
    signed = path.with_name(f"{path.stem}.signed{path.suffix}")
    try:
        with path.open("rb") as source, signed.open("w+b") as target:
            _sign_stream(source, target, _manifest(path, claim, media_sha256), identity)
        signed.replace(path)
    except (c2pa.C2paError, OSError) as error:
        raise SigningError(f"{path.name} could not be signed: {error}") from error
    finally:
        signed.unlink(missing_ok=True)


def _sign_stream(
    source: BinaryIO, target: BinaryIO, manifest: dict[str, Any], identity: SigningIdentity
) -> None:
    with c2pa.Context(c2pa.Settings.from_dict(SETTINGS)) as context:
        builder = c2pa.Builder(json.dumps(manifest), context)
        builder.sign(_signer(identity), manifest["format"], source, target)


def _signer(identity: SigningIdentity) -> Any:
    timestamp = identity.timestamp_url.encode() if identity.timestamp_url else None
    return c2pa.Signer.from_info(
        c2pa.C2paSignerInfo(identity.algorithm.encode(), identity.chain, identity.key, timestamp)
    )


def _manifest(path: Path, claim: Claim, media_sha256: str | None) -> dict[str, Any]:
    version = software_version()
    created = {
        "action": "c2pa.created",
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
        "softwareAgent": {"name": SOFTWARE, "version": version},
    }
    clip = {
        "key": claim.key,
        "clip_id": claim.clip_id,
        "model": claim.model,
        "model_digest": f"sha256:{claim.model_digest}",
    }
    if claim.prompt is not None:
        clip["prompt"] = claim.prompt
    assertions: list[dict[str, Any]] = [
        {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
        {"label": CLIP_ASSERTION, "data": clip},
    ]
    if media_sha256 is not None:
        assertions.append({"label": MEDIA_ASSERTION, "data": {"sha256": media_sha256}})
    return {
        "claim_generator_info": [{"name": SOFTWARE, "version": version}],
        "title": path.name,
        "format": MIME_TYPES[path.suffix],
        "assertions": assertions,
    }


def _key(config: ProvenanceConfig) -> bytes:
    if config.private_key is not None:
        return _read(config.private_key, "provenance.private_key")
    value = os.environ.get(config.private_key_variable, "")
    if not value:
        raise InputError(
            f"provenance.certificate is given, and no key: set {config.private_key_variable} to "
            "the private key in PEM, in the environment of every worker, or name a file as "
            "provenance.private_key"
        )
    return value.encode()


def _name_of_key(config: ProvenanceConfig) -> str:
    if config.private_key is not None:
        return f"provenance.private_key {config.private_key}"
    return f"the environment's {config.private_key_variable}"


def _read(path: str, name: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"{name} {path} cannot be read: {error.strerror}. It has to be there on every machine "
            "that renders"
        ) from error


def _try(identity: SigningIdentity, certificate: str) -> None:
    """Sign a picture: what C2PA asks of a certificate is looked at in no other way."""
    try:
        _sign_picture(replace(identity, timestamp_url=None))
    except c2pa.C2paError as error:
        raise InputError(
            f"{certificate} cannot sign by {identity.algorithm}: {error}. C2PA wants an X.509 v3 "
            "certificate of a signer that is valid today, for digital signatures, with key "
            "identifiers and an extended key usage such as emailProtection"
        ) from error


def _sign_picture(identity: SigningIdentity) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, format="JPEG")
    nobody = Claim(key="", clip_id="", model="", model_digest="")
    _sign_stream(picture, io.BytesIO(), _manifest(Path("try.jpg"), nobody, None), identity)
