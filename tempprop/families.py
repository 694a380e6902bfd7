"""The families of text-to-image pipelines: all that sets one apart from another, as one table.

A row says how a diffusers pipeline holds a picture's latent and its prompt, what it makes of a
guidance scale, and which of its call's options must be off for the picture to be the one that was
asked for. The rest of tempprop reads the table and knows no family by name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import torch

from tempprop.errors import ModelError

AS_ASKED = MappingProxyType(
    {"use_resolution_binning": False, "clean_caption": False, "negative_prompt": None}
)
"""Keeps a pipeline from rendering another size, or another text, than was asked for.

The negative prompt is given as embeddings; these pipelines have an empty text as well by default.
"""

SEQUENCES = ("prompt_embeds", "negative_prompt_embeds")
SEQUENCES_AND_POOLED = (*SEQUENCES, "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
MASKED_SEQUENCES = (
    *("prompt_embeds", "prompt_attention_mask"),
    *("negative_prompt_embeds", "negative_prompt_attention_mask"),
)


@dataclass(frozen=True)
class Family:
    """What sets the pipelines of one class apart.

    Attributes:
        pipeline_class: Name of the class in diffusers.
        models: What its checkpoints are called.
        embeddings: Which arguments of the call the outputs of `encode_prompt` are, in their order;
            None for those that are none.
        prompt_lengths: What becomes of prompts of different lengths in one batch: the embeddings
            are `equal` in length, whatever the prompt; they are `listed` one by one; the longer
            ones leave the others `masked`; or such prompts are rendered `apart`, because nothing
            would tell the padding from the prompt.
        latents: How the pipeline holds a batch of latents of `(channels, h, w)`: as a `grid`
            `(batch, channels, h, w)`; as `tokens` `(batch, h/2 * w/2, 4 * channels)`, one for
            2x2 latent pixels; or as tokens that it makes itself of `patches`
            `(batch, 4 * channels, h/2, w/2)`.
        size_multiple: Latent pixels that width and height are multiples of.
        float32_latents: The latents stay in float32, whatever the precision of the weights.
        distilled: Whether guidance is distilled into the weights of `none`, `some` or `all` of its
            checkpoints, so that no negative prompt counts; see `has_distilled_guidance`.
        guidance: The call's argument for the scale of classifier-free guidance.
        guidance_above: The scale from which on the pipeline runs the model on the negative prompt
            as well; at or below it, classifier-free guidance is off.
        default_negative_prompt: What guidance leads away from when no negative prompt is given,
            for pipelines that encode one prompt at a time; None where they do not guide then.
        predicts_flow: Whether the models predict a flow, and no noise or velocity.
        shifts_schedule: Whether the pipeline hands its scheduler sigmas, and a shift `mu` that
            follows from the size.
        step_generator: Whether the pipeline passes a generator to `scheduler.step`.
        normalization: What the denoiser sees of the autoencoder's latents z: `scaled` by its
            scaling_factor; `shifted` by its shift_factor and then scaled; `standardized` by its
            latents_mean and latents_std, where it has them, and scaled, where it has a
            scaling_factor; or through its `batch norm`, 2x2 latent pixels at a time. See
            `tempprop.autoencoder`.
        autoencodes_videos: Whether the autoencoder takes pictures as videos of one frame.
        options: Further arguments of the call.
    """

    pipeline_class: str
    models: str
    embeddings: tuple[str | None, ...]
    prompt_lengths: Literal["equal", "listed", "masked", "apart"] = "equal"
    latents: Literal["grid", "tokens", "patches"] = "grid"
    size_multiple: int = 1
    float32_latents: bool = False
    distilled: Literal["none", "some", "all"] = "none"
    guidance: Literal["guidance_scale", "true_cfg_scale"] = "guidance_scale"
    guidance_above: float = 1.0
    default_negative_prompt: str | None = None
    predicts_flow: bool = False
    shifts_schedule: bool = False
    step_generator: bool = True
    normalization: Literal["scaled", "shifted", "standardized", "batch norm"] = "scaled"
    autoencodes_videos: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def encodes_pairs(self) -> bool:
        """Whether `encode_prompt` takes a prompt and its negative prompt in one call."""
        return "negative_prompt_embeds" in self.embeddings

    @property
    def packed(self) -> bool:
        """Whether a frame's latent is a row of tokens without a height and a width."""
        return self.latents != "grid"


