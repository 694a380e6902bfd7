"""Everything that can be found wrong before a worker is started."""

from dataclasses import dataclass

from tempprop.manifest import ManifestSummary, read_weights, validate_manifest
from tempprop.pipeline import identify_model
from tempprop.spec import LoRA, ModelIdentity, RenderConfig
from tempprop.store import StoreCapabilities, check_store, open_store


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
    """Check a batch's manifest, its output location and its models, and leave nothing behind.

    Args:
        manifest: Path or URI of the manifest.
        out: Path or URI of the output.
        config: Model and look.
        where: SQL condition over the manifest's columns.
        limit: Take only the first so many clips that satisfy `where`.

    Raises:
        ManifestError: The manifest has problems.
        InputError: `where` is not a condition over the columns.
        StoreInputError: The output cannot be used.
        ModelError: A checkpoint or a LoRA cannot be used.
    """
    summary = validate_manifest(manifest, config)
    weights = read_weights(manifest, config, where=where, limit=limit)
    # Models come last, because finding out about one may take a download.
    capabilities = check_store(open_store(out))
    identities = (identify(config, model, loras) for model, loras in weights)
    return Preflight(summary, capabilities, tuple(identities))


def identify(config: RenderConfig, model: str, loras: tuple[LoRA, ...]) -> ModelIdentity:
    """Find the weights behind a name in a manifest, under the rules of a configuration."""
    return identify_model(
        model,
        revision=config.revision,
        scheduler=config.scheduler,
        loras=loras,
        allow_pickle=config.allow_pickle,
    )
