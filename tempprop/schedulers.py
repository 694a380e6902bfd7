"""The schedulers of diffusers that can propagate, and how each of them reads a sample.

`SCHEDULERS` is the one table of them. A scheduler can propagate if each of its steps takes one
model output at one sample of a known form `x = signal * x0 + noise * epsilon`, so that the step
can be told another clean estimate. Three conventions for (signal, noise) are in use: variance
preserving (signal^2 + noise^2 = 1), the sigma space of Karras et al., "Elucidating the Design
Space of Diffusion-Based Generative Models", 2022 (signal = 1, noise = sigma), and rectified flow
(signal = 1 - sigma, noise = sigma).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tempprop.errors import ModelError
from tempprop.prediction import EPSILON, FLOW, SAMPLE, VELOCITY, NoiseLevel


@dataclass(frozen=True)
class SchedulerForm:
    """How a class of schedulers reads a sample and a model's output.

    Attributes:
        level: Reads, from a scheduler and its timestep, the noise level of the next step's sample.
        predicts: The prediction types that its step understands.
        probes: Tells whether the next step is only a probe, see `is_probe`.
    """

    level: Callable[[Any, Any], NoiseLevel]
    predicts: tuple[str, ...]
    probes: Callable[[Any], bool] = lambda _: False


def _sigma(scheduler: Any, timestep: Any) -> torch.Tensor:
    index = scheduler.step_index
    if index is None:
        index = scheduler.begin_index
    if index is None:
        index = scheduler.index_for_timestep(timestep)
    sigma: torch.Tensor = scheduler.sigmas[index].float()
    return sigma


def _variance_preserving(scheduler: Any, timestep: Any) -> NoiseLevel:
    """Read a table of alphas over the training timesteps."""
    alpha_bar = float(scheduler.alphas_cumprod[int(timestep)])
    return NoiseLevel(math.sqrt(alpha_bar), math.sqrt(1.0 - alpha_bar))


def _sigma_space(scheduler: Any, timestep: Any) -> NoiseLevel:
    return NoiseLevel(1.0, float(_sigma(scheduler, timestep)))


def _rectified_flow(scheduler: Any, timestep: Any) -> NoiseLevel:
    sigma = float(_sigma(scheduler, timestep))
    return NoiseLevel(1.0 - sigma, sigma)


def _converted(scheduler: Any, timestep: Any) -> NoiseLevel:
    """Read a table of sigmas that the scheduler turns into (signal, noise) by its options."""
    signal, noise = scheduler._sigma_to_alpha_sigma_t(_sigma(scheduler, timestep))
    return NoiseLevel(float(signal), float(noise))


def _in_second_stage(scheduler: Any) -> bool:
    """Heun: the second stage goes on from the sample that the first one stored."""
    return not scheduler.state_in_first_order


def _in_higher_order(scheduler: Any) -> bool:
    """Single-step DPM-Solver: orders above 1 go on from the last sample of order 1."""
    index = scheduler.step_index
    return index is not None and scheduler.order_list[index] > 1


def _is_corrected(scheduler: Any) -> bool:
    """UniPC: the corrector makes the sample anew, out of the one before it."""
    index = scheduler.step_index
    return (
        bool(index)
        and scheduler.last_sample is not None
        and index - 1 not in scheduler.disable_corrector
    )


_DIFFUSION = (EPSILON, VELOCITY, SAMPLE)

SCHEDULERS: Mapping[str, SchedulerForm] = {
    "DDIMScheduler": SchedulerForm(_variance_preserving, _DIFFUSION),
    "DDPMScheduler": SchedulerForm(_variance_preserving, _DIFFUSION),
    "LCMScheduler": SchedulerForm(_variance_preserving, _DIFFUSION),
    "TCDScheduler": SchedulerForm(_variance_preserving, _DIFFUSION),
    # "original_sample" is this scheduler's second name for "sample".
    "EulerDiscreteScheduler": SchedulerForm(_sigma_space, (*_DIFFUSION, "original_sample")),
    "EulerAncestralDiscreteScheduler": SchedulerForm(_sigma_space, (EPSILON, VELOCITY)),
    "HeunDiscreteScheduler": SchedulerForm(_sigma_space, _DIFFUSION, _in_second_stage),
    "DPMSolverMultistepScheduler": SchedulerForm(_converted, (*_DIFFUSION, FLOW)),
    "DPMSolverSinglestepScheduler": SchedulerForm(
        _converted, (*_DIFFUSION, FLOW), _in_higher_order
    ),
    "DEISMultistepScheduler": SchedulerForm(_converted, (*_DIFFUSION, FLOW)),
    "UniPCMultistepScheduler": SchedulerForm(_converted, (*_DIFFUSION, FLOW), _is_corrected),
    "FlowMatchEulerDiscreteScheduler": SchedulerForm(_rectified_flow, (FLOW,)),
    "FlowMatchHeunDiscreteScheduler": SchedulerForm(_rectified_flow, (FLOW,), _in_second_stage),
}
"""What can propagate, by the name of its class: the tests run over every row of it."""

SUPPORTED_SCHEDULERS = tuple(SCHEDULERS)

_EDM = "its model outputs are preconditioned with sigma_data, which is no prediction type here"
_MIDPOINT = "its second model call lies between two noise levels, where no strength is defined"

REFUSED: Mapping[str, str] = {
    "PNDMScheduler": "its warm-up averages model outputs of different samples into one step",
    "KDPM2DiscreteScheduler": _MIDPOINT,
    "KDPM2AncestralDiscreteScheduler": _MIDPOINT,
    "DPMSolverSDEScheduler": "its noise comes from a Brownian tree that the clip's seed cannot key",
    "EDMEulerScheduler": _EDM,
    "EDMDPMSolverMultistepScheduler": _EDM,
}
"""Why the better-known schedulers outside the table cannot propagate."""


def check_scheduler(scheduler: Any) -> None:
    """Refuse a scheduler whose steps cannot be read as (clean estimate, noise estimate).

    Raises:
        ModelError: Its class is not in `SCHEDULERS`, or its options give its samples or its model
            outputs another form.
    """
    name = type(scheduler).__name__
    check_scheduler_name(name)
    reason = _misfit(scheduler, SCHEDULERS[name])
    if reason is not None:
        raise ModelError(
            f"the scheduler {name} cannot propagate as it is configured: {reason}. "
            "Change scheduler.options in the configuration"
        )


def check_scheduler_name(name: str) -> None:
    """Refuse a class of schedulers, before one is made.

    Raises:
        ModelError: The class is not in `SCHEDULERS`.
    """
    if name not in SCHEDULERS:
        because = f": {REFUSED[name]}" if name in REFUSED else ""
        raise ModelError(
            f"the scheduler {name} cannot propagate{because}. "
            f"Set scheduler.name in the configuration to one of: {', '.join(SUPPORTED_SCHEDULERS)}"
        )


def _misfit(scheduler: Any, form: SchedulerForm) -> str | None:
    """Say which options contradict each other or the form; None where they agree."""
    options, predicts = scheduler.config, prediction_type(scheduler)
    if predicts not in form.predicts:
        return f"prediction_type {predicts!r} is none of {', '.join(form.predicts)}"
    if form.level is _converted:
        return _flow_misfit(type(scheduler).__name__, options, predicts)
    if form.level is _rectified_flow and options.get("invert_sigmas"):
        return "with invert_sigmas it counts signal as noise"
    return None


def _flow_misfit(name: str, options: Mapping[str, Any], predicts: str) -> str | None:
    """Check the options of a solver that serves both diffusion and flow."""
    if not options.get("use_flow_sigmas"):
        return "flow_prediction needs use_flow_sigmas: true" if predicts == FLOW else None
    if predicts == VELOCITY:
        return "v_prediction is defined where signal^2 + noise^2 = 1, not with use_flow_sigmas"
    spacings = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")
    for spacing in spacings:
        # UniPC alone turns Karras' sigmas into those of a flow.
        converts = (name, spacing) == ("UniPCMultistepScheduler", "use_karras_sigmas")
        if options.get(spacing) and not converts:
            return f"with {spacing} its sigmas are not those that use_flow_sigmas promises"
    if predicts == FLOW and not _predicts_clean(options):
        return "it understands flow_prediction only with algorithm_type dpmsolver++ (or predict_x0)"
    return None


def _predicts_clean(options: Mapping[str, Any]) -> bool:
    """Tell whether a solver turns model outputs into clean estimates, and not into noise."""
    of_noise = options.get("algorithm_type") in ("dpmsolver", "sde-dpmsolver")
    return not of_noise and bool(options.get("predict_x0", True))


def prediction_type(scheduler: Any) -> str:
    """Name what the model predicts: epsilon, v_prediction, sample or flow_prediction."""
    # A scheduler made from another one's configuration also holds options that it never reads.
    if SCHEDULERS[type(scheduler).__name__].predicts == (FLOW,):
        return FLOW
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
    return SCHEDULERS[type(scheduler).__name__].level(scheduler, timestep)


def is_probe(scheduler: Any) -> bool:
    """Tell whether the scheduler's next step throws away the sample that it is handed.

    Solvers that call the model more than once a step, or correct a step afterwards, look at a
    tentative sample, take the estimate there, and go on from an earlier sample that they stored.
    Moving a tentative sample moves nothing; only the estimate counts.
    """
    return SCHEDULERS[type(scheduler).__name__].probes(scheduler)


def schedule_position(scheduler: Any, call: int) -> tuple[int, int]:
    """Count the noise levels of the schedule, where a scheduler calls the model twice at each.

    Heun's method calls the model at every noise level but the first twice: to correct the step
    that arrives there, and to leave for the next. Both calls belong to the same place.

    Args:
        scheduler: A scheduler whose timesteps are set.
        call: Number of the model call, from 0.

    Returns:
        Number of the noise level, from 0, and how many there are.
    """
    order, calls = scheduler.order, len(scheduler.timesteps)
    return (call + order - 1) // order, (calls + order - 1) // order
