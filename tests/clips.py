"""Manifests and specs of clips that a tiny checkpoint renders in seconds."""

from pathlib import Path

from tempprop.manifest_writing import write_manifest
from tempprop.pipeline import identify_model
from tempprop.plan import PlannedClip
from tempprop.spec import ClipSettings, ClipSpec, RenderConfig, RetryConfig, clip_key

SLOW_STEPS = 150
"""Denoising steps that take a tiny checkpoint seconds: long enough to be killed in the middle."""


def tiny_config(checkpoint: Path, *, steps: int = 3, **values) -> RenderConfig:
    return RenderConfig(
        model=str(checkpoint),
        clip=ClipSettings(width=32, height=32, num_frames=6, num_inference_steps=steps),
        retries=RetryConfig(max_attempts=2, max_worker_deaths=3),
        **values,
    )


def tiny_overrides(checkpoint: Path, *, steps: int = 3) -> list[str]:
    values = {
        "model": checkpoint,
        "clip.width": 32,
        "clip.height": 32,
        "clip.num_frames": 6,
        "clip.num_inference_steps": steps,
    }
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


def planned(config: RenderConfig, clip_id: str, **values) -> PlannedClip:
    settings = config.clip.model_dump() | {"model": config.model, "seed": 1} | values
    spec = ClipSpec(clip_id=clip_id, prompt=f"a picture of {clip_id}", **settings)
    identity = identify_model(spec.model, loras=spec.loras)
    return PlannedClip(clip_key(spec, config, identity), spec, identity)


def small_manifest(directory: Path, count: int) -> Path:
    path = directory / "clips.parquet"
    write_manifest(
        [{"clip_id": f"clip-{n:02}", "prompt": f"picture {n}"} for n in range(count)], str(path)
    )
    return path
