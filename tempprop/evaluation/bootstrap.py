"""Percentile intervals of means, by resampling clips.

Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979. Intervals of few clips are too
narrow, like all of this kind: with ten, one that is called 95 % covers about 90 %.
"""

import numpy as np
import numpy.typing as npt


def mean_interval(
    values: npt.NDArray[np.float64], *, resamples: int, seed: int, level: float = 0.95
) -> tuple[float, float]:
    """Give the interval in which the mean of other samples of the same clips' kind would lie.

    Args:
        values: One figure a clip, at least one.
        resamples: Number of resamples; 0 for an interval without extent.
        seed: Key of the resamples.
        level: Share of the resamples within the interval.

    Returns:
        Its lower and its upper end.
    """
    if resamples == 0:
        return float(values.mean()), float(values.mean())
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
