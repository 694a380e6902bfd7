"""Rows of a sweep against its first row, the defaults: what a setting gains and what it costs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tempprop.studies.results import Row

STANDARD_ERRORS = 3
"""A difference counts when it is more than this many standard errors away from none."""


@dataclass(frozen=True)
class Figure:
    """How a figure of `clip_figures` is read.

    Attributes:
        name: Its name.
        unit: What it is measured in; empty for a number without one.
        form: How it is written, in Python's format language.
        loss: What is to be small.
    """

    name: str
    unit: str
    form: str
    loss: Callable[[float], float]

    @property
    def words(self) -> str:
        """Its name as words."""
        return self.name.replace("_", " ")

    @property
    def heading(self) -> str:
        """Name and unit."""
        return f"{self.words}, {self.unit}" if self.unit else self.words

    def text(self, value: float) -> str:
        """Write a value."""
        return format(value, self.form)


FIGURES = (
    Figure("consistency", "", ".4f", lambda value: -value),
    Figure("motion", "px", ".2f", lambda value: -value),
    Figure("color_drift", "", ".3f", lambda value: value),
    Figure("jump", "", ".2f", lambda value: value),
    Figure("sharpness", "", ".2f", lambda value: abs(1 - value)),
    Figure("recognized", "", ".0%", lambda value: -value),
)


def values(row: Row, figure: Figure) -> npt.NDArray[np.float64]:
    """Give a figure of every clip of a row, shape `(clips,)`."""
    return np.array([clip[figure.name] for clip in row.clips], dtype=np.float64)


def difference(row: Row, defaults: Row, figure: Figure) -> int:
    """Compare a row with the defaults, clip by clip: the clips differ more than the settings do.

    Args:
        row: What to compare.
        defaults: The same prompts and seeds under the defaults.
        figure: What to compare.

    Returns:
        1 where the row is better, -1 where it is worse, 0 where the mean difference of the losses
        lies within `STANDARD_ERRORS` standard errors of zero, or where there is one clip only.
    """
    gains = _losses(defaults, figure) - _losses(row, figure)
    if len(gains) < 2:
        return 0
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    return int(np.sign(gains.mean())) if abs(gains.mean()) > STANDARD_ERRORS * error else 0


def _losses(row: Row, figure: Figure) -> npt.NDArray[np.float64]:
    return np.array([figure.loss(value) for value in values(row, figure)])


def gains_and_costs(row: Row, defaults: Row) -> tuple[list[Figure], list[Figure]]:
    """Give the figures in which a row is better than the defaults, and those in which it is worse.

    See `difference`.
    """
    signs = {figure: difference(row, defaults, figure) for figure in FIGURES}
    return (
        [figure for figure, sign in signs.items() if sign > 0],
        [figure for figure, sign in signs.items() if sign < 0],
    )
