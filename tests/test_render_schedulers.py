"""Clips of real pipelines with every row of the table of schedulers."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from rendering import (
    ROUNDING,
    clip_spec,
    largest_difference,
    loaded,
    plain_diffusers,
    render,
)
from scheduler_rows import every_row, make_scheduler
from tiny_pipelines import stable_diffusion, stable_diffusion_3

FRAMES = 3
FREE = clip_spec(num_frames=FRAMES, width=16, height=16, num_inference_steps=4, guidance_scale=2.0)


@functools.cache
def _pipeline(predicts):
    return stable_diffusion_3() if predicts == "flow_prediction" else stable_diffusion()


def _model(name, predicts, eta=None):
    pipeline = _pipeline(predicts)
    pipeline.scheduler = make_scheduler(name, predicts)
    return replace(loaded(pipeline), eta=eta)


def _coupled(**settings):
    return FREE.model_copy(update=settings)


def _strong(keeps):
    return _coupled(propagation_strength=0.9, color_coherence=0.3, propagation_keeps=keeps)


def _frames(model, spec, frames_per_batch=FRAMES):
    return render(model, spec, frames_per_batch=frames_per_batch)["clip"]


@every_row
def test_without_coupling_it_is_plain_diffusers_to_the_bit(name, predicts):
    model = _model(name, predicts)
    assert np.array_equal(_frames(model, FREE), plain_diffusers(model, FREE, guidance_scale=2.0))


@every_row
@pytest.mark.parametrize("keeps", ["noise", "sample"])
def test_coupling_changes_later_frames_only_and_is_chunk_exact(name, predicts, keeps):
    model = _model(name, predicts)
    free, whole = _frames(model, FREE), _frames(model, _strong(keeps))
    assert np.array_equal(whole[0], free[0])
    assert not np.array_equal(whole[1], free[1])
    assert largest_difference(whole, _frames(model, _strong(keeps), 2)) <= ROUNDING


@every_row
def test_full_coupling_with_full_noise_correlation_is_a_frozen_clip(name, predicts):
    model = _model(name, predicts)
    spec = _coupled(
        noise_correlation=1.0, propagation_strength=1.0, propagation_end=1.0, motion_floor=0.0
    )
    clip = _frames(model, spec)
    assert largest_difference(clip, np.broadcast_to(clip[0], clip.shape)) <= ROUNDING


def test_eta_makes_noise_that_is_chunk_exact():
    free, noisy = (_model("TCDScheduler", "epsilon", eta) for eta in (None, 0.5))
    whole = _frames(noisy, _strong("sample"))
    assert not np.array_equal(whole, _frames(free, _strong("sample")))
    assert largest_difference(whole, _frames(noisy, _strong("sample"), 2)) <= ROUNDING
