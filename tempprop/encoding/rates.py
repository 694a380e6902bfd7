"""Frame rates as fractions, which is how media files keep them."""

import math
from fractions import Fraction

from tempprop.errors import EncodeError

LARGEST_RATE_TERM = 1_001_000
"""ffmpeg rounds rates whose numerator or denominator is larger."""


def frame_rate(fps: float) -> Fraction:
    """Write a frame rate as the fraction that ffmpeg keeps exactly, as in 24000/1001.

    Raises:
        EncodeError: The rate is too low to be written.
    """
    rate = Fraction(fps).limit_denominator(LARGEST_RATE_TERM // max(1, math.ceil(fps)))
    if rate <= 0:
        raise EncodeError(f"{fps} frames per second are too few")
    return rate
