"""Wilson's interval and the sign test, against published values and what defines them."""

import math
from itertools import product
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempprop.blind_study.statistics import sign_test, wilson_interval

counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


# R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, Table I, method 3; the last two are
# z / (2 sqrt(n + z^2)) about one half, and n / (n + z^2).
@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_published_intervals(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


# Counted by hand, as 2 (1 + 10 + 45) / 1024 for 8 of 10.
@pytest.mark.parametrize(
    ("successes", "trials", "p_value"),
    [(8, 10, 0.109375), (0, 5, 0.0625), (9, 10, 0.021484375), (5, 10, 1.0), (0, 1, 1.0)],
)
def test_known_p_values(successes, trials, p_value):
    assert sign_test(successes, trials) == p_value


def test_without_answers_nothing_is_known():
    assert wilson_interval(0, 0) == (0, 1)
    assert sign_test(0, 0) == 1


@given(counts, st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_the_bounds_are_where_the_score_test_stops_rejecting(count, confidence):
    successes, trials = count
    low, high = wilson_interval(successes, trials, confidence)
    share, z = successes / trials, NormalDist().inv_cdf((1 + confidence) / 2)
    assert 0 <= low <= share <= high <= 1
    for bound in (low, high):
        assert abs(share - bound) == pytest.approx(
            z * math.sqrt(bound * (1 - bound) / trials), abs=1e-7
        )


@given(counts)
def test_swapping_the_methods_mirrors_the_interval_and_keeps_the_p_value(count):
    successes, trials = count
    low, high = wilson_interval(successes, trials)
    mirrored = wilson_interval(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)
    assert sign_test(successes, trials) == sign_test(trials - successes, trials)


@given(counts, st.integers(2, 10))
def test_more_answers_of_the_same_share_say_more(count, times):
    successes, trials = count
    low, high = wilson_interval(successes, trials)
    narrower = wilson_interval(times * successes, times * trials)
    assert narrower[1] - narrower[0] < high - low


@given(st.integers(1, 10).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_p_value_counts_the_tosses_that_are_at_least_as_uneven(count):
    successes, trials = count
    tosses = [sum(toss) for toss in product((0, 1), repeat=trials)]
    as_uneven = [abs(2 * heads - trials) >= abs(2 * successes - trials) for heads in tosses]
    assert sign_test(successes, trials) == pytest.approx(sum(as_uneven) / len(tosses))
