"""Clips of tiny pipelines: how a test asks for them and compares them."""

from collections import defaultdict
from typing import Any

import numpy as np
import torch

from tempprop.pipeline import LoadedModel
from tempprop.render import Frames, render_clips
from tempprop.spec import ClipSpec, ModelIdentity

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


def render(
    model: LoadedModel, *specs: ClipSpec, frames_per_batch: int = 16, **options: Any
) -> dict[str, Frames]:
    """Render; returns the frames of each clip by its id."""
    clips: dict[str, list[Frames]] = defaultdict(list)
    for chunk in render_clips(model, specs, frames_per_batch=frames_per_batch, **options):
        assert chunk.first_frame == sum(len(frames) for frames in clips[chunk.clip_id])
        clips[chunk.clip_id].append(chunk.frames)
    return {clip_id: np.concatenate(chunks) for clip_id, chunks in clips.items()}


def largest_difference(one: Frames, other: Frames) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())