_TABLE = (
    Family("StableDiffusionPipeline", "Stable Diffusion 1, 2", SEQUENCES),
    Family(
        "StableDiffusionXLPipeline",
        "SDXL, SDXL Turbo",
        SEQUENCES_AND_POOLED,
        normalization="standardized",
    ),
    Family("LatentConsistencyModelPipeline", "LCM", SEQUENCES, distilled="all"),
    Family("KolorsPipeline", "Kolors", SEQUENCES_AND_POOLED),
    Family(
        "StableDiffusion3Pipeline",
        "Stable Diffusion 3",
        SEQUENCES_AND_POOLED,
        size_multiple=2,
        predicts_flow=True,
        step_generator=False,
        normalization="shifted",
    ),
    Family(
        "FluxPipeline",
        "FLUX.1",
        ("prompt_embeds", "pooled_prompt_embeds", None),
        latents="tokens",
        size_multiple=2,
        distilled="some",
        guidance="true_cfg_scale",
        predicts_flow=True,
        shifts_schedule=True,
        step_generator=False,
        normalization="shifted",
    ),
    Family(
        "Flux2KleinPipeline",
        "FLUX.2 klein",
        ("prompt_embeds", None),
        latents="patches",
        size_multiple=2,
        distilled="some",
        default_negative_prompt="",
        predicts_flow=True,
        shifts_schedule=True,
        step_generator=False,
        normalization="batch norm",
    ),
    Family(
        "ZImagePipeline",
        "Z-Image",
        SEQUENCES,
        prompt_lengths="listed",
        size_multiple=2,
        float32_latents=True,
        guidance_above=0.0,
        predicts_flow=True,
        shifts_schedule=True,
        step_generator=False,
        normalization="shifted",
    ),
    Family(
        "QwenImagePipeline",
        "Qwen-Image",
        ("prompt_embeds", "prompt_embeds_mask"),
        prompt_lengths="masked",
        latents="tokens",
        size_multiple=2,
        guidance="true_cfg_scale",
        # What the model's card gives; without any negative prompt the pipeline does not guide.
        default_negative_prompt=" ",
        predicts_flow=True,
        shifts_schedule=True,
        step_generator=False,
        normalization="standardized",
        autoencodes_videos=True,
    ),
    Family(
        "SanaPipeline",
        "Sana",
        MASKED_SEQUENCES,
        float32_latents=True,
        options=AS_ASKED,
        predicts_flow=True,
    ),
    Family(
        "PixArtSigmaPipeline", "PixArt-Sigma", MASKED_SEQUENCES, size_multiple=2, options=AS_ASKED
    ),
    Family(
        "Lumina2Pipeline",
        "Lumina Image 2.0",
        MASKED_SEQUENCES,
        size_multiple=2,
        predicts_flow=True,
        shifts_schedule=True,
        step_generator=False,
        normalization="shifted",
    ),
    Family(
        "CogView4Pipeline",
        "CogView4",
        SEQUENCES,
        prompt_lengths="apart",
        size_multiple=2,
        float32_latents=True,
        predicts_flow=True,
        shifts_schedule=True,
        step_generator=False,
    ),
)

FAMILIES: Mapping[str, Family] = MappingProxyType({row.pipeline_class: row for row in _TABLE})
"""Every family that can propagate, by the name of its pipeline class."""


def family_of(pipeline: Any) -> Family:
    """Look a pipeline up in the table.

    Raises:
        ModelError: The table has no row for it.
    """
    name = type(pipeline).__name__
    if name not in FAMILIES:
        raise ModelError(
            f"{name} is not one of the text-to-image pipelines of this version. "
            f"Use one of: {', '.join(FAMILIES)}"
        )
    return FAMILIES[name]


def denoiser_of(pipeline: Any) -> Any:
    """Give the network that a pipeline runs at every step: a U-Net or a transformer."""
    return pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer


def precision_of(pipeline: Any) -> str:
    """Name the precision that a pipeline denoises in, as configurations do: `float32`, say."""
    return str(denoiser_of(pipeline).dtype).removeprefix("torch.")


