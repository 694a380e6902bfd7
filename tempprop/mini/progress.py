"""How a training here passes: a budget of minutes, a falling learning rate, steps, reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from torch import Tensor


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


def run_steps(
    budget: Budget,
    first_step: int,
    step: Callable[[int, float], Mapping[str, Tensor]],
    save: Callable[[int], None],
    *,
    label: str,
    curve: list[dict[str, float]] | None = None,
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
        curve: Takes every report: ``step``, ``seconds`` and the mean of each loss.
        save_every: Seconds between checkpoints.
        log_every: Steps between reports.

    Returns:
        The number of steps done in all.
    """
    count, saved, since_report = first_step, time.monotonic(), list[Mapping[str, Tensor]]()
    while budget.progress < 1:
        since_report.append(step(count, budget.progress))
        count += 1
        if count % log_every == 0:
            losses = _means(since_report)
            figures = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
            print(f"{label} {count:5d}  {budget.seconds:6.0f} s  {figures}", flush=True)
            if curve is not None:
                curve.append({"step": count, "seconds": budget.seconds, **losses})
            since_report = []
        if time.monotonic() - saved > save_every:
            save(count)
            saved = time.monotonic()
    save(count)
    return count


def _means(figures: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """Average what some steps gave; after an interruption, they are fewer than usual."""
    return {name: fmean(float(step[name]) for step in figures) for name in figures[0]}
