"""A clip that waits to be rendered, and how much work it is."""

from dataclasses import dataclass

from tempprop.spec import ClipSpec, LoRA, ModelIdentity

Weights = tuple[str, tuple[LoRA, ...]]
"""A model and its LoRAs, as a clip names them."""


@dataclass(frozen=True)
class PlannedClip:
    """A clip that waits to be rendered.

    Attributes:
        key: Its content key.
        spec: What to render.
        identity: The weights that the key was made with.
        init_image_sha256: Digest of the picture that the key was made with; None for none.
    """

    key: str
    spec: ClipSpec
    identity: ModelIdentity
    init_image_sha256: str | None = None

    @property
    def weights(self) -> Weights:
        """The model and the LoRAs that it needs."""
        return self.spec.model, self.spec.loras


def clip_cost(spec: ClipSpec) -> int:
    """Estimate a clip's work: frames x steps x pixels, the work of one model in proportion."""
    return spec.num_frames * spec.num_inference_steps * spec.width * spec.height
