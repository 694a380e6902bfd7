"""The Fréchet distance between two sets of features, as FID and FVD use it.

Each set is taken for a sample of a normal distribution; the squared distance of two of them is

    |m1 - m2|² + tr S1 + tr S2 - 2 tr (S1^½ S2 S1^½)^½

(Dowson and Landau, "The Fréchet distance between multivariate normal distributions", 1982; Heusel
et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", 2017,
equation 6; Unterthiner et al., "Towards Accurate Generative Models of Video", 2018).

With factors `S1 = F1ᵀ F1` and `S2 = F2ᵀ F2` the last trace is the sum of the singular values of
`F1 F2ᵀ`, since their squares are the eigenvalues of `S1^½ S2 S1^½`. The centered features are such
a factor, so that nothing is inverted, and sets of fewer rows than features are exact too.

The distance of samples is larger than that of the distributions that they come from: by an amount
that falls with their size, and that two samples of one distribution show as well. Only distances
between sets of the same sizes can be compared.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution.

    Attributes:
        mean: Shape `(features,)`.
        factor: Shape `(rank, features)`; the covariance is `factor.T @ factor`.
    """

    mean: Array
    factor: Array


@dataclass(frozen=True)
class FrechetDistance:
    """The distance of two sets of clips, and how much it varies from sample to sample.

    Attributes:
        value: The squared distance, as papers report it.
        low: Lower end of the interval.
        high: Upper end of the interval.
        bias: By how much the mean of the resamples lies above the value: an estimate of how much
            the value lies above the distance of the distributions.
        resampled: The distances of the resamples.
    """

    value: float
    low: float
    high: float
    bias: float
    resampled: tuple[float, ...]


def gaussian_of(rows: Array, counts: npt.NDArray[np.int64] | None = None) -> Gaussian:
    """Fit a normal distribution, with the unbiased covariance.

    Args:
        rows: Features, shape `(n, features)`.
        counts: How often each row occurs, shape `(n,)`; None for once.

    Raises:
        ValueError: There are fewer than two rows in all, or some are not finite.
    """
    often = np.ones(len(rows)) if counts is None else counts.astype(np.float64)
    if often.sum() < 2 or not np.isfinite(rows).all():
        raise ValueError("a covariance takes two rows of finite features")
    rows = rows.astype(np.float64)
    mean = often @ rows / often.sum()
    return Gaussian(mean, _smaller(np.sqrt(often / (often.sum() - 1))[:, None] * (rows - mean)))


def gaussian_from(mean: Array, covariance: Array) -> Gaussian:
    """Describe a normal distribution by its mean `(features,)` and covariance."""
    values, vectors = np.linalg.eigh(covariance)
    return Gaussian(mean, np.sqrt(np.maximum(values, 0))[:, None] * vectors.T)


def _smaller(factor: Array) -> Array:
    """Give a factor of the same product with no more rows than columns."""
    rows, columns = factor.shape
    return factor if rows <= columns else np.asarray(np.linalg.qr(factor, mode="r"))


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """Give the squared Fréchet distance of two normal distributions, see the module."""
    traces = np.square(first.factor).sum() + np.square(second.factor).sum()
    overlap = np.linalg.svd(first.factor @ second.factor.T, compute_uv=False).sum()
    shift = np.square(first.mean - second.mean).sum()
    # Rounding may leave a trifle below zero.
    return float(max(0.0, shift + traces - 2 * overlap))


def sets_distance(
    first: Array, second: Array, *, resamples: int, seed: int, level: float = 0.95
) -> FrechetDistance:
    """Give the distance of two sets of clips, with a bootstrap interval.

    Clips are drawn with replacement from both sets, each with all its rows. A resample repeats
    clips, which adds to the distance as a smaller sample does: percentiles of the resamples would
    often lie above the value. The interval has the percentiles' distances from their mean, around
    the value, and ends at 0. It tells what other samples of the same sizes may give, and leaves
    the bias in.

    Args:
        first: Shape `(clips, rows, features)`.
        second: Shape `(clips, rows, features)`; other numbers of clips and rows are fine.
        resamples: Number of resamples; 0 for an interval without extent.
        seed: Key of the resamples.
        level: Share of the resamples within the interval.

    Raises:
        ValueError: A set has fewer than two rows, or features that are not finite.
    """
    value = frechet_distance(_gaussian_of_clips(first), _gaussian_of_clips(second))
    rng = np.random.default_rng(seed)
    drawn = np.array(
        [
            frechet_distance(_resampled(first, rng), _resampled(second, rng))
            for _ in range(resamples)
        ]
    )
    low, high = _around(value, drawn, level)
    bias = float(drawn.mean() - value) if resamples else 0.0
    return FrechetDistance(value, max(0.0, low), high, bias, tuple(drawn.tolist()))


def distances_difference(
    found: FrechetDistance, other: FrechetDistance, *, level: float = 0.95
) -> tuple[float, float, float]:
    """Give by how much a distance exceeds another one, with its interval.

    Both are distances to one reference under one seed, of sets of as many clips: then resample k
    drew the same places in both. Where the same place is the same prompt and seed, what these have
    in common falls out of the difference, as does most of what the reference adds.

    Args:
        found: The one.
        other: What it is compared with.
        level: Share of the resamples within the interval.

    Returns:
        The difference and the ends of its interval, which lies around it as that of a distance
        does.

    Raises:
        ValueError: They were not resampled equally often.
    """
    value = found.value - other.value
    pairs = zip(found.resampled, other.resampled, strict=True)
    drawn = np.array([one - another for one, another in pairs])
    return value, *_around(value, drawn, level)


def _around(value: float, drawn: Array, level: float) -> tuple[float, float]:
    """Put the percentiles' distances from the resamples' mean around a value."""
    if len(drawn) == 0:
        return value, value
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) - drawn.mean() + value
    return float(low), float(high)


def _gaussian_of_clips(clips: Array) -> Gaussian:
    return gaussian_of(clips.reshape(-1, clips.shape[-1]))


def _resampled(clips: Array, rng: np.random.Generator) -> Gaussian:
    """Fit a distribution to as many clips, drawn with replacement."""
    drawn, counts = np.unique(rng.integers(len(clips), size=len(clips)), return_counts=True)
    rows = clips[drawn]
    return gaussian_of(rows.reshape(-1, rows.shape[-1]), np.repeat(counts, rows.shape[1]))
