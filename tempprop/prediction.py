"""What a model's output says: the clean estimate and the noise estimate, whatever it predicts.

Every diffusion model works on `x = a * x0 + b * epsilon`, and predicts one of the two, or a mixture
of both. This module turns each prediction type into that one form and back, so that propagation
never asks which model it serves. `tempprop.schedulers` says what a and b are.
"""

import math
from dataclasses import dataclass

import torch

from tempprop.errors import ModelError

EPSILON = "epsilon"
VELOCITY = "v_prediction"
SAMPLE = "sample"
FLOW = "flow_prediction"


@dataclass(frozen=True)
class NoiseLevel:
    """How much signal and noise a sample holds: `x = signal * x0 + noise * epsilon`."""

    signal: float
    noise: float

    @property
    def norm(self) -> float:
        """Standard deviation of the sample for data of unit variance."""
        return math.hypot(self.signal, self.noise)


def clean_estimate(
    sample: torch.Tensor, model_output: torch.Tensor, level: NoiseLevel, predicts: str
) -> torch.Tensor:
    """Follow a model's output to its estimate of the clean latent x0.

    v-prediction is that of Salimans & Ho, "Progressive Distillation", 2022, eq. 27, on the sample
    scaled to unit variance; flow prediction is v = epsilon - x0 (Liu et al., "Flow Straight and
    Fast", 2022).

    Args:
        sample: Noisy latents x.
        model_output: What the model said, same shape, after guidance.
        level: Noise level of the sample.
        predicts: The prediction type.

    Returns:
        Estimate of x0, same shape.

    Raises:
        ModelError: The sample holds no signal, and the model predicts the noise alone.
    """
    a, b, norm = level.signal, level.noise, level.norm
    if predicts == EPSILON:
        if a == 0:
            raise ModelError(
                "the schedule begins with pure noise (rescale_betas_zero_snr), where an epsilon "
                "prediction says nothing about the picture. Set rescale_betas_zero_snr: false in "
                "scheduler.options; only models of v_prediction are trained for it"
            )
        return (sample - b * model_output) / a
    if predicts == VELOCITY:
        return (a / norm**2) * sample - (b / norm) * model_output
    if predicts == FLOW:
        return sample - b * model_output
    return model_output


def noise_estimate(sample: torch.Tensor, clean: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
    """Give the noise that makes the sample out of a clean latent: (x - a * x0) / b.

    A sample without noise (b = 0, the last step of some flow schedules) holds none to be found: 0.
    """
    if level.noise == 0:
        return torch.zeros_like(sample)
    return (sample - level.signal * clean) / level.noise


def model_output_for(
    clean: torch.Tensor, noise: torch.Tensor, level: NoiseLevel, predicts: str
) -> torch.Tensor:
    """Give the output that a model would have to produce to mean (clean, noise).

    It is the inverse of `clean_estimate` together with `noise_estimate`.
    """
    if predicts == EPSILON:
        return noise
    if predicts == VELOCITY:
        return (level.signal * noise - level.noise * clean) / level.norm
    if predicts == FLOW:
        return noise - clean
    return clean
