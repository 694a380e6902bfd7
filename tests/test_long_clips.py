"""A clip of thousands of frames takes no more memory at its end than at its beginning."""

import gc
import tracemalloc
from contextlib import suppress
from itertools import islice

import pytest
import torch
from rendering import STRONG, clip_spec, loaded
from tiny_pipelines import stable_diffusion

from tempprop.render import render_clip
from tempprop.spec import Motion

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _tensor_bytes():
    """Add up the memory of all tensors that are alive."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor):
            storage = thing.untyped_storage()
            # A tensor that another test has traced has a size, and no memory.
            with suppress(RuntimeError):
                storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def test_memory_does_not_grow_with_the_clip():
    """Frames 200 and 1896 are both the ninth of their batch, and long past the first keyframe."""
    spec = clip_spec(
        **STRONG,
        num_frames=2000,
        num_inference_steps=1,
        keyframe_interval=50,
        motion=Motion(translation_x=1, zoom=1.001),
        loop=True,
    )
    frames = render_clip(loaded(stable_diffusion()), spec, frames_per_batch=16)
    memory, first = [], 0
    tracemalloc.start()
    for last in (200, 1896):
        for frame in islice(frames, last + 1 - first):
            assert frame.shape == (32, 32, 3)
        memory.append((_tensor_bytes(), tracemalloc.get_traced_memory()[0]))
        first = last + 1
    tracemalloc.stop()
    (early_tensors, early), (late_tensors, late) = memory
    assert late_tensors == early_tensors
    # Less than it would take to keep as much as one 3x3 map of each frame.
    assert late - early < 72 * (1896 - 200)
    assert sum(1 for _ in frames) == 2000 - 1897
