"""Clips of tiny pipelines: how a test asks for them and compares them."""

from collections import defaultdict
from typing import Any

import numpy as np
import torch

from tempprop.families import latent_layout
from tempprop.frames import Frames
from tempprop.init_image import load_picture
from tempprop.noise import correlated_noise, step_noise_generator
from tempprop.pipeline import LoadedModel
from tempprop.render import render_clips, to_uint8
from tempprop.spec import ClipSettings, ClipSpec, ModelIdentity

ROUNDING = 1
"""Levels of 255 by which pixels may differ when only the batch differs (2e-6 in the latents)."""

STRONG = {"propagation_strength": 0.9, "anchor_weight": 0.2, "color_coherence": 0.3}


def loaded(pipeline: Any) -> LoadedModel:
    identity = ModelIdentity(uri="tiny", pipeline_class=type(pipeline).__name__, digest="0")
    return LoadedModel(pipeline, identity, torch.device("cpu"))


def clip_spec(clip_id: str = "clip", **values: Any) -> ClipSpec:
    """Describe a small clip without any coupling."""
    defaults = {
        "prompt": f"a picture of {clip_id}",
        "seed": 11,
        "model": "tiny",
        "num_frames": 5,
        "width": 32,
        "height": 32,
        "num_inference_steps": 3,
        "guidance_scale": 3.0,
        "noise_correlation": 0.5,
        "propagation_strength": 0.0,
        "color_coherence": 0.0,
    }
    return ClipSpec(clip_id=clip_id, **(defaults | values))


def strengths(**values: Any) -> ClipSettings:
    """Settings that couple nothing but what is asked for."""
    defaults = {
        "propagation_strength": 0.0,
        "color_coherence": 0.0,
        "noise_correlation": 0.0,
        "anchor_weight": 0.0,
        "motion_floor": 0.0,
    }
    return ClipSettings(**(defaults | values))


def render(
    model: LoadedModel, *specs: ClipSpec, frames_per_batch: int = 16, **options: Any
) -> dict[str, Frames]:
    """Render; returns the frames of each clip by its id."""
    clips: dict[str, list[Frames]] = defaultdict(list)
    for chunk in render_clips(model, specs, frames_per_batch=frames_per_batch, **options):
        assert chunk.first_frame == sum(len(frames) for frames in clips[chunk.clip_id])
        clips[chunk.clip_id].append(chunk.frames)
    return {clip_id: np.concatenate(chunks) for clip_id, chunks in clips.items()}


def plain_diffusers(model: LoadedModel, spec: ClipSpec, **arguments: Any) -> Frames:
    """Call the pipeline as its documentation does, for several pictures of one prompt.

    The noise is that of an uncoupled clip; `arguments` are further ones of the pipeline's.
    """
    layout = latent_layout(model.pipeline, spec.height, spec.width)
    rho = spec.noise_correlation
    noise = correlated_noise(spec.seed, 0, spec.num_frames, layout.shape, rho).frames
    prompt = {"prompt": spec.prompt, "num_images_per_prompt": spec.num_frames}
    images = model.pipeline(
        **prompt | arguments,
        latents=layout.pack(noise),
        generator=[step_noise_generator(spec.seed) for _ in range(spec.num_frames)],
        width=spec.width,
        height=spec.height,
        num_inference_steps=spec.num_inference_steps,
        output_type="pt",
    ).images
    return to_uint8(images)


def autoencoder_mode(vae: Any, pictures: torch.Tensor) -> torch.Tensor:
    """Encode pictures as each class of autoencoders wants it; those of videos give five axes."""
    signal = 2 * pictures - 1
    encoded = vae.encode(signal[:, :, None] if "temperal_downsample" in vae.config else signal)
    return encoded.latent if hasattr(encoded, "latent") else encoded.latent_dist.mode()


def through_autoencoder(model: LoadedModel, spec: ClipSpec) -> Frames:
    """Encode the picture of a clip and decode it again: what its frame 0 has to be."""
    vae = model.pipeline.vae
    with torch.no_grad():
        picture = load_picture(spec.init_image, spec.width, spec.height)[None]
        decoded = vae.decode(autoencoder_mode(vae, picture.to(vae.dtype))).sample
    signal = decoded[:, :, 0] if decoded.ndim == 5 else decoded
    return to_uint8(signal / 2 + 0.5)[0]


def largest_difference(one: Frames, other: Frames) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())
