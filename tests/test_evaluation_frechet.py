"""The Fréchet distance against closed forms, and intervals against samples whose truth is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempprop.evaluation.bootstrap import mean_interval
from tempprop.evaluation.frechet import (
    distances_difference,
    frechet_distance,
    gaussian_from,
    gaussian_of,
    sets_distance,
)

SEEDS = st.integers(0, 2**32 - 1)


def features(seed, rows, columns):
    """Correlated features with a mean: (rows, columns)."""
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((rows, columns)) @ rng.standard_normal((columns, columns))
        + rng.normal()
    )


def covariance(seed, size):
    mixed = np.random.default_rng(seed).standard_normal((size + 2, size))
    return mixed.T @ mixed / size


def rotation(seed, size):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


def distance(first, second):
    return frechet_distance(gaussian_of(first), gaussian_of(second))


def textbook(first, second):
    """The formula of FID as it is written, by general eigenvalues of the product."""
    shift = first.mean(0) - second.mean(0)
    s1, s2 = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    eigenvalues = np.linalg.eigvals(s1 @ s2).astype(complex)
    return float(shift @ shift + np.trace(s1) + np.trace(s2) - 2 * np.sqrt(eigenvalues).real.sum())


@settings(deadline=None)
@given(SEEDS, st.integers(2, 40), st.integers(1, 12))
def test_equal_sets_have_no_distance(seed, rows, columns):
    one = features(seed, rows, columns)
    assert distance(one, one) == pytest.approx(0, abs=1e-9 * np.square(one).sum())


@settings(deadline=None)
@given(SEEDS, st.integers(2, 40), st.integers(1, 12))
def test_a_shift_is_its_square(seed, rows, columns):
    one = features(seed, rows, columns)
    shift = np.random.default_rng(seed).standard_normal(columns)
    assert distance(one, one + shift) == pytest.approx(
        shift @ shift, abs=1e-8 * np.square(one).sum()
    )


@settings(deadline=None)
@given(SEEDS, st.floats(0.01, 100), st.floats(0.01, 100))
def test_scaled_covariances(seed, a, b):
    mean, shape = np.zeros(5), covariance(seed, 5)
    found = frechet_distance(gaussian_from(mean, a * shape), gaussian_from(mean, b * shape))
    expected = (np.sqrt(a) - np.sqrt(b)) ** 2 * np.trace(shape)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9 * (a + b) * np.trace(shape))


@settings(deadline=None)
@given(SEEDS, st.integers(2, 30), st.integers(2, 30))
def test_one_feature(seed, n, m):
    first, second = features(seed, n, 1), features(seed + 1, m, 1)
    expected = (first.mean() - second.mean()) ** 2
    expected += (first.std(ddof=1) - second.std(ddof=1)) ** 2
    assert distance(first, second) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@settings(deadline=None)
@given(SEEDS)
def test_covariances_with_the_same_axes(seed):
    rng = np.random.default_rng(seed)
    first, second, axes = rng.uniform(0, 9, 6), rng.uniform(0, 9, 6), rotation(seed, 6)
    shift = rng.standard_normal(6)
    found = frechet_distance(
        gaussian_from(np.zeros(6), axes @ np.diag(first) @ axes.T),
        gaussian_from(shift, axes @ np.diag(second) @ axes.T),
    )
    expected = shift @ shift + np.square(np.sqrt(first) - np.sqrt(second)).sum()
    assert found == pytest.approx(expected, rel=1e-6)


@settings(deadline=None)
@given(SEEDS, st.integers(2, 20), st.integers(2, 20), st.integers(1, 12))
def test_it_is_symmetric_and_does_not_turn_with_the_features(seed, n, m, columns):
    first, second = features(seed, n, columns), features(seed + 1, m, columns)
    turn = rotation(seed, columns)
    expected, scale = distance(first, second), np.square(first).sum() + np.square(second).sum()
    assert distance(second, first) == pytest.approx(expected, abs=1e-9 * scale)
    assert distance(first @ turn, second @ turn) == pytest.approx(expected, abs=1e-9 * scale)


@settings(deadline=None)
@given(SEEDS, st.integers(12, 40), st.integers(12, 40), st.integers(2, 8))
def test_it_is_the_textbooks_formula(seed, n, m, columns):
    first, second = features(seed, n, columns), features(seed + 1, m, columns)
    assert distance(first, second) == pytest.approx(textbook(first, second), rel=1e-6)


def test_fewer_clips_than_features_are_exact():
    # Two clips each: covariances of rank one, u uᵀ and v vᵀ, whose distance is known.
    u, v = np.array([3.0, 0, 4, 0, 0]), np.array([1.0, 2, 0, 0, 2])
    first, second = np.stack([u, -u]) / np.sqrt(2), np.stack([v, -v]) / np.sqrt(2)
    expected = u @ u + v @ v - 2 * abs(u @ v)
    assert distance(first, second) == pytest.approx(expected, rel=1e-12)


def test_repeated_rows_count_as_often():
    rows, counts = features(1, 6, 4), np.array([3, 1, 0, 2, 1, 5])
    other = gaussian_of(features(2, 9, 4))
    found = frechet_distance(gaussian_of(rows, counts), other)
    assert found == pytest.approx(frechet_distance(gaussian_of(np.repeat(rows, counts, 0)), other))


@pytest.mark.parametrize("rows", [np.ones((1, 3)), np.full((4, 3), np.nan), np.ones((0, 3))])
def test_what_has_no_covariance_is_refused(rows):
    with pytest.raises(ValueError, match="two rows of finite features"):
        gaussian_of(rows)


def test_samples_of_one_distribution_have_a_distance_that_falls_with_their_size():
    rng = np.random.default_rng(0)
    few, more = (
        np.mean([distance(*rng.standard_normal((2, size, 8))) for _ in range(20)])
        for size in (10, 160)
    )
    assert few > 5 * more > 0


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.integers(2, 6), st.integers(2, 6), st.integers(1, 3))
def test_an_interval_lies_around_its_distance_and_is_the_same_again(seed, n, m, rows):
    first = features(seed, n * rows, 5).reshape(n, rows, 5)
    second = features(seed + 1, m * rows, 5).reshape(m, rows, 5)
    found = sets_distance(first, second, resamples=100, seed=3)
    assert found == sets_distance(first, second, resamples=100, seed=3)
    assert found.low < found.high
    assert found.value == pytest.approx(distance(first.reshape(-1, 5), second.reshape(-1, 5)))
    without = sets_distance(first, second, resamples=0, seed=3)
    assert (without.low, without.value, without.high) == (found.value,) * 3


def test_intervals_of_distances_cover_what_other_samples_give():
    rng, shift = np.random.default_rng(5), np.array([1.5, 0, 0])

    def sample():
        return rng.standard_normal((40, 1, 3)), rng.standard_normal((40, 1, 3)) + shift

    expected = np.mean([distance(a[:, 0], b[:, 0]) for a, b in (sample() for _ in range(2000))])
    found = [sets_distance(*sample(), resamples=150, seed=n) for n in range(120)]
    covered = np.mean([each.low <= expected <= each.high for each in found])
    assert 0.89 <= covered <= 0.99
    # The truth is |shift|²; the bias that the resamples show is about that of the samples.
    assert np.mean([each.bias for each in found]) == pytest.approx(expected - 2.25, rel=0.3)


def test_intervals_of_differences_cover_what_other_samples_of_the_same_clips_give():
    """Of two methods that share most of what makes a clip, one a little further off."""
    rng, shift = np.random.default_rng(9), np.array([1.5, 0, 0])

    def sample():
        shared = rng.standard_normal((40, 1, 3))
        noise = 0.2 * rng.standard_normal((2, 40, 1, 3))
        return (
            rng.standard_normal((40, 1, 3)),
            shared + shift + noise[0],
            shared + 1.1 * shift + noise[1],
        )

    def distances(resamples, seed):
        real, *both = sample()
        return [sets_distance(each, real, resamples=resamples, seed=seed) for each in both]

    expected = np.mean(
        [two.value - one.value for one, two in (distances(0, 0) for _ in range(2000))]
    )
    found = [distances_difference(*reversed(distances(150, n))) for n in range(120)]
    assert 0.89 <= np.mean([low <= expected <= high for _, low, high in found]) <= 0.99
    one, two = distances(150, 0)
    assert np.ptp(distances_difference(two, one)) < (two.high - two.low) / 2


def test_distances_that_were_resampled_otherwise_have_no_difference():
    first, second = np.random.default_rng(1).standard_normal((2, 6, 1, 3))
    few, more = (sets_distance(first, second, resamples=count, seed=0) for count in (5, 6))
    with pytest.raises(ValueError, match="longer"):
        distances_difference(few, more)


def test_intervals_of_means_cover_the_truth():
    rng = np.random.default_rng(6)
    samples = rng.normal(2.0, 3.0, (400, 40))
    intervals = [mean_interval(each, resamples=300, seed=n) for n, each in enumerate(samples)]
    covered = np.mean([low <= 2.0 <= high for low, high in intervals])
    assert 0.90 <= covered <= 0.98


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.integers(0, 50))
def test_an_interval_of_a_mean_lies_within_its_values(values, resamples):
    figures = np.array(values)
    low, high = mean_interval(figures, resamples=resamples, seed=0)
    slack = 1e-9 * (1 + np.abs(figures).max())
    assert figures.min() - slack <= low <= high + slack <= figures.max() + 2 * slack
