import pytest
import torch

from tempprop.errors import ModelError
from tempprop.prediction import (
    NoiseLevel,
    clean_estimate,
    model_output_for,
    noise_estimate,
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


@pytest.mark.parametrize("predicts", ["v_prediction", "flow_prediction", "sample"])
def test_pure_noise_is_read_where_the_prediction_allows_it(predicts):
    clean, noise = torch.randn(2, 3, 4, 8, 8, dtype=torch.float64)
    level = NoiseLevel(0.0, 1.0)
    output = model_output_for(clean, noise, level, predicts)
    assert torch.allclose(clean_estimate(noise, output, level, predicts), clean)
    assert torch.equal(noise_estimate(noise, clean, level), noise)


def test_epsilon_is_refused_where_there_is_no_signal():
    with pytest.raises(ModelError, match=r"epsilon.*rescale_betas_zero_snr: false"):
        clean_estimate(torch.zeros(1), torch.zeros(1), NoiseLevel(0.0, 1.0), "epsilon")


def test_a_sample_without_noise_is_the_clean_latent():
    clean = torch.randn(3, 4, 8, 8)
    level = NoiseLevel(1.0, 0.0)
    assert torch.equal(clean_estimate(clean, torch.randn(3, 4, 8, 8), level, "epsilon"), clean)
    assert torch.equal(noise_estimate(clean, clean, level), torch.zeros_like(clean))
