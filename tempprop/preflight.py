"""Everything that can be found wrong before a worker is started."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tempprop.encoding.ffmpeg import find_ffmpeg
from tempprop.encoding.profiles import PROFILES
from tempprop.errors import EncodeError, InputError, PictureError
from tempprop.init_image import picture_digest
from tempprop.manifest import ManifestSummary, check_texts, read_weights, validate_manifest
from tempprop.plan import RECENT_PICTURES
from tempprop.provenance.sealing import read_identity
from tempprop.spec import (
    EncoderConfig,
    LoRA,
    ModelIdentity,
    ProvenanceConfig,
    RenderConfig,
    WatermarkConfig,
)
from tempprop.store import StoreCapabilities, check_store, open_store
from tempprop.test_card import identify_test_card, is_test_card

PICTURE_READERS = 4
"""Pictures that are read at the same time; each is in memory as a whole."""


@dataclass(frozen=True)
class Preflight:
    """What was found.

    Attributes:
        manifest: Counts of the manifest.
        store: What the output location can do.
        models: The weights of the clips asked for, each once.
    """

    manifest: ManifestSummary
    store: StoreCapabilities
    models: tuple[ModelIdentity, ...]


def check_batch(
    manifest: str,
    out: str,
    config: RenderConfig,
    *,
    where: str | None = None,
    limit: int | None = None,
) -> Preflight:
    """Check a batch's manifest, pictures, output location and models, and leave nothing behind.

    Args:
        manifest: Path or URI of the manifest.
        out: Path or URI of the output.
        config: Model and look.
        where: SQL condition over the manifest's columns.
        limit: Take only the first so many clips that satisfy `where`.

    Raises:
        ManifestError: The manifest has problems, or pictures that it names cannot be used.
        InputError: `where` is not a condition over the columns, or the certificate to sign with
            or the watermark cannot be used.
        RenderError: The storage of a picture failed, which may go away.
        InputError: No ffmpeg of this machine has the encoder.
        StoreInputError: The output cannot be used.
        ModelError: A checkpoint or a LoRA cannot be used.
    """
    summary = validate_manifest(manifest, config)
    check_tools(config)
    weights = read_weights(manifest, config, where=where, limit=limit)
    check_pictures(manifest, config, where=where, limit=limit)
    # Models come last, because finding out about one may take a download.
    capabilities = check_store(open_store(out, storage=config.storage))
    identities = (identify(config, model, loras) for model, loras in weights)
    return Preflight(summary, capabilities, tuple(identities))


def check_tools(config: RenderConfig) -> None:
    """Make sure that this machine, and so probably the workers too, can finish clips as asked.

    Raises:
        InputError: No ffmpeg has the encoder, or the certificate to sign with or the watermark
            cannot be used.
    """
    require_encoder(config.encoder)
    check_signing(config.provenance)
    check_watermark(config.watermark)


def require_encoder(encoder: EncoderConfig) -> None:
    """Make sure that this machine, and so probably the workers too, can encode.

    Raises:
        InputError: No ffmpeg has the encoder.
    """
    try:
        find_ffmpeg(PROFILES[encoder.profile].encoder)
    except EncodeError as error:
        raise InputError(str(error)) from error


def check_signing(config: ProvenanceConfig) -> None:
    """Sign something with the certificate that is configured, time stamp included.

    Raises:
        InputError: It cannot be used.
    """
    identity = read_identity(config)
    if identity is not None:
        from tempprop.provenance.signing import try_timestamp  # noqa: PLC0415 - as in `sealing`

        try_timestamp(identity)


def check_watermark(config: WatermarkConfig | None) -> None:
    """Draw the watermark that is configured, if any.

    Raises:
        InputError: Its picture cannot be used, or its text has letters that would be boxes.
    """
    if config is not None:
        from tempprop.watermark import draw_watermark  # noqa: PLC0415 - for those who have one

        draw_watermark(np.zeros((1, 64, 64, 3), np.uint8), config)


def check_pictures(
    manifest: str, config: RenderConfig, *, where: str | None = None, limit: int | None = None
) -> None:
    """Read every picture that a clip asked for starts from, to its end.

    Args:
        manifest: Path or URI of the manifest.
        config: Model and look.
        where: SQL condition over the manifest's columns.
        limit: Take only the first so many clips that satisfy `where`.

    Raises:
        ManifestError: Pictures cannot be used; each is told, with all of its rows.
        InputError: `where` is not a condition over the columns.
        RenderError: The storage failed, which may go away.
    """
    verdict = lru_cache(maxsize=RECENT_PICTURES)(_verdict_on_picture)
    with ThreadPoolExecutor(PICTURE_READERS) as pool:

        def verdicts(uris: Sequence[str]) -> Iterator[tuple[str, str] | None]:
            return pool.map(verdict, uris)

        check_texts(manifest, config, "init_image", verdicts, where=where, limit=limit)


def _verdict_on_picture(uri: str) -> tuple[str, str] | None:
    """Say what is wrong with a picture, and what to do about it."""
    try:
        picture_digest(uri)
    except PictureError as error:
        return error.reason, error.remedy
    return None


def identify(config: RenderConfig, model: str, loras: tuple[LoRA, ...]) -> ModelIdentity:
    """Find the weights behind a name in a manifest, under the rules of a configuration."""
    if is_test_card(model):
        return identify_test_card(model, loras)
    from tempprop.pipeline import identify_model  # noqa: PLC0415 - it takes seconds

    return identify_model(
        model,
        revision=config.revision,
        scheduler=config.scheduler,
        loras=loras,
        allow_pickle=config.allow_pickle,
    )
