"""An evaluation for people: lines for a terminal, a page of Markdown, a plot."""

from collections.abc import Sequence

from tempprop.evaluation.markdown import table
from tempprop.evaluation.metrics import BY_NAME, Metric
from tempprop.evaluation.plot import as_plot
from tempprop.evaluation.results import Evaluation, Row, written
from tempprop.objects import Store, write_object

FILES = ("evaluation.json", "evaluation.md", "evaluation.png")

READING = """\
Of each clip the first {frames} frames count. A figure is the mean over the clips, a distance is
that of all clips to the reference. In brackets are intervals that hold {level:.0%} of {resamples}
resamples of the clips (seed {seed}); of fewer than about ten clips they are too narrow. Those of
distances are moved to lie around the value: a resample repeats clips, which adds to a distance.
Arrows say which way is better, →1 that a ratio is to stay at 1."""

DIFFERENCES = """\
The mean difference to {first}, clip by clip, of the clips that have the same name there. Distances
are compared where all clips are called the same, in resamples of the same clips. Where an interval
does not hold 0, the rows differ by more than clips do."""


def write_report(evaluation: Evaluation, store: Store) -> None:
    """Write `FILES`, over those that are there.

    Raises:
        StoreInputError: The location cannot be written.
        StoreError: The disk is full, or the store did not answer.
    """
    for name, content in zip(
        FILES,
        (as_json(evaluation).encode(), as_markdown(evaluation).encode(), as_plot(evaluation)),
        strict=True,
    ):
        write_object(store, name, content)


def as_json(evaluation: Evaluation) -> str:
    """Write all that was found as JSON."""
    return evaluation.model_dump_json(indent=1) + "\n"


def terminal_lines(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Give a header and one line a metric, with a column for each source."""
    header = ["", *(row.name for row in evaluation.rows)]
    clips = ["clips", *(str(row.clips) for row in evaluation.rows)]
    lines = [
        [
            metric.heading,
            *(written(row.figures.get(metric.name), metric.form) for row in evaluation.rows),
        ]
        for metric in _metrics(evaluation)
    ]
    return header, [clips, *lines]


def as_markdown(evaluation: Evaluation) -> str:
    """Write the page: the table, the differences to its first row, and how to read them."""
    metrics = _metrics(evaluation)
    parts = [
        "# Evaluation of clips",
        READING.format(**evaluation.model_dump()),
        _figures(evaluation),
        *_differences(evaluation),
        *_reference(evaluation),
        "\n".join(f"- **{metric.heading}**: {metric.meaning}" for metric in metrics),
        "\n".join(f"- {note}." for note in evaluation.notes),
        "\n".join(f"- Left out, {name}: {why}." for name, why in evaluation.left_out.items()),
        "Versions: " + ", ".join(f"{k} {v}" for k, v in evaluation.versions.items()) + ".",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _metrics(evaluation: Evaluation) -> list[Metric]:
    return [BY_NAME[name] for name in evaluation.metrics]


def _line(row: Row, clips: int, cells: Sequence[str]) -> list[str]:
    return [row.name.replace("|", "\\|"), str(clips), *cells]


def _figures(evaluation: Evaluation) -> str:
    metrics = _metrics(evaluation)
    rows = [
        _line(
            row,
            row.clips,
            [written(row.figures.get(metric.name), metric.form) for metric in metrics],
        )
        for row in evaluation.rows
    ]
    return table(("clips of", "clips", *(metric.heading for metric in metrics)), rows)


def _differences(evaluation: Evaluation) -> list[str]:
    """Write the table of the rows that have clips in common with the first one, if there are."""
    first, *others = evaluation.rows
    compared = [row for row in others if row.differences]
    if not compared:
        return []
    metrics = [
        m for m in _metrics(evaluation) if any(m.name in row.differences for row in compared)
    ]
    rows = [
        _line(
            row,
            max(estimate.clips for estimate in row.differences.values()),
            [written(row.differences.get(metric.name), f"+{metric.form}") for metric in metrics],
        )
        for row in compared
    ]
    header = ("difference of", "clips", *(metric.heading for metric in metrics))
    return [DIFFERENCES.format(first=first.name), table(header, rows)]


def _reference(evaluation: Evaluation) -> list[str]:
    if evaluation.reference is None:
        return []
    return [f"The reference is {evaluation.reference}, {evaluation.reference_clips} clips."]
