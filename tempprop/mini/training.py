"""The loop that trains each part of the embedded model, and goes on after an interruption."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tempprop.mini.optimizers import KernelOptimizer
from tempprop.mini.parallel import Part, set_gradients, workers_of
from tempprop.mini.progress import Budget, learning_rate, run_steps
from tempprop.whole_files import draft_of

Module = TypeVar("Module", bound=nn.Module)

Batch = Callable[[int, float], Sequence[Part]]
"""Draws the batch of a step, given its number and the progress, in equal shares for the threads."""


@dataclass(frozen=True)
class Recipe:
    """How a module is trained.

    Attributes:
        name: Of the checkpoint's file and of the reports.
        is_inner: Tells by a parameter's name whether it is an inner kernel, see `KernelOptimizer`.
        muon_rate: Highest learning rate of the inner kernels.
        adam_rate: Highest learning rate of all other parameters.
        averaging: Share of the averaged weights that is kept in a step, below 1.
        warmup: Steps in which the rates rise.
    """

    name: str
    is_inner: Callable[[str], bool]
    muon_rate: float
    adam_rate: float
    averaging: float
    warmup: int


@dataclass(frozen=True)
class Effort:
    """What a training may use.

    Attributes:
        minutes: Time to train in all, counted across interruptions.
        device: Where to compute.
        threads: Threads that share each batch; one on a GPU.
        batch_factor: How many times larger the batches are than on a CPU.
    """

    minutes: float
    device: torch.device
    threads: int = 2
    batch_factor: int = 1


def effort_of(minutes: float, device: torch.device, threads: int, gpu_batch_factor: int) -> Effort:
    """Say what a training may use: large batches and one thread on a GPU, shared ones on a CPU.

    Args:
        minutes: Time to train in all.
        device: Where to compute.
        threads: Threads on a CPU.
        gpu_batch_factor: How many times larger the batches are on a GPU.
    """
    if device.type == "cpu":
        return Effort(minutes, device, threads)
    return Effort(minutes, device, threads=1, batch_factor=gpu_batch_factor)


def train_module(
    module: Module, recipe: Recipe, batch: Batch, work: Path, effort: Effort
) -> Module:
    """Train a module, or go on where a run was interrupted.

    Args:
        module: What to train, on the device; changed in place.
        recipe: How.
        batch: Gives the shares of each step's batch, which compute with the module.
        work: Directory of the checkpoint ``<name>.pt``.
        effort: Time and threads.

    Returns:
        A copy with averaged weights, in evaluation mode.
    """
    average = copy.deepcopy(module).eval().requires_grad_(False)
    optimizer = KernelOptimizer(module, recipe.is_inner)
    parameters, workers = list(module.parameters()), workers_of(effort.threads)
    path = work / f"{recipe.name}.pt"
    budget, first_step, curve = Budget(effort.minutes), 0, list[dict[str, float]]()
    if state := load_checkpoint(path):
        module.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        budget = Budget(effort.minutes, spent=state["seconds"])
        first_step, curve = state["step"], state["curve"]

    def step(count: int, progress: float) -> dict[str, Tensor]:
        torch.manual_seed(count)
        figures = set_gradients(workers, parameters, batch(count, progress))
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        rate = learning_rate(1.0, count, progress, recipe.warmup)
        optimizer.step(
            workers, muon_rate=rate * recipe.muon_rate, adam_rate=rate * recipe.adam_rate
        )
        average_into(average, module, count, recipe.averaging)
        return figures

    def save(count: int) -> None:
        state = {
            "model": module.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
            "seconds": budget.seconds,
            "step": count,
            "curve": curve,
        }
        save_checkpoint(path, state)

    run_steps(budget, first_step, step, save, label=recipe.name, curve=curve)
    return average


def average_into(average: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Move a running average of the weights towards the model's.

    Early on the average forgets faster, so the random initial weights do not linger.

    Args:
        average: A copy of the model that holds the average; changed in place.
        model: The model in training.
        step: Steps done.
        decay: Share of the average that is kept in a step, below 1.
    """
    keep = min(decay, (step + 1) / (step + 10))
    with torch.no_grad():
        for mean, value in zip(average.parameters(), model.parameters(), strict=True):
            mean.lerp_(value, 1 - keep)


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint so that an interruption leaves either the old or the new one."""
    with draft_of(path) as draft:
        torch.save(dict(state), draft)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint, or None if there is none yet."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
