"""The table of schedulers, row by row: every class with every prediction type it understands."""

import copy
import inspect
import math

import diffusers
import pytest
import torch
from scheduler_rows import ROWS, every_row, make_scheduler

from tempprop.errors import ModelError
from tempprop.prediction import (
    NoiseLevel,
    clean_estimate,
    model_output_for,
    noise_estimate,
)
from tempprop.propagation import Segment, propagate
from tempprop.schedulers import (
    REFUSED,
    SCHEDULERS,
    SUPPORTED_SCHEDULERS,
    check_scheduler,
    check_scheduler_name,
    is_probe,
    noise_level,
    prediction_type,
    schedule_position,
)
from tempprop.spec import ClipSettings

both_modes = pytest.mark.parametrize("keeps", ["noise", "sample"])

SHAPE = (3, 4, 8, 8)
STEPS = 5
FLOAT32 = 2e-4
"""Relative rounding of a few steps; early samples hold little signal, which the division lifts."""


def _timesteps(scheduler, sample, steps=STEPS):
    """Set the timesteps, and announce each of them as a pipeline does."""
    scheduler.set_timesteps(steps)
    for timestep in scheduler.timesteps:
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(sample, timestep)
        yield timestep


def _generators(frames):
    return [torch.Generator().manual_seed(1) for _ in range(frames)]


def _step(scheduler, output, timestep, sample, eta=0.0, generators=None):
    """Take one step; all frames draw the same noise, as in a clip."""
    accepted = inspect.signature(scheduler.step).parameters
    wanted = {"generator": generators or _generators(len(sample)), "eta": eta}
    options = {name: value for name, value in wanted.items() if name in accepted}
    return scheduler.step(output, timestep, sample, **options)


def _close(one, other, tolerance=FLOAT32):
    return torch.allclose(one, other, rtol=tolerance, atol=tolerance * float(other.abs().max()))


def _settings(**values):
    defaults = {
        "propagation_strength": 0.9,
        "propagation_end": 1.0,
        "color_coherence": 0.0,
        "anchor_weight": 0.2,
    }
    return ClipSettings(**(defaults | values))


def _segment(settings, frames=SHAPE[0]):
    return Segment("clip", settings, 0, slice(0, frames), None)


def _first_sample(scheduler, clean, noise, steps=STEPS):
    scheduler.set_timesteps(steps)
    level = noise_level(scheduler, scheduler.timesteps[0])
    return level.signal * clean + level.noise * noise


def _output_that_knows(clean, sample, scheduler, timestep):
    """Give the output of a model that always knows the clean latents."""
    level = noise_level(scheduler, timestep)
    noise = noise_estimate(sample, clean, level)
    return model_output_for(clean, noise, level, prediction_type(scheduler))


# What a step says of the clean latents, as far as each scheduler lets it be seen.


def _own_clean_estimate(scheduler, result, before, sample, timestep):
    """Read the clean estimate out of what a scheduler's step returned or stored."""
    if hasattr(result, "pred_original_sample"):
        return result.pred_original_sample
    if hasattr(result, "denoised"):
        skip, out = scheduler.get_scalings_for_boundary_condition_discrete(timestep)
        return (result.denoised - skip * sample) / out
    if hasattr(result, "pred_noised_sample"):
        return _unmixed(scheduler, result.pred_noised_sample, sample, timestep)
    level = noise_level(before, timestep)
    if hasattr(scheduler, "model_outputs"):
        stored = scheduler.model_outputs[-1]
        # DEIS stores the noise.
        of_noise = type(scheduler).__name__.startswith("DEIS")
        return (sample - level.noise * stored) / level.signal if of_noise else stored
    return sample - level.noise * _velocity(before, result.prev_sample, sample)


def _unmixed(scheduler, noised, sample, timestep):
    """Solve for x0 what TCD returns: the pair (x0, epsilon) mixed at its level s, not at t."""
    index = scheduler.step_index
    last = index == len(scheduler.timesteps)
    # Without eta, s is the next timestep.
    following = noise_level(scheduler, 0 if last else scheduler.timesteps[index])
    level = noise_level(scheduler, timestep)
    determinant = level.noise * following.signal - following.noise * level.signal
    return (level.noise * noised - following.noise * sample) / determinant


