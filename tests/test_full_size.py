"""Models of the sizes of real ones: their memory and speed on a GPU, and whether chunks are exact.

`make test-gpu` prints the figures.
"""

import time

import full_size_pipelines
import numpy as np
import pytest
import torch
from rendering import STRONG, clip_spec

from tempprop.batch_size import measured_frames_per_batch
from tempprop.pipeline import LoadedModel
from tempprop.render import render_clips
from tempprop.spec import ModelIdentity

NUM_FRAMES = 32

MEAN_ROUNDING = 0.5
"""Levels of 255, on average over a clip, that bfloat16 may make of another size of batches."""

ON_GPU = {"stable_diffusion_1_5": 512, "stable_diffusion_xl": 1024}


@pytest.mark.parametrize(
    ("build", "weights"),
    [("unet_1_5", 859_520_964), ("unet_xl", 2_567_463_684), ("autoencoder", 83_653_863)],
)
def test_the_networks_are_as_large_as_the_real_ones(build, weights):
    with torch.device("meta"):
        network = getattr(full_size_pipelines, build)()
    assert sum(parameter.numel() for parameter in network.parameters()) == weights


def loaded_on_gpu(name):
    pipeline = getattr(full_size_pipelines, name)().to("cuda", torch.bfloat16)
    identity = ModelIdentity(uri=name, pipeline_class=type(pipeline).__name__, digest="0")
    return LoadedModel(pipeline, identity, torch.device("cuda"))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ON_GPU)
def test_a_clip_renders_in_bounded_memory_and_chunks_are_exact(name):
    model, size = loaded_on_gpu(name), ON_GPU[name]
    spec = clip_spec(
        **STRONG, num_frames=NUM_FRAMES, width=size, height=size, num_inference_steps=20
    )
    frames = {}
    for frames_per_batch in (8, measured_frames_per_batch(model, spec)):
        torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        chunks = list(render_clips(model, [spec], frames_per_batch=frames_per_batch))
        seconds = time.perf_counter() - started
        frames[frames_per_batch] = np.concatenate([chunk.frames for chunk in chunks])
        print(
            f"\n{name} {size}x{size}, {spec.num_inference_steps} steps, bfloat16, "
            f"{frames_per_batch} frames a batch: {NUM_FRAMES / seconds:.2f} frames/s, peak "
            f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB, decoding "
            f"{sum(chunk.decode_seconds for chunk in chunks) / seconds:.0%} of the time"
        )
        assert frames[frames_per_batch].shape == (NUM_FRAMES, size, size, 3)
    few, many = frames.values() if len(frames) == 2 else [*frames.values()] * 2
    assert np.abs(few.astype(float) - many).mean() <= MEAN_ROUNDING
