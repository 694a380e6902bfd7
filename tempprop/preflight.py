"""Everything that can be found wrong before a worker is started."""

from dataclasses import dataclass

from tempprop.manifest import ManifestSummary, validate_manifest
from tempprop.pipeline import identify_model
from tempprop.spec import LoRA, ModelIdentity, RenderConfig
from tempprop.store import StoreCapabilities, check_store, open_store


@dataclass(frozen=True)
class Preflight:
    """What was found.

    Attributes:
        manifest: Counts of the manifest.
        store: What the output location can do.
        model: The configuration's model.
    """

    manifest: ManifestSummary
    store: StoreCapabilities
    model: ModelIdentity


def check_batch(manifest: str, out: str, config: RenderConfig) -> Preflight:
    """Check a batch's manifest, its output location and its model.

    Args:
        manifest: Path or URI of the manifest.
        out: Path or URI of the output.
        config: Model and look.

    Raises:
        ManifestError: The manifest has problems.
        StoreInputError: The output cannot be used.
        ModelError: The model cannot be used.
    """
    summary = validate_manifest(manifest, config)
    capabilities = check_store(open_store(out))
    return Preflight(summary, capabilities, identify(config, config.model, ()))


def identify(config: RenderConfig, model: str, loras: tuple[LoRA, ...]) -> ModelIdentity:
    """Find the weights behind a name in a manifest, under the rules of a configuration."""
    return identify_model(
        model, revision=config.revision, loras=loras, allow_pickle=config.allow_pickle
    )