def _velocity(before, after, sample):
    """Solve an Euler step, or the second stage of Heun's, for the slope at the sample."""
    if is_probe(before):
        return 2 * (after - before.sample) / before.dt - before.prev_derivative
    index = before.step_index or 0
    return (after - sample) / (before.sigmas[index + 1] - before.sigmas[index])


@every_row
def test_the_clean_estimate_is_the_schedulers_own(name, predicts):
    torch.manual_seed(0)
    scheduler, sample = make_scheduler(name, predicts), torch.randn(SHAPE)
    for timestep in _timesteps(scheduler, sample):
        before, output = copy.deepcopy(scheduler), torch.randn(SHAPE)
        level = noise_level(scheduler, timestep)
        ours = clean_estimate(sample, output, level, prediction_type(scheduler))
        result = _step(scheduler, output, timestep, sample)
        theirs = _own_clean_estimate(scheduler, result, before, sample, timestep)
        assert _close(ours, theirs, 1e-3), f"timestep {float(timestep)}"
        sample = result.prev_sample


@every_row
def test_round_trip_at_every_noise_level(name, predicts):
    torch.manual_seed(0)
    scheduler = make_scheduler(name, predicts)
    clean, noise = torch.randn(2, *SHAPE, dtype=torch.float64)
    sample = clean
    for timestep in _timesteps(scheduler, sample):
        level = noise_level(scheduler, timestep)
        sample = level.signal * clean + level.noise * noise
        output = model_output_for(clean, noise, level, predicts)
        estimate = clean_estimate(sample, output, level, predicts)
        # Schedulers round their noise levels to float32.
        assert _close(estimate, clean, 1e-5)
        assert _close(noise_estimate(sample, estimate, level), noise, 1e-5)
        _step(scheduler, output.float(), timestep, sample.float())


@pytest.mark.parametrize("begin_index", [None, 0])
def test_equal_timesteps_are_told_apart_as_the_scheduler_does(begin_index):
    """Timesteps of a strongly shifted flow are rounded to the same integer."""
    scheduler = make_scheduler("DPMSolverMultistepScheduler", "flow_prediction", flow_shift=50.0)
    scheduler.set_timesteps(30)
    assert scheduler.timesteps[0] == scheduler.timesteps[1]
    if begin_index is not None:
        scheduler.set_begin_index(begin_index)
    level = noise_level(scheduler, scheduler.timesteps[0])
    scheduler.step(torch.randn(SHAPE), scheduler.timesteps[0], torch.randn(SHAPE))
    assert level.noise == float(scheduler.sigmas[scheduler.step_index - 1])


def _end_level(scheduler):
    """Read where a scheduler's last step ended: not everywhere at the clean latents."""
    if hasattr(scheduler, "sigmas"):
        return noise_level(scheduler, scheduler.timesteps[-1])
    if type(scheduler).__name__ == "TCDScheduler":
        return noise_level(scheduler, 0)
    return NoiseLevel(1.0, 0.0)


@every_row
@pytest.mark.parametrize("steps", [1, 2, STEPS, 16])
def test_a_model_that_knows_the_clean_latents_gets_them(name, predicts, steps):
    """Every solver is exact on x = a * x0 + b * epsilon, through the hook as without it."""
    torch.manual_seed(0)
    scheduler = make_scheduler(name, predicts)
    clean, noise = torch.randn(2, *SHAPE)
    sample = _first_sample(scheduler, clean, noise, steps)
    free = _settings(propagation_strength=0.0)
    with propagate(scheduler, [_segment(free)]):
        for timestep in _timesteps(scheduler, sample, steps):
            output = _output_that_knows(clean, sample, scheduler, timestep)
            sample = _step(scheduler, output, timestep, sample).prev_sample
    end = _end_level(scheduler)
    assert _close(sample, end.signal * clean + end.noise * noise, 1e-3)


