"""From pictures to latents: the way back through what a pipeline does before it decodes.

Between the denoiser's latents and the autoencoder's stands an affine map, which makes the latents
about as strong as the noise (Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion
Models", 2022, appendix G). Every family has its own form of it, see `Family.normalization`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from tempprop.families import family_of


def encode_pictures(pipeline: Any, pictures: torch.Tensor) -> torch.Tensor:
    """Turn pictures into the clean latents that a pipeline would decode to them.

    The autoencoder's distribution is taken at its mode, so that a picture has one latent. It
    encodes in float32, whatever the precision of its weights: some overflow in float16, SDXL's for
    example, and those that do not would round away what decoding brings back.

    Args:
        pipeline: A pipeline of one of the `FAMILIES`.
        pictures: Shape `(frames, 3, height, width)`, `[0, 1]`; of a size that `latent_layout`
            accepts.

    Returns:
        Latents as the denoiser sees them, on the grid: shape `(frames, channels, h, w)`, float32,
        on the autoencoder's device. `LatentLayout.from_grid` turns them into what the scheduler
        sees.
    """
    family, vae = family_of(pipeline), pipeline.vae
    signals = 2 * pictures.to(vae.device, torch.float32) - 1
    with torch.no_grad(), in_precision(vae, torch.float32):
        if family.autoencodes_videos:
            latents = _mode(vae.encode(signals[:, :, None]))[:, :, 0]
        else:
            latents = _mode(vae.encode(signals))
        return _NORMALIZATIONS[family.normalization](pipeline, latents)


@contextmanager
def in_precision(vae: Any, dtype: torch.dtype) -> Iterator[None]:
    """Use an autoencoder in another precision, for the time of a `with` block.

    Weights that were widened are the same ones afterwards, to the bit.

    Args:
        vae: The autoencoder.
        dtype: The precision; its own changes nothing.
    """
    own = vae.dtype
    if own == dtype:
        yield
        return
    # The `to` of diffusers warns of parts that are to stay in float32 even where there are none.
    torch.nn.Module.to(vae, dtype)
    try:
        yield
    finally:
        torch.nn.Module.to(vae, own)


def _mode(encoded: Any) -> torch.Tensor:
    """Take the mode of the distribution; deterministic autoencoders give the latent itself."""
    if hasattr(encoded, "latent_dist"):
        mode: torch.Tensor = encoded.latent_dist.mode()
        return mode
    latent: torch.Tensor = encoded.latent
    return latent


def _scaled(pipeline: Any, latents: torch.Tensor) -> torch.Tensor:
    return latents * float(pipeline.vae.config.scaling_factor)


def _shifted(pipeline: Any, latents: torch.Tensor) -> torch.Tensor:
    return _scaled(pipeline, latents - float(pipeline.vae.config.shift_factor))


def _standardized(pipeline: Any, latents: torch.Tensor) -> torch.Tensor:
    config = pipeline.vae.config
    mean, deviation = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and deviation is not None:
        latents = (latents - _by_channel(mean, latents)) / _by_channel(deviation, latents)
    return latents * float(config.get("scaling_factor", 1.0))


def _batch_normalized(pipeline: Any, latents: torch.Tensor) -> torch.Tensor:
    norm, patches = pipeline.vae.bn, pipeline._patchify_latents(latents)
    deviation = torch.sqrt(norm.running_var + pipeline.vae.config.batch_norm_eps)
    mean = _by_channel(norm.running_mean, patches)
    normalized = (patches - mean) / _by_channel(deviation, patches)
    grid: torch.Tensor = pipeline._unpatchify_latents(normalized)
    return grid


def _by_channel(values: Any, latents: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(values, dtype=latents.dtype, device=latents.device).view(1, -1, 1, 1)


_NORMALIZATIONS: Mapping[str, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    "scaled": _scaled,
    "shifted": _shifted,
    "standardized": _standardized,
    "batch norm": _batch_normalized,
}
