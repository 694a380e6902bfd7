"""From what was measured of clips to the figures of a row, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tempprop.evaluation.bootstrap import mean_interval
from tempprop.evaluation.frechet import FrechetDistance, distances_difference
from tempprop.evaluation.instruments import Measured
from tempprop.evaluation.metrics import Metric
from tempprop.evaluation.results import LEVEL, Estimate

Figures = Mapping[str, Mapping[str, float]]
"""The figures of clips, by the clip's name and by metric."""


@dataclass(frozen=True)
class Resampling:
    """How intervals are made.

    Attributes:
        resamples: How many; 0 for intervals without extent.
        seed: Their key.
    """

    resamples: int
    seed: int


def figures_by_clip(
    measured: Mapping[str, Mapping[str, Measured]], metrics: Sequence[Metric]
) -> dict[str, dict[str, float]]:
    """Pick the figures of clips; what has no value is left out.

    Args:
        measured: By the clip's name and by instrument.
        metrics: Those to pick; the ones of sets are passed over.
    """
    return {
        name: {
            metric.name: float(seen[metric.instrument][metric.name])
            for metric in metrics
            if not metric.of_sets
            and metric.instrument in seen
            and np.isfinite(seen[metric.instrument][metric.name])
        }
        for name, seen in measured.items()
    }


def mean_estimate(by_clip: Figures, metric: str, how: Resampling) -> Estimate | None:
    """Average a figure over the clips that have it; None where none has."""
    return _estimate([each[metric] for each in by_clip.values() if metric in each], how)


def mean_difference(
    by_clip: Figures, first: Figures, metric: str, how: Resampling
) -> Estimate | None:
    """Average the difference to the first row's clips of the same names.

    Clips of one name have more in common, a prompt and a seed, than clips of one row, so that
    their differences vary less than the rows do.

    Returns:
        None where fewer than two clips have the figure in both.
    """
    common = [
        each[metric] - first[name][metric]
        for name, each in by_clip.items()
        if metric in each and metric in first.get(name, {})
    ]
    return _estimate(common, how) if len(common) > 1 else None


def _estimate(values: Sequence[float], how: Resampling) -> Estimate | None:
    if not values:
        return None
    figures: npt.NDArray[np.float64] = np.array(values, dtype=np.float64)
    low, high = mean_interval(figures, resamples=how.resamples, seed=how.seed, level=LEVEL)
    return Estimate(value=float(figures.mean()), low=low, high=high, clips=len(figures))


@dataclass(frozen=True)
class Distance:
    """The distance of a row to the reference.

    Attributes:
        found: The distance.
        clips: Names of the clips that it is of, in their order.
        reference_clips: How many clips of the reference.
    """

    found: FrechetDistance
    clips: tuple[str, ...]
    reference_clips: int


def distance_estimate(distance: Distance) -> Estimate:
    """Give a distance with its interval."""
    return Estimate(
        value=distance.found.value,
        low=distance.found.low,
        high=distance.found.high,
        clips=len(distance.clips),
        reference_clips=distance.reference_clips,
        bias=distance.found.bias,
    )


def distance_difference(distance: Distance, first: Distance) -> Estimate | None:
    """Give by how much a distance exceeds that of the first row; None for clips of other names.

    Both are to be of one reference, resampled under one seed.
    """
    if distance.clips != first.clips:
        return None
    value, low, high = distances_difference(distance.found, first.found, level=LEVEL)
    return Estimate(
        value=value,
        low=low,
        high=high,
        clips=len(distance.clips),
        reference_clips=distance.reference_clips,
    )
