"""Coupling in series: each frame is drawn to the finished frame before it.

The coupling of `tempprop.propagation` draws a frame, at every step, to what the frame before it was
estimated to become at that step: blurred at first, then sharper. Here it is drawn at every step to
what the frame before it did become, which allows no two frames of a clip in one batch.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from tempprop.checkpoint import ClipState
from tempprop.errors import RenderError
from tempprop.frames import FrameChunk, Frames
from tempprop.pipeline import LoadedModel
from tempprop.prompts import PromptEncoder
from tempprop.render import render_clips
from tempprop.spec import ClipSpec


def in_series(state: ClipState) -> ClipState:
    """Replace what the coupling saw of the frames at each step by what it saw at the last.

    The clean estimate of the last step is the finished latent, of the frame before as well as of
    the anchor. As a carry it is what the next frame is coupled to at all of its steps.
    """
    return replace(state, carry=(state.carry[-1],) * len(state.carry))


def rendered_in_series(
    model: LoadedModel, encode: PromptEncoder, specs: Sequence[ClipSpec]
) -> list[Frames]:
    """Render clips of equal length side by side, frame after frame.

    Args:
        model: The pipeline.
        encode: Encodes prompts.
        specs: Clips that agree in size, steps and guidance; all are denoised in one batch.

    Returns:
        All frames of each clip, in order.

    Raises:
        RenderError: Memory does not suffice for a frame of each at a time.
    """
    states: dict[str, ClipState] = {}
    clips: dict[str, list[Frames]] = {spec.clip_id: [] for spec in specs}
    for _ in range(specs[0].num_frames):
        for chunk in next_frames(model, encode, specs, states):
            clips[chunk.clip_id].append(chunk.frames)
            if chunk.state is not None:
                states[chunk.clip_id] = in_series(chunk.state)
    return [np.concatenate(frames) for frames in clips.values()]


def next_frames(
    model: LoadedModel,
    encode: PromptEncoder,
    specs: Sequence[ClipSpec],
    states: dict[str, ClipState],
) -> list[FrameChunk]:
    """Render one frame of each clip.

    Args:
        model: The pipeline.
        encode: Encodes prompts.
        specs: The clips.
        states: By clip_id, what each goes on from; none of a clip that begins.

    Raises:
        RenderError: Memory does not suffice for a frame of each at a time.
    """
    rendering = render_clips(
        model,
        specs,
        frames_per_batch=len(specs),
        frames_in_turn=1,
        encoder=encode,
        states=states,
    )
    chunks = list(islice(rendering, len(specs)))
    if len({chunk.clip_id for chunk in chunks}) < len(specs):
        raise RenderError(
            f"memory does not suffice for {len(specs)} clips side by side. "
            "Give fewer frames a batch"
        )
    return chunks
