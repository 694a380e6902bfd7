"""Clips of real pipelines with every row of the table of schedulers."""

import functools

import numpy as np
import pytest
import torch
from scheduler_rows import every_row, make_scheduler
from tiny_pipelines import stable_diffusion, stable_diffusion_3

from tempprop.families import latent_layout
from tempprop.noise import correlated_noise, step_noise_generator
from tempprop.pipeline import LoadedModel
from tempprop.render import render_clips, to_uint8
from tempprop.spec import ClipSpec, ModelIdentity

SIZE = 16
FRAMES = 3
ROUNDING = 1
"""Levels of 255 by which pixels may differ when only the batch differs (2e-6 in the latents)."""


@functools.cache
def _pipeline(predicts):
    return stable_diffusion_3() if predicts == "flow_prediction" else stable_diffusion()


def _model(name, predicts, eta=None):
    pipeline = _pipeline(predicts)
    pipeline.scheduler = make_scheduler(name, predicts)
    identity = ModelIdentity(uri="tiny", pipeline_class=type(pipeline).__name__, digest="0")
    return LoadedModel(pipeline, identity, torch.device("cpu"), eta)


def _spec(**values):
    defaults = {
        "clip_id": "clip",
        "prompt": "a hen",
        "seed": 11,
        "model": "tiny",
        "num_frames": FRAMES,
        "width": SIZE,
        "height": SIZE,
        "num_inference_steps": 4,
        "guidance_scale": 2.0,
        "noise_correlation": 0.5,
        "propagation_strength": 0.0,
        "color_coherence": 0.0,
    }
    return ClipSpec(**(defaults | values))


def _strong(keeps):
    return _spec(propagation_strength=0.9, color_coherence=0.3, propagation_keeps=keeps)


def _frames(model, spec, frames_per_batch=FRAMES):
    chunks = render_clips(model, [spec], frames_per_batch=frames_per_batch)
    return np.concatenate([chunk.frames for chunk in chunks])


def _largest_difference(one, other):
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def _plain(model, spec):
    """Call the pipeline as a user of diffusers would, with a clip's noise."""
    layout = latent_layout(model.pipeline, SIZE, SIZE)
    noise = correlated_noise(spec.seed, 0, FRAMES, layout.shape, spec.noise_correlation)
    images = model.pipeline(
        prompt=[spec.prompt] * FRAMES,
        latents=layout.pack(noise),
        generator=[step_noise_generator(spec.seed) for _ in range(FRAMES)],
        width=SIZE,
        height=SIZE,
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        output_type="pt",
    ).images
    return to_uint8(images)


@every_row
def test_without_coupling_it_is_plain_diffusers_to_the_bit(name, predicts):
    model = _model(name, predicts)
    assert np.array_equal(_frames(model, _spec()), _plain(model, _spec()))


@every_row
@pytest.mark.parametrize("keeps", ["noise", "sample"])
def test_coupling_changes_later_frames_only_and_is_chunk_exact(name, predicts, keeps):
    model = _model(name, predicts)
    free, whole = _frames(model, _spec()), _frames(model, _strong(keeps))
    assert np.array_equal(whole[0], free[0])
    assert not np.array_equal(whole[1], free[1])
    assert _largest_difference(whole, _frames(model, _strong(keeps), 2)) <= ROUNDING


@every_row
def test_full_coupling_with_full_noise_correlation_is_a_frozen_clip(name, predicts):
    model = _model(name, predicts)
    spec = _spec(
        noise_correlation=1.0, propagation_strength=1.0, propagation_end=1.0, motion_floor=0.0
    )
    clip = _frames(model, spec)
    assert _largest_difference(clip, np.broadcast_to(clip[0], clip.shape)) <= ROUNDING


def test_eta_makes_noise_that_is_chunk_exact():
    free, noisy = (_model("TCDScheduler", "epsilon", eta) for eta in (None, 0.5))
    whole = _frames(noisy, _strong("sample"))
    assert not np.array_equal(whole, _frames(free, _strong("sample")))
    assert _largest_difference(whole, _frames(noisy, _strong("sample"), 2)) <= ROUNDING
