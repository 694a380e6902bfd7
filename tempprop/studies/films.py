"""Frames for the studies: clips of the embedded model, and films that the world itself draws."""

from collections.abc import Callable, Sequence

import numpy as np

from tempprop.frames import Frames
from tempprop.mini.world import Motion, draw_video
from tempprop.pipeline import LoadedModel
from tempprop.prompts import PromptEncoder
from tempprop.render import render_clips
from tempprop.spec import ClipSpec
from tempprop.studies.subjects import Subject

LIVELY = Motion(bob=0.05, sway=8, growth=1.15)
"""How things move in the films for comparison: they swing up and down, sway and grow."""

Report = Callable[[float], None]
"""Takes the share of the work that is done, 0 to 1."""


def rendered(
    model: LoadedModel,
    encoder: PromptEncoder,
    specs: Sequence[ClipSpec],
    report: Report,
    frames_per_batch: int = 16,
) -> list[Frames]:
    """Render clips that agree in size, steps and guidance; returns all frames of each, in order."""
    clips: dict[str, list[Frames]] = {spec.clip_id: [] for spec in specs}
    total = sum(spec.num_frames for spec in specs)
    done = 0
    rendering = render_clips(model, specs, encoder=encoder, frames_per_batch=frames_per_batch)
    for chunk in rendering:
        clips[chunk.clip_id].append(chunk.frames)
        done += len(chunk.frames)
        report(done / total)
    return [np.concatenate(frames) for frames in clips.values()]


def drawn_film(subject: Subject, num_frames: int) -> Frames:
    """Draw a lively film of a subject's scene: what a film of the world should measure."""
    return draw_video(subject.scene, LIVELY, num_frames)
