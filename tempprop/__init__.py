"""tempprop: video clips from image diffusion models, by temporal propagation in batches.

In a notebook, without Ray and without Prefect:

    from tempprop import ClipSpec, load_pipeline, render_clip

    model = load_pipeline("mini")
    spec = ClipSpec(clip_id="balloon", prompt="a red balloon at dusk", seed=1, model="mini")
    for frame in render_clip(model, spec):
        ...  # uint8, shape (height, width, 3)

These names are loaded when they are first used, since torch and diffusers take seconds.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tempprop.frames import FrameChunk
    from tempprop.pipeline import LoadedModel, load_pipeline
    from tempprop.render import render_clip, render_clips
    from tempprop.spec import ClipSpec, LoRA, SchedulerConfig

__version__ = "0.1.0"

__all__ = [
    "ClipSpec",
    "FrameChunk",
    "LoRA",
    "LoadedModel",
    "SchedulerConfig",
    "load_pipeline",
    "render_clip",
    "render_clips",
]

_HOMES = {
    "ClipSpec": "spec",
    "FrameChunk": "frames",
    "LoRA": "spec",
    "LoadedModel": "pipeline",
    "SchedulerConfig": "spec",
    "load_pipeline": "pipeline",
    "render_clip": "render",
    "render_clips": "render",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
