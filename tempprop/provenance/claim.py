"""What is claimed of a clip: that a model made it, which one, and with what."""

import importlib.metadata
import re
from dataclasses import dataclass
from functools import cache

from tempprop.spec import ClipSpec, ModelIdentity

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for media that a trained model has made altogether."""

SOFTWARE = "tempprop"

KEY_TAG = "tempprop_key"
"""Name of the tag by which a media file leads back to its record."""


HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class Claim:
    """What media say of themselves.

    Attributes:
        key: Content key of the clip.
        clip_id: Name of the clip.
        model: Class and name of the model; of a model that lies somewhere, not where.
        model_digest: sha256 over its files, hexadecimal.
        prompt: What the clip shows; None where it is not to be told.
    """

    key: str
    clip_id: str
    model: str
    model_digest: str
    prompt: str | None = None


def claim_of(
    spec: ClipSpec, key: str, model: ModelIdentity, *, include_prompt: bool = False
) -> Claim:
    """Claim what is known of a clip before it is encoded."""
    return Claim(
        key=key,
        clip_id=spec.clip_id,
        model=f"{model.pipeline_class} {_name_of_model(model.uri)}",
        model_digest=model.digest,
        prompt=spec.prompt if include_prompt else None,
    )


def _name_of_model(uri: str) -> str:
    # Media are given away. The directories and buckets of a studio are nobody else's business.
    return uri if HUB_ID.fullmatch(uri) else uri.rstrip("/").rpartition("/")[2]


@cache
def software_version() -> str:
    """Give the version of this package."""
    return importlib.metadata.version(SOFTWARE)


def tags_of(claim: Claim) -> dict[str, str]:
    """Give the claim as tags of a container, for formats that have tags."""
    return {
        KEY_TAG: claim.key,
        "clip_id": claim.clip_id,
        "digital_source_type": DIGITAL_SOURCE_TYPE,
        "software": f"{SOFTWARE} {software_version()}",
    }
