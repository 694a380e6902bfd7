import diffusers
import pytest
import torch

from tempprop.errors import ModelError
from tempprop.prediction import (
    NoiseLevel,
    check_scheduler,
    clean_estimate,
    model_output_for,
    noise_estimate,
    noise_level,
    prediction_type,
)

VARIANCE_PRESERVING = NoiseLevel(0.6, 0.8)
SIGMA_SPACE = NoiseLevel(1.0, 7.5)
FLOW = NoiseLevel(0.3, 0.7)

CONVENTIONS = [
    (level, predicts)
    for level in (VARIANCE_PRESERVING, SIGMA_SPACE)
    for predicts in ("epsilon", "v_prediction", "sample")
] + [(FLOW, "flow_prediction")]


@pytest.mark.parametrize(("level", "predicts"), CONVENTIONS)
def test_round_trip(level, predicts):
    clean, noise = torch.randn(2, 3, 4, 8, 8, dtype=torch.float64)
    sample = level.signal * clean + level.noise * noise
    output = model_output_for(clean, noise, level, predicts)
    assert torch.allclose(clean_estimate(sample, output, level, predicts), clean)
    assert torch.allclose(noise_estimate(sample, clean, level), noise)


@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(
    "name", ["DDIMScheduler", "DDPMScheduler", "EulerDiscreteScheduler", "LCMScheduler"]
)
def test_agrees_with_the_schedulers_own_clean_estimate(name, predicts):
    options = {} if name.startswith("Euler") else {"clip_sample": False}
    scheduler = getattr(diffusers, name)(prediction_type=predicts, **options)
    scheduler.set_timesteps(10)
    torch.manual_seed(0)
    sample = torch.randn(1, 4, 8, 8) * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        output = torch.randn(1, 4, 8, 8)
        level = noise_level(scheduler, timestep)
        scheduler.scale_model_input(sample, timestep)
        ours = clean_estimate(sample, output, level, prediction_type(scheduler))
        step = scheduler.step(output, timestep, sample)
        theirs = step.denoised if name == "LCMScheduler" else step.pred_original_sample
        # LCM mixes the estimate with the sample (boundary condition) except where c_out is 1.
        tolerance = 2e-2 if name == "LCMScheduler" else 1e-4
        assert torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance)
        sample = step.prev_sample


@pytest.mark.parametrize("name", ["DPMSolverMultistepScheduler", "UniPCMultistepScheduler"])
@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction"])
def test_agrees_with_multistep_schedulers(name, predicts):
    scheduler = getattr(diffusers, name)(prediction_type=predicts)
    scheduler.set_timesteps(10)
    torch.manual_seed(0)
    sample = torch.randn(1, 4, 8, 8)
    for timestep in scheduler.timesteps:
        output = torch.randn(1, 4, 8, 8)
        ours = clean_estimate(sample, output, noise_level(scheduler, timestep), predicts)
        if scheduler.step_index is None:
            scheduler._init_step_index(timestep)
        theirs = scheduler.convert_model_output(output, sample=sample)
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3)
        sample = scheduler.step(output, timestep, sample).prev_sample


def test_flow_matching_walks_the_straight_line_to_the_estimate():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(4)
    torch.manual_seed(0)
    clean, sample = torch.randn(2, 1, 4, 8, 8)
    noise = sample
    for timestep in scheduler.timesteps:
        level = noise_level(scheduler, timestep)
        assert level.signal + level.noise == pytest.approx(1)
        output = model_output_for(clean, noise, level, prediction_type(scheduler))
        sample = scheduler.step(output, timestep, sample).prev_sample
    assert torch.allclose(sample, clean, atol=1e-5)


def test_zero_terminal_snr_is_finite():
    scheduler = diffusers.DDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(5)
    level = noise_level(scheduler, scheduler.timesteps[0])
    assert level.signal == pytest.approx(0, abs=1e-3)
    sample, output = torch.randn(2, 1, 4, 8, 8)
    assert torch.allclose(clean_estimate(sample, output, level, "v_prediction"), -output, atol=1e-2)


def test_an_unsupported_scheduler_is_refused_by_name():
    with pytest.raises(ModelError, match=r"PNDMScheduler.*DDIMScheduler"):
        check_scheduler(diffusers.PNDMScheduler())
