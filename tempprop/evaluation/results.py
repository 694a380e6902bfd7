"""What an evaluation found, as values and as JSON."""

from tempprop.spec import Frozen

LEVEL = 0.95
"""Share of the resamples that an interval holds."""


class Estimate(Frozen):
    """A figure with its interval.

    Attributes:
        value: The figure.
        low: Lower end of the interval.
        high: Upper end of the interval.
        clips: How many clips it is of.
        reference_clips: How many clips of the reference; None where it takes none.
        bias: Of a distance, how far the resamples lie above it on average; else None.
    """

    value: float
    low: float
    high: float
    clips: int
    reference_clips: int | None = None
    bias: float | None = None


def written(estimate: Estimate | None, form: str) -> str:
    """Write a figure with its interval, or a dash where there is none.

    Args:
        estimate: The figure.
        form: How its numbers are written, in Python's format language.
    """
    if estimate is None:
        return "-"
    value, low, high = (format(n, form) for n in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


class Row(Frozen):
    """What was found of one source.

    Attributes:
        name: What the caller calls it.
        source: Its path or URI, without credentials.
        clips: How many there are.
        width: Pixels of every clip.
        height: Pixels of every clip.
        fewest_frames: Evaluated frames of the shortest clip.
        figures: The figures by metric; one that no clip has is left out.
        differences: To the first row, by metric: of the clips that it has too the mean, and of
            distances, where all clips are called the same, by how much this one is larger.
        by_clip: The figures of every clip, by its name and by metric.
    """

    name: str
    source: str
    clips: int
    width: int
    height: int
    fewest_frames: int
    figures: dict[str, Estimate]
    differences: dict[str, Estimate]
    by_clip: dict[str, dict[str, float]]


class Evaluation(Frozen):
    """What was found.

    Attributes:
        frames: How many frames of each clip count, from its beginning.
        resamples: Resamples of each interval.
        seed: Key of the resamples.
        level: Share of the resamples that an interval holds.
        metrics: The metrics, in order.
        reference: Path or URI of the reference; None for none.
        reference_clips: How many clips it has.
        rows: One a source.
        left_out: Metrics that could not be had, and why.
        notes: What a reader should know about the figures.
        versions: Of the software.
    """

    frames: int
    resamples: int
    seed: int
    level: float
    metrics: tuple[str, ...]
    reference: str | None
    reference_clips: int | None
    rows: tuple[Row, ...]
    left_out: dict[str, str]
    notes: tuple[str, ...]
    versions: dict[str, str]
