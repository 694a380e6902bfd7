"""How sure a share of answers is: Wilson's interval and the exact sign test."""

import math
from statistics import NormalDist

CONFIDENCE = 0.95


def wilson_interval(
    successes: int, trials: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Bound the share behind a count, by Wilson's score interval.

    The shares p that a score test does not reject: with n trials, the observed share q and the
    normal quantile z, |q - p| <= z sqrt(p (1 - p) / n), solved for p. It stays within 0 and 1, and
    holds for few answers and for shares near the ends, where q ± z sqrt(q (1 - q) / n) does not.

    E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of
    the American Statistical Association 22 (1927), 209-212.

    Args:
        successes: How many there were, 0 to `trials`.
        trials: Out of how many; 0 gives the whole range, for nothing is known.
        confidence: Of the interval, above 0 and below 1.

    Returns:
        The lower and the upper bound, 0 to 1.
    """
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = successes / trials, z * z / trials
    center = (share + weight / 2) / (1 + weight)
    reach = math.sqrt(share * (1 - share) * weight + weight * weight / 4) / (1 + weight)
    # Exactly 0 and 1 at the ends, where the formula's two terms are equal but for rounding.
    low = 0.0 if successes == 0 else center - reach
    high = 1.0 if successes == trials else center + reach
    return low, high


def sign_test(successes: int, trials: int) -> float:
    """Test whether both outcomes are equally likely, exactly and on both sides.

    The probability, where each trial is the toss of a fair coin, of a count that lies at least as
    far from half of the trials: twice the lower tail of the binomial distribution, at most 1.

    Args:
        successes: How many there were, 0 to `trials`.
        trials: Out of how many, ties left out; 0 gives 1.

    Returns:
        The p-value, above 0 (but for underflow) and at most 1.
    """
    ways = tail = 1  # to see no success at all
    for count in range(min(successes, trials - successes)):
        ways = ways * (trials - count) // (count + 1)
        tail += ways
    return min(1.0, 2 * tail / (1 << trials))
