"""What a model's output says: the clean estimate and the noise estimate, for every scheduler.

Every diffusion model works on `x = a * x0 + b * epsilon`. Three conventions for (a, b) are in use:
variance preserving (a^2 + b^2 = 1), the sigma space of Karras et al. 2022 (a = 1, b = sigma), and
rectified flow (a = 1 - sigma, b = sigma). This module turns each scheduler's state and each
prediction type into that one form and back, so that propagation never asks which model it serves.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch

from tempprop.errors import ModelError

BY_TIMESTEP = ("DDIMScheduler", "DDPMScheduler", "LCMScheduler")
"""Variance preserving, with a table of alphas over the training timesteps."""

IN_SIGMA_SPACE = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")
"""The sample is x0 + sigma * epsilon."""

BY_SIGMA = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler")
"""A table of sigmas over the inference steps, that the scheduler converts to (a, b) itself."""

FLOW_MATCHING = ("FlowMatchEulerDiscreteScheduler",)
"""The sample is (1 - sigma) * x0 + sigma * epsilon."""

SUPPORTED_SCHEDULERS = BY_TIMESTEP + IN_SIGMA_SPACE + BY_SIGMA + FLOW_MATCHING


@dataclass(frozen=True)
class NoiseLevel:
    """How much signal and noise a sample holds: `x = signal * x0 + noise * epsilon`."""

    signal: float
    noise: float

    @property
    def norm(self) -> float:
        """Standard deviation of the sample for data of unit variance."""
        return math.hypot(self.signal, self.noise)


def check_scheduler(scheduler: Any) -> None:
    """Refuse a scheduler whose steps cannot be read as (clean estimate, noise estimate).

    Raises:
        ModelError: The scheduler is not in `SUPPORTED_SCHEDULERS`.
    """
    check_scheduler_name(type(scheduler).__name__)


def check_scheduler_name(name: str) -> None:
    """Refuse a class of schedulers, before one is made.

    Raises:
        ModelError: The class is not in `SUPPORTED_SCHEDULERS`.
    """
    if name not in SUPPORTED_SCHEDULERS:
        raise ModelError(
            f"the scheduler {name} cannot propagate. "
            f"Set scheduler.name in the configuration to one of: {', '.join(SUPPORTED_SCHEDULERS)}"
        )


def prediction_type(scheduler: Any) -> str:
    """Name what the model predicts: epsilon, v_prediction, sample or flow_prediction."""
    if type(scheduler).__name__ in FLOW_MATCHING:
        return "flow_prediction"
    return str(scheduler.config.prediction_type)


def noise_level(scheduler: Any, timestep: Any) -> NoiseLevel:
    """Read the noise level that the scheduler's next step starts from.

    Args:
        scheduler: A diffusers scheduler whose timesteps are set.
        timestep: The timestep that the pipeline is about to pass to `scheduler.step`.

    Raises:
        ModelError: The scheduler is not supported.
    """
    check_scheduler(scheduler)
    name = type(scheduler).__name__
    if name in BY_TIMESTEP:
        alpha_bar = float(scheduler.alphas_cumprod[int(timestep)])
        return NoiseLevel(math.sqrt(alpha_bar), math.sqrt(1.0 - alpha_bar))
    index = scheduler.step_index
    sigma = scheduler.sigmas[
        scheduler.index_for_timestep(timestep) if index is None else index
    ].float()
    if name in IN_SIGMA_SPACE:
        return NoiseLevel(1.0, float(sigma))
    if name in FLOW_MATCHING:
        return NoiseLevel(1.0 - float(sigma), float(sigma))
    signal, noise = scheduler._sigma_to_alpha_sigma_t(sigma)
    return NoiseLevel(float(signal), float(noise))


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
        predicts: The prediction type, see `prediction_type`.

    Returns:
        Estimate of x0, same shape.
    """
    a, b, norm = level.signal, level.noise, level.norm
    if predicts == "epsilon":
        return (sample - b * model_output) / a
    if predicts == "v_prediction":
        return (a / norm**2) * sample - (b / norm) * model_output
    if predicts == "flow_prediction":
        return sample - b * model_output
    return model_output


def noise_estimate(sample: torch.Tensor, clean: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
    """Give the noise that makes the sample out of a clean latent: (x - a * x0) / b."""
    return (sample - level.signal * clean) / level.noise


def model_output_for(
    clean: torch.Tensor, noise: torch.Tensor, level: NoiseLevel, predicts: str
) -> torch.Tensor:
    """Give the output that a model would have to produce to mean (clean, noise).

    It is the inverse of `clean_estimate` together with `noise_estimate`.
    """
    if predicts == "epsilon":
        return noise
    if predicts == "v_prediction":
        return (level.signal * noise - level.noise * clean) / level.norm
    if predicts == "flow_prediction":
        return noise - clean
    return clean