@dataclass(frozen=True)
class LatentLayout:
    """How a pipeline holds one picture's latent.

    Attributes:
        shape: `(channels, height, width)` in latent pixels.
        scale: Pixels to a latent pixel, in each direction.
        dtype: Precision that the pipeline expects of the latents that it is given.
        pack: Turns latents `(batch, channels, height, width)` into what the pipeline takes.
        packed: Whether the scheduler sees tokens of 2x2 latent pixels, shape
            `(batch, tokens, 4 * channels)`.
    """

    shape: tuple[int, int, int]
    scale: int
    dtype: torch.dtype
    pack: Callable[[torch.Tensor], torch.Tensor]
    packed: bool

    def to_grid(self, latents: torch.Tensor) -> torch.Tensor:
        """Turn latents as the scheduler sees them into `(batch, channels, height, width)`."""
        if not self.packed:
            return latents
        channels, height, width = self.shape
        patches = latents.reshape(-1, height // 2, width // 2, channels, 2, 2)
        return patches.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, height, width)

    def from_grid(self, grid: torch.Tensor) -> torch.Tensor:
        """Turn `(batch, channels, height, width)` into latents as the scheduler sees them."""
        if not self.packed:
            return grid
        channels, height, width = self.shape
        patches = grid.reshape(-1, channels, height // 2, 2, width // 2, 2)
        return patches.permute(0, 2, 4, 1, 3, 5).reshape(len(grid), -1, 4 * channels)


def latent_layout(pipeline: Any, height: int, width: int) -> LatentLayout:
    """Find out how a pipeline holds latents of pictures of a given size.

    Args:
        pipeline: A pipeline of one of the `FAMILIES`.
        height: Pixels.
        width: Pixels.

    Raises:
        ModelError: The family is not supported, or the size is not a multiple of what it needs.
    """
    family = family_of(pipeline)
    scale = int(pipeline.vae_scale_factor)
    granularity = scale * family.size_multiple
    if height % granularity or width % granularity:
        raise ModelError(
            f"{family.pipeline_class} renders sizes that are multiples of {granularity} pixels, "
            f"not {width}x{height}. Change width and height"
        )
    denoiser = denoiser_of(pipeline)
    channels = denoiser.config.in_channels // (4 if family.packed else 1)
    shape = (channels, height // scale, width // scale)

    def pack(latents: torch.Tensor) -> torch.Tensor:
        packed: torch.Tensor = latents
        if family.latents == "tokens":
            packed = pipeline._pack_latents(latents, len(latents), *shape)
        elif family.latents == "patches":
            packed = pipeline._patchify_latents(latents)
        return packed

    dtype = torch.float32 if family.float32_latents else denoiser.dtype
    return LatentLayout(shape, scale, dtype, pack, family.packed)


def has_distilled_guidance(pipeline: Any) -> bool:
    """Tell whether guidance was distilled into the weights, so that no negative prompt counts.

    Such a checkpoint takes the scale as an embedding, or has a fixed one (Meng et al., "On
    Distillation of Guided Diffusion Models", 2023).
    """
    config = denoiser_of(pipeline).config
    return bool(
        config.get("guidance_embeds")
        or config.get("time_cond_proj_dim")
        or pipeline.config.get("is_distilled")
    )


def is_guided(pipeline: Any, guidance_scale: float, negative_prompt: str) -> bool:
    """Tell whether each step also runs the model on the negative prompt.

    Args:
        pipeline: A pipeline of one of the `FAMILIES`.
        guidance_scale: Scale of the guidance.
        negative_prompt: What guidance leads away from; empty for none.

    Raises:
        ModelError: There is a negative prompt, and the checkpoint's guidance is distilled.
    """
    family = family_of(pipeline)
    if not has_distilled_guidance(pipeline):
        leads_away = family.encodes_pairs or family.default_negative_prompt is not None
        return guidance_scale > family.guidance_above and (leads_away or bool(negative_prompt))
    if negative_prompt:
        raise ModelError(
            f"this {family.pipeline_class} cannot be led away from {negative_prompt!r}: its "
            "guidance is distilled into its weights. Leave negative_prompt empty"
        )
    return False


def guidance_arguments(pipeline: Any, guidance_scale: float) -> dict[str, float]:
    """Name the scale as the call of a pipeline does: distilled or classifier-free.

    Args:
        pipeline: A pipeline of one of the `FAMILIES`.
        guidance_scale: Scale of the guidance that the checkpoint has.
    """
    family = family_of(pipeline)
    if family.guidance == "true_cfg_scale" and has_distilled_guidance(pipeline):
        return {"guidance_scale": guidance_scale, "true_cfg_scale": 1.0}
    return {family.guidance: guidance_scale}
