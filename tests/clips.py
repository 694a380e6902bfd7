"""Manifests and specs of clips that a tiny checkpoint renders in seconds."""

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

from tempprop.manifest_writing import write_manifest
from tempprop.pipeline import identify_model
from tempprop.planned_clip import PlannedClip
from tempprop.spec import ClipSettings, ClipSpec, RenderConfig, RetryConfig, WorkerConfig, clip_key

SLOW_STEPS = 150
"""Denoising steps that take a tiny checkpoint seconds: long enough to be killed in the middle."""


def tiny_config(checkpoint: Path, *, steps: int = 3, **values) -> RenderConfig:
    defaults = {
        "frames_per_batch": 16,
        "workers": WorkerConfig(torch_threads=1, canary=False),
        "clip": ClipSettings(width=32, height=32, num_frames=6, num_inference_steps=steps),
        "retries": RetryConfig(max_attempts=2, max_worker_deaths=3),
    }
    return RenderConfig(model=str(checkpoint), **(defaults | values))


def tiny_overrides(checkpoint: Path, *, steps: int = 3) -> list[str]:
    values = {
        "model": checkpoint,
        "frames_per_batch": 16,
        "clip.width": 32,
        "clip.height": 32,
        "clip.num_frames": 6,
        "clip.num_inference_steps": steps,
        "workers.torch_threads": 1,
        "workers.canary": "false",
    }
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


def card_overrides(seconds: float) -> list[str]:
    """One worker that waits so long for each clip: for tests of the route, which need no model."""
    values = {
        "model": f"test-card?seconds={seconds}",
        "clip.width": 32,
        "clip.height": 32,
        "clip.num_frames": 2,
        "workers.num_workers": 1,
        "workers.canary": "false",
    }
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


def broken_checkpoint(checkpoint: Path, directory: Path) -> Path:
    """A copy of a checkpoint that loads, and whose every picture is NaN."""
    pipeline = StableDiffusionPipeline.from_pretrained(checkpoint)
    pipeline.unet.conv_out.weight.data.fill_(torch.nan)
    pipeline.save_pretrained(directory)
    return directory


def planned(config: RenderConfig, clip_id: str, **values) -> PlannedClip:
    settings = config.clip.model_dump() | {"model": config.model, "seed": 1} | values
    spec = ClipSpec(clip_id=clip_id, prompt=f"a picture of {clip_id}", **settings)
    identity = identify_model(spec.model, loras=spec.loras)
    return PlannedClip(clip_key(spec, config, identity), spec, identity)


def small_manifest(directory: Path, count: int, **last: object) -> Path:
    """Write a manifest of short clips; the values in `last` are those of the last row."""
    rows = [{"clip_id": f"clip-{n:02}", "prompt": f"picture {n}"} for n in range(count)]
    rows[-1] |= last
    path = directory / "clips.parquet"
    write_manifest(rows, str(path))
    return path