def test_tcd_draws_noise_of_its_own_with_eta():
    """gamma (eta) = 1 is full resampling; it still ends at the clean latents' own noise level."""
    torch.manual_seed(0)
    clean, noise = torch.randn(2, *SHAPE)
    ends = {}
    for eta in (0.0, 0.3, 1.0):
        scheduler, generators = make_scheduler("TCDScheduler", "epsilon"), _generators(SHAPE[0])
        sample = _first_sample(scheduler, clean, noise)
        with propagate(scheduler, [_segment(_settings(propagation_strength=0.0))]):
            for timestep in _timesteps(scheduler, sample):
                output = _output_that_knows(clean, sample, scheduler, timestep)
                sample = _step(scheduler, output, timestep, sample, eta, generators).prev_sample
        ends[eta] = noise_estimate(sample, clean, _end_level(scheduler))
    assert _close(ends[0.0], noise, 1e-2)
    for eta in (0.3, 1.0):
        share = float((ends[eta] * noise).mean())
        assert abs(float(ends[eta].std()) - 1) < 0.15
        assert share < 0.9
    # Every frame of a clip draws the same noise.
    assert _close(ends[1.0][0], ends[1.0][1], 1e-2)


# What the coupling does to each model call.


def _isolated(scheduler, settings, output, timestep, sample):
    """Take one step of a copy with the coupling's strength at its first step."""
    alone = copy.deepcopy(scheduler)
    with propagate(alone, [_segment(settings)]) as coupling:
        result = _step(alone, output, timestep, sample).prev_sample
    return result, coupling.carries[0][0].previous


def _draws_at_every_call(scheduler, keeps):
    """Take each step with and without coupling; a step must change along the estimates' change."""
    torch.manual_seed(0)
    clean, settings = torch.randn(SHAPE), _settings(propagation_keeps=keeps)
    sample = _first_sample(scheduler, clean, torch.randn(SHAPE))
    for timestep in _timesteps(scheduler, sample):
        before = copy.deepcopy(scheduler)
        output = _output_that_knows(clean, sample, scheduler, timestep)
        plain = _step(scheduler, output, timestep, sample).prev_sample
        if torch.equal(plain, sample):
            # DEIS's flow schedule ends with a step that goes nowhere.
            continue
        coupled, estimate = _isolated(before, settings, output, timestep, sample)
        assert torch.equal(coupled[0], plain[0])
        change, wanted = (coupled - plain)[-1], estimate - clean[-1]
        cosine = torch.cosine_similarity(change.flatten(), wanted.flatten(), dim=0)
        assert cosine > 0.99, f"timestep {float(timestep)}"
        sample = plain


