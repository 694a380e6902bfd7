"""The shape in which each model family holds a picture's latent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tempprop.errors import ModelError

UNPACKED_FAMILIES = (
    "StableDiffusionPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusion3Pipeline",
    "LatentConsistencyModelPipeline",
    "PixArtSigmaPipeline",
    "ZImagePipeline",
)
"""Pipelines whose latents are `(batch, channels, height / scale, width / scale)`."""

PACKED_FAMILIES = ("FluxPipeline",)
"""Pipelines that fold 2x2 latent pixels into one token: `(batch, tokens, 4 * channels)`."""

SUPPORTED_FAMILIES = UNPACKED_FAMILIES + PACKED_FAMILIES


@dataclass(frozen=True)
class LatentLayout:
    """How a pipeline holds one picture's latent.

    Attributes:
        shape: `(channels, height, width)` in latent pixels.
        dtype: Precision that the pipeline expects of the latents that it is given.
        pack: Turns latents `(batch, channels, height, width)` into what the pipeline takes.
        unpack: Its inverse.
    """

    shape: tuple[int, int, int]
    dtype: torch.dtype
    pack: Callable[[torch.Tensor], torch.Tensor]
    unpack: Callable[[torch.Tensor], torch.Tensor]


def latent_layout(pipeline: Any, height: int, width: int) -> LatentLayout:
    """Find out how a pipeline holds latents of pictures of a given size.

    Args:
        pipeline: A pipeline of one of the `SUPPORTED_FAMILIES`.
        height: Pixels.
        width: Pixels.

    Raises:
        ModelError: The family is not supported, or the size is not a multiple of what it needs.
    """
    family = type(pipeline).__name__
    packed = family in PACKED_FAMILIES
    denoiser = pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer
    granularity = pipeline.vae_scale_factor * (2 if packed or family == "ZImagePipeline" else 1)
    if height % granularity or width % granularity:
        raise ModelError(
            f"{family} renders sizes that are multiples of {granularity} pixels, "
            f"not {width}x{height}"
        )
    channels = denoiser.config.in_channels // (4 if packed else 1)
    shape = (channels, height // pipeline.vae_scale_factor, width // pipeline.vae_scale_factor)
    dtype = torch.float32 if family == "ZImagePipeline" else denoiser.dtype

    def pack(latents: torch.Tensor) -> torch.Tensor:
        if not packed:
            return latents
        packed_latents: torch.Tensor = pipeline._pack_latents(latents, len(latents), *shape)
        return packed_latents

    def unpack(latents: torch.Tensor) -> torch.Tensor:
        if not packed:
            return latents
        scale = pipeline.vae_scale_factor
        unpacked_latents: torch.Tensor = pipeline._unpack_latents(latents, height, width, scale)
        return unpacked_latents

    return LatentLayout(shape, dtype, pack, unpack)
