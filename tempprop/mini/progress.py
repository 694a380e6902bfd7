"""What every training here shares: a budget of minutes, a learning rate, averaging, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Budget:
    """Training time, counted across interruptions.

    Attributes:
        minutes: The whole budget.
        spent: Seconds used before this process began.
        started: When this process began, by `time.monotonic`.
    """

    minutes: float
    spent: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds used so far."""
        return self.spent + time.monotonic() - self.started

    @property
    def progress(self) -> float:
        """Share of the budget used, 0 to 1."""
        return min(self.seconds / (60 * self.minutes), 1.0)


def learning_rate(peak: float, step: int, progress: float, warmup: int = 100) -> float:
    """Rise linearly over the first steps, then fall to zero at the end of the budget.

    The fall is linear over the last 70 % of the time, since the number of steps is not known
    beforehand.

    Args:
        peak: The highest rate.
        step: Steps done.
        progress: Share of the time used, 0 to 1.
        warmup: Steps of the rise.

    Returns:
        The rate for the next step.
    """
    fall = min(1.0, (1.0 - progress) / 0.7)
    return peak * min(1.0, (step + 1) / warmup) * fall


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
    draft = path.with_suffix(".part")
    torch.save(dict(state), draft)
    draft.rename(path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint, or None if there is none yet."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def run_steps(
    budget: Budget,
    first_step: int,
    step: Callable[[int, float], Mapping[str, Tensor]],
    save: Callable[[int], None],
    *,
    label: str,
    save_every: float = 180.0,
    log_every: int = 20,
) -> int:
    """Train until the budget is used, saving and reporting now and then.

    Args:
        budget: The time.
        first_step: Steps done before.
        step: Does one step, given its number and the progress, and returns its losses.
        save: Saves everything, given the number of steps done.
        label: Begins each line of the report.
        save_every: Seconds between checkpoints.
        log_every: Steps between reports.

    Returns:
        The number of steps done in all.
    """
    count, saved, totals = first_step, time.monotonic(), dict[str, float]()
    while budget.progress < 1:
        for name, value in step(count, budget.progress).items():
            totals[name] = totals.get(name, 0.0) + float(value) / log_every
        count += 1
        if count % log_every == 0:
            losses = "  ".join(f"{name} {value:.4f}" for name, value in totals.items())
            print(f"{label} {count:5d}  {budget.seconds:6.0f} s  {losses}", flush=True)
            totals = {}
        if time.monotonic() - saved > save_every:
            save(count)
            saved = time.monotonic()
    save(count)
    return count


def trainable(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Collect the parameters of several modules."""
    return [parameter for module in modules for parameter in module.parameters()]
