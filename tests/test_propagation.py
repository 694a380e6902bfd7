import inspect
from dataclasses import replace

import diffusers
import pytest
import torch
from rendering import strengths

from tempprop.errors import NonFiniteLatentsError
from tempprop.propagation import Segment, propagate


def _run(scheduler, sample, outputs, segments):
    """Step a scheduler with prepared model outputs; returns the final sample and the carries."""
    scheduler.set_timesteps(len(outputs))
    with propagate(scheduler, segments) as coupling:
        for timestep, output in zip(scheduler.timesteps, outputs, strict=True):
            if hasattr(scheduler, "scale_model_input"):
                scheduler.scale_model_input(sample, timestep)
            sample = scheduler.step(output, timestep, sample, return_dict=False)[0]
    return sample, coupling.carries


SCHEDULERS = {
    "DDIMScheduler": {"clip_sample": False},
    "EulerDiscreteScheduler": {},
    "DPMSolverMultistepScheduler": {},
    "UniPCMultistepScheduler": {},
    "FlowMatchEulerDiscreteScheduler": {},
}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("keeps", ["noise", "sample"])
def test_chunks_equal_the_whole_at_the_scheduler(name, keeps):
    torch.manual_seed(0)
    sample, outputs = torch.randn(6, 4, 8, 8), torch.randn(5, 6, 4, 8, 8)
    strong = strengths(
        propagation_strength=0.9,
        anchor_weight=0.2,
        color_coherence=0.3,
        propagation_low_pass=0.7,
        propagation_keeps=keeps,
    )

    def make():
        return getattr(diffusers, name)(**SCHEDULERS[name])

    whole, _ = _run(make(), sample, outputs, [Segment("a", strong, 0, slice(0, 6), None)])
    head, carries = _run(
        make(), sample[:2], outputs[:, :2], [Segment("a", strong, 0, slice(0, 2), None)]
    )
    tail, _ = _run(
        make(), sample[2:], outputs[:, 2:], [Segment("a", strong, 2, slice(0, 4), carries[0])]
    )
    assert torch.allclose(torch.cat([head, tail]), whole, atol=1e-5)
    untouched, _ = _run(make(), sample, outputs, [Segment("a", strengths(), 0, slice(0, 6), None)])
    assert torch.equal(whole[0], untouched[0])
    assert not torch.allclose(whole[1:], untouched[1:], atol=1e-2)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("keeps", ["noise", "sample"])
def test_a_frame_that_is_held_to_a_latent_ends_as_this_latent(name, keeps):
    torch.manual_seed(0)
    sample, outputs, picture = (
        torch.randn(3, 4, 8, 8),
        torch.randn(5, 3, 4, 8, 8),
        torch.ones(4, 8, 8),
    )
    options = {"set_alpha_to_one": True} if name == "DDIMScheduler" else {}
    segment = Segment(
        "a",
        strengths(propagation_keeps=keeps),
        0,
        slice(0, 3),
        None,
        held=lambda _: picture,
    )
    scheduler = getattr(diffusers, name)(**SCHEDULERS[name] | options)
    held, carries = _run(scheduler, sample, outputs, [segment])
    assert torch.allclose(held[0], picture, atol=1e-3)
    assert all(torch.equal(step.first, picture) for step in carries[0])
    free, _ = _run(scheduler, sample, outputs, [replace(segment, held=None)])
    assert torch.equal(held[1:], free[1:])


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("keeps", ["noise", "sample"])
def test_a_frame_that_is_held_to_its_own_carry_is_made_once_more(name, keeps):
    torch.manual_seed(0)
    sample, outputs = torch.randn(3, 4, 8, 8), torch.randn(5, 3, 4, 8, 8)
    strong = strengths(propagation_strength=0.9, color_coherence=0.3, propagation_keeps=keeps)
    scheduler = getattr(diffusers, name)(**SCHEDULERS[name])
    whole, carries = _run(scheduler, sample, outputs, [Segment("a", strong, 0, slice(0, 3), None)])
    again = Segment("a", strong, 2, slice(0, 1), None, held=lambda step: carries[0][step].previous)
    repeated, _ = _run(scheduler, sample[2:], outputs[:, 2:], [again])
    assert torch.allclose(repeated[0], whole[2], atol=1e-5)


@pytest.mark.parametrize("frozen_beside", [False, True])
def test_what_the_floor_did_is_counted_for_each_clip(frozen_beside):
    """At full strength the floor acts on every frame but frame 0, at every coupled step."""
    torch.manual_seed(0)
    sample, outputs = torch.randn(5, 4, 8, 8), torch.randn(4, 5, 4, 8, 8)
    full = strengths(propagation_strength=1.0, propagation_end=0.25, motion_floor=0.02)
    other = full.model_copy(update={"motion_floor": 0.0} if frozen_beside else {})
    segments = [Segment("a", full, 0, slice(0, 3), None), Segment("b", other, 0, slice(3, 5), None)]
    scheduler = diffusers.DDIMScheduler()
    scheduler.set_timesteps(4)
    with propagate(scheduler, segments) as coupling:
        for timestep, output in zip(scheduler.timesteps, outputs, strict=True):
            sample = scheduler.step(output, timestep, sample).prev_sample
    assert coupling.steps == 4
    assert coupling.frame_steps_lowered == [2, 0 if frozen_beside else 1]


def test_coupling_stops_at_the_border_between_clips():
    torch.manual_seed(0)
    sample, outputs = torch.randn(4, 4, 8, 8), torch.randn(5, 4, 4, 8, 8)
    strong = strengths(propagation_strength=0.9)
    two = [Segment("a", strong, 0, slice(0, 2), None), Segment("b", strong, 0, slice(2, 4), None)]
    together, _ = _run(diffusers.DDIMScheduler(), sample, outputs, two)
    alone, _ = _run(
        diffusers.DDIMScheduler(),
        sample[2:],
        outputs[:, 2:],
        [Segment("b", strong, 0, slice(0, 2), None)],
    )
    assert torch.equal(together[2:], alone)


def test_learned_variance_passes_through():
    torch.manual_seed(0)
    scheduler = diffusers.DDPMScheduler(variance_type="learned_range")
    scheduler.set_timesteps(2)
    sample, output = torch.randn(3, 4, 8, 8), torch.randn(3, 8, 8, 8)
    segment = Segment("a", strengths(propagation_strength=0.9), 0, slice(0, 3), None)
    with propagate(scheduler, [segment]) as coupling:
        coupled_output, _ = coupling.couple(output, scheduler.timesteps[0], sample)
    assert torch.equal(coupled_output[:, 4:], output[:, 4:])
    assert not torch.equal(coupled_output[1:, :4], output[1:, :4])


def test_the_scheduler_is_left_as_it_was():
    scheduler = diffusers.LCMScheduler()
    signature = inspect.signature(scheduler.step)
    with propagate(scheduler, []):
        assert inspect.signature(scheduler.step) == signature
        assert "step" in vars(scheduler)
    assert "step" not in vars(scheduler)


def test_not_a_number_names_clip_frame_and_step():
    sample, outputs = torch.randn(4, 4, 8, 8), torch.randn(5, 4, 4, 8, 8)
    outputs[2, 3, 0, 0, 0] = torch.nan
    segments = [
        Segment("a", strengths(), 0, slice(0, 2), None),
        Segment("b", strengths(), 0, slice(2, 4), None),
    ]
    with pytest.raises(NonFiniteLatentsError, match=r"'b'.*frame 1 .*step 2"):
        _run(diffusers.DDIMScheduler(), sample, outputs, segments)