@every_row
@both_modes
def test_every_model_call_draws_the_frame_to_the_one_before(name, predicts, keeps):
    _draws_at_every_call(make_scheduler(name, predicts), keeps)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("HeunDiscreteScheduler", {"use_karras_sigmas": True}),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
        (
            "DPMSolverMultistepScheduler",
            {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
        ),
        ("DPMSolverSinglestepScheduler", {"solver_order": 3, "lower_order_final": True}),
        ("DPMSolverSinglestepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
        (
            "DPMSolverSinglestepScheduler",
            {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
        ),
        ("DEISMultistepScheduler", {"solver_order": 3}),
        ("UniPCMultistepScheduler", {"predict_x0": False, "final_sigmas_type": "sigma_min"}),
        ("UniPCMultistepScheduler", {"disable_corrector": [0, 2]}),
    ],
)
@both_modes
def test_every_model_call_counts_whatever_the_solvers_options(name, options, keeps):
    known = inspect.signature(getattr(diffusers, name).__init__).parameters
    assert set(options) <= set(known)
    _draws_at_every_call(make_scheduler(name, "epsilon", **options), keeps)


@pytest.mark.parametrize("name", ["HeunDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"])
@both_modes
def test_a_step_of_heun_is_that_of_the_coupled_estimates(name, keeps):
    """One step in closed form: D = (x - c) / sigma at both ends, from the sample of the first.

    Karras et al. 2022, algorithm 1; with the noise kept, the first sample is that of the coupled
    estimate, moved by its signal, and the second is a probe that only its estimate counts of.
    """
    torch.manual_seed(0)
    scheduler = make_scheduler(name, "flow_prediction" if name.startswith("Flow") else "epsilon")
    settings = _settings(propagation_keeps=keeps, anchor_weight=0.0)
    clean = torch.randn(SHAPE)
    sample = start = _first_sample(scheduler, clean, torch.randn(SHAPE))
    with propagate(scheduler, [_segment(settings, 3)]) as coupling:
        for timestep in list(_timesteps(scheduler, sample))[:2]:
            output = _output_that_knows(clean, sample, scheduler, timestep)
            sample = _step(scheduler, output, timestep, sample).prev_sample
    first, second = (step.previous for step in coupling.carries[0])
    before, after = scheduler.sigmas[0], scheduler.sigmas[1]
    signal = SCHEDULERS[name].level(_at(scheduler, 0), None).signal
    moved = start[-1] + signal * (first - clean[-1]) if keeps == "noise" else start[-1]
    slope = (moved - first) / before
    probe = moved + slope * (after - before)
    end = moved + (slope + (probe - second) / after) / 2 * (after - before)
    assert _close(sample[-1], end)
    assert not _close(sample[-1], start[-1], 1e-2)


def _at(scheduler, index):
    """Copy a scheduler as it was at a step."""
    then = copy.deepcopy(scheduler)
    then._step_index = index
    return then


def _halfway(name, steps):
    """Couple frame 1 to frame 0 down to the middle of the schedule; returns frame 1."""
    betas = {"beta_start": 0.00085, "beta_end": 0.012}
    scheduler = make_scheduler(name, "epsilon", timestep_spacing="trailing", **betas)
    clean = torch.stack([torch.zeros(4, 2, 2), torch.ones(4, 2, 2)])
    sample = _first_sample(scheduler, clean, torch.ones(2, 4, 2, 2), steps)
    settings = _settings(propagation_strength=1.0)
    # Coarser and finer schedules share the timesteps 999 and 499.
    with propagate(scheduler, [_segment(settings, 2)]):
        for timestep in _timesteps(scheduler, sample, steps):
            if int(timestep) <= 499 and not is_probe(scheduler):
                return float(sample[1].mean())
            output = _output_that_knows(clean, sample, scheduler, timestep)
            sample = _step(scheduler, output, timestep, sample).prev_sample
    raise AssertionError("the schedule does not pass its middle")


@pytest.mark.parametrize(
    ("name", "order"), [("EulerDiscreteScheduler", 1), ("HeunDiscreteScheduler", 2)]
)
def test_the_coupled_path_is_integrated_to_the_solvers_order(name, order):
    """Half the step, a quarter of Heun's error: the second stage has the strength of its place.

    With the strength of the stage before, Heun's method would fall to the first order.
    """
    exact = _halfway("HeunDiscreteScheduler", 500)
    errors = [abs(_halfway(name, steps) - exact) for steps in (10, 20)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


def test_noise_levels_are_counted_and_not_model_calls():
    scheduler = make_scheduler("HeunDiscreteScheduler", "epsilon")
    scheduler.set_timesteps(4)
    places = [schedule_position(scheduler, call) for call in range(len(scheduler.timesteps))]
    assert places == [(level, 4) for level in (0, 1, 1, 2, 2, 3, 3)]
    single = make_scheduler("DPMSolverSinglestepScheduler", "epsilon")
    single.set_timesteps(4)
    assert [schedule_position(single, call) for call in range(4)] == [(i, 4) for i in range(4)]


@every_row
@both_modes
def test_chunks_equal_the_whole(name, predicts, keeps):
    torch.manual_seed(0)
    settings = _settings(propagation_keeps=keeps, color_coherence=0.3)
    clean, noise = torch.randn(2, *SHAPE)

    def run(rows, first, carry):
        scheduler = make_scheduler(name, predicts)
        sample = _first_sample(scheduler, clean[rows], noise[rows])
        segment = Segment("clip", settings, first, slice(0, len(sample)), carry)
        with propagate(scheduler, [segment]) as coupling:
            for timestep in _timesteps(scheduler, sample):
                output = _output_that_knows(clean[rows], sample, scheduler, timestep)
                sample = _step(scheduler, output, timestep, sample, 0.3).prev_sample
        return sample, coupling.carries[0]

    whole, _ = run(slice(0, 3), 0, None)
    head, carry = run(slice(0, 2), 0, None)
    tail, _ = run(slice(2, 3), 2, carry)
    assert _close(torch.cat([head, tail]), whole)


# Where a schedule holds no signal or no noise, and where a scheduler clips.


WITH_ZERO_SNR = [
    (name, predicts)
    for name, predicts in ROWS
    if "rescale_betas_zero_snr" in inspect.signature(getattr(diffusers, name).__init__).parameters
    and predicts in ("v_prediction", "sample")
]


@pytest.mark.parametrize(("name", "predicts"), WITH_ZERO_SNR)
@both_modes
def test_a_schedule_that_begins_without_signal_is_finite_and_exact(name, predicts, keeps):
    torch.manual_seed(0)
    scheduler = make_scheduler(
        name, predicts, rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    clean = torch.randn(1, *SHAPE[1:]).expand(SHAPE)
    sample = _first_sample(scheduler, clean, torch.randn(SHAPE))
    first = noise_level(scheduler, scheduler.timesteps[0])
    assert first.signal / first.noise < 1e-3
    with propagate(scheduler, [_segment(_settings(propagation_keeps=keeps))]):
        for timestep in _timesteps(scheduler, sample):
            output = _output_that_knows(clean, sample, scheduler, timestep)
            sample = _step(scheduler, output, timestep, sample).prev_sample
    end = _end_level(scheduler)
    # All frames have the same clean latents, so that the coupling changes nothing.
    assert (sample - end.signal * clean).abs().max() <= 5 * end.noise + 2e-3


def test_epsilon_on_a_schedule_without_signal_is_refused():
    scheduler = make_scheduler(
        "TCDScheduler", "epsilon", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    sample = torch.randn(SHAPE)
    with propagate(scheduler, [_segment(_settings())]):
        timestep = next(_timesteps(scheduler, sample))
        with pytest.raises(ModelError, match="rescale_betas_zero_snr"):
            _step(scheduler, torch.randn(SHAPE), timestep, sample)


@both_modes
def test_a_last_step_without_noise_takes_the_coupled_estimate(keeps):
    torch.manual_seed(0)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=[1.0, 0.5, 0.0])
    sample = torch.randn(SHAPE)
    with propagate(scheduler, [_segment(_settings(propagation_keeps=keeps))]) as coupling:
        for timestep in scheduler.timesteps:
            sample = scheduler.step(torch.randn(SHAPE), timestep, sample).prev_sample
    assert torch.isfinite(sample).all()
    assert _close(sample[-1], coupling.carries[0][-1].previous)


CLIPPING = [
    (name, option)
    for name in SUPPORTED_SCHEDULERS
    for option in ("clip_sample", "thresholding")
    if option in inspect.signature(getattr(diffusers, name).__init__).parameters
    # TCD knows both options, and reads neither.
    and name != "TCDScheduler"
]


@pytest.mark.parametrize(("name", "option"), CLIPPING)
@both_modes
def test_schedulers_clip_the_coupled_estimate(name, option, keeps):
    """Clipping comes after the coupling, and is all that a scheduler changes of its estimate."""
    torch.manual_seed(0)
    scheduler = make_scheduler(name, "epsilon", **{option: True})
    sample = _first_sample(scheduler, *torch.randn(2, 2, *SHAPE[1:]))
    with propagate(scheduler, [_segment(_settings(propagation_keeps=keeps), 2)]) as coupling:
        for timestep in _timesteps(scheduler, sample):
            before, output = copy.deepcopy(scheduler), torch.randn_like(sample)
            level = noise_level(scheduler, timestep)
            plain = clean_estimate(sample, output, level, "epsilon")
            result = _step(scheduler, output, timestep, sample)
            coupled = torch.stack([plain[0], coupling.carries[0][-1].previous])
            moves = keeps == "noise" and not is_probe(before)
            given = sample + level.signal * (coupled - plain) if moves else sample
            theirs = _own_clean_estimate(scheduler, result, before, given, timestep)
            assert _close(theirs, _clipped(scheduler, option, coupled), 1e-3)
            sample = result.prev_sample


def _clipped(scheduler, option, clean):
    return clean.clamp(-1, 1) if option == "clip_sample" else scheduler._threshold_sample(clean)


# Refusals.


@pytest.mark.parametrize("name", [*REFUSED, "IPNDMScheduler"])
def test_what_cannot_propagate_is_refused_by_name_with_what_can(name):
    assert hasattr(diffusers, name)
    with pytest.raises(ModelError) as caught:
        check_scheduler_name(name)
    assert f"{name} cannot propagate" in str(caught.value)
    assert REFUSED.get(name, "") in str(caught.value)
    assert [known for known in SUPPORTED_SCHEDULERS if known not in str(caught.value)] == []


@every_row
def test_the_table_is_accepted(name, predicts):
    check_scheduler(make_scheduler(name, predicts))
    assert prediction_type(make_scheduler(name, predicts)) == predicts


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("EulerAncestralDiscreteScheduler", {"prediction_type": "sample"}, "'sample' is none of"),
        ("UniPCMultistepScheduler", {"prediction_type": "flow_prediction"}, "use_flow_sigmas"),
        (
            "DEISMultistepScheduler",
            {"prediction_type": "v_prediction", "use_flow_sigmas": True},
            "v_prediction",
        ),
        (
            "DPMSolverMultistepScheduler",
            {"use_flow_sigmas": True, "use_karras_sigmas": True},
            "use_karras_sigmas",
        ),
        (
            "UniPCMultistepScheduler",
            {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "predict_x0": False},
            "predict_x0",
        ),
        ("FlowMatchEulerDiscreteScheduler", {"invert_sigmas": True}, "invert_sigmas"),
    ],
)
def test_options_that_contradict_each_other_are_refused(name, options, reason):
    scheduler = getattr(diffusers, name)(**options)
    with pytest.raises(ModelError, match=f"{name} cannot propagate as it is configured.*{reason}"):
        check_scheduler(scheduler)


def test_karras_sigmas_of_a_flow_are_read_where_they_are_those_of_a_flow():
    scheduler = make_scheduler("UniPCMultistepScheduler", "flow_prediction", use_karras_sigmas=True)
    check_scheduler(scheduler)
    scheduler.set_timesteps(STEPS)
    level = noise_level(scheduler, scheduler.timesteps[0])
    assert level.signal + level.noise == pytest.approx(1)
    assert 0 < level.signal < 0.1


@pytest.mark.parametrize("predicts", ["epsilon", "sample"])
@pytest.mark.parametrize(
    "name",
    [name for name, form in SCHEDULERS.items() if len(form.predicts) == 4 and "Euler" not in name],
)
def test_other_predictions_on_the_sigmas_of_a_flow(name, predicts):
    torch.manual_seed(0)
    scheduler, sample = make_scheduler(name, predicts, use_flow_sigmas=True), torch.randn(SHAPE)
    timestep = next(_timesteps(scheduler, sample))
    output, level = torch.randn(SHAPE), noise_level(scheduler, timestep)
    ours = clean_estimate(sample, output, level, predicts)
    before = copy.deepcopy(scheduler)
    result = _step(scheduler, output, timestep, sample)
    assert _close(ours, _own_clean_estimate(scheduler, result, before, sample, timestep), 1e-2)


@every_row
def test_pipelines_see_the_schedulers_own_signature(name, predicts):
    """They inspect it to decide whether to pass a generator and eta."""
    scheduler = make_scheduler(name, predicts)
    signature = inspect.signature(scheduler.step)
    with propagate(scheduler, []):
        assert inspect.signature(scheduler.step) == signature
