"""The part of the page that tells what the sweep measured."""

from itertools import groupby

from tempprop.evaluation.markdown import table
from tempprop.spec import ClipSettings
from tempprop.studies.comparison import (
    FIGURES,
    STANDARD_ERRORS,
    Figure,
    difference,
    gains_and_costs,
    values,
)
from tempprop.studies.results import DRAWN_FILMS, Row, Study

HEADER = ("setting", "value", *(figure.heading for figure in FIGURES))

MARKS = {1: " ▲", 0: "", -1: " ▼"}

READING = f"""\
Each row is the mean over the same clips ({{clips}} of {{frames}} frames), with the same seeds; only
the one setting differs from the defaults. Frame 0 is the same picture in all of them, since
nothing is coupled to it. **consistency** is the cosine of a classifier's features of neighboring
frames, 1 for equal ones (and not that with frame 0, as in evaluation.md). **motion** is the mean
optical flow, in pixels a frame; flow between pictures that have nothing to do with each other is
large too, so it counts for something only where the consistency is high. **color drift** is the
largest distance of a frame's mean color to that of frame 0 (black and white are 1 apart). **jump**
is the largest difference of two neighbors over the mean one: 1 is even. **sharpness** is the energy
of fine detail against frame 0: below 1 the clip blurs. **recognized** is the share of frames in
which the classifier sees the thing and the background of the prompt. ▲ and ▼ mark what is better
and worse than the defaults by more than {STANDARD_ERRORS} standard errors of the difference, taken
clip by clip; more motion counts as better, and a sharpness nearer to 1. So few clips mark only
large differences: no mark does not mean no difference. The last row is films that the
training world draws of the same scenes, each with the same lively motion (those of evaluation.md
move in many ways)."""


def sweep_section(study: Study) -> str:
    """Write the section.

    Args:
        study: The rows of the sweep, the defaults first.

    Returns:
        Markdown, without a line break at the end.
    """
    defaults = study.rows[0]
    reading = READING.format(clips=len(study.prompts), frames=study.num_frames)
    parts = (
        "## One setting at a time",
        f"`{study.command}` wrote this ({_minutes(study)}).",
        reading,
        table(HEADER, [marked_cells(row, defaults) for row in study.rows]),
        "![Motion and consistency of every value of every setting](sweep.png)",
        "The star is the defaults, gray is everything else, the cross is the films. Settings whose "
        "values all lie on the star are left out.",
        "## What the defaults are, and why",
        _choice(study),
        "\n".join(_trades(study)),
        _dominance(study),
        "The prompts: " + "; ".join(f"“{prompt}”" for prompt in study.prompts) + ".",
    )
    return "\n\n".join(parts)


def row_cells(row: Row) -> tuple[str, ...]:
    """Give the cells of a row of the table, without marks."""
    return (*_names(row), *(_mean(row, figure) for figure in FIGURES))


def marked_cells(row: Row, defaults: Row) -> tuple[str, ...]:
    """Give the cells of a row of the table, with marks against the defaults."""
    marks = [MARKS[difference(row, defaults, figure)] for figure in FIGURES]
    if row.setting == DRAWN_FILMS:
        marks = [""] * len(FIGURES)
    means = [_mean(row, figure) for figure in FIGURES]
    return (*_names(row), *(mean + mark for mean, mark in zip(means, marks, strict=True)))


def _names(row: Row) -> tuple[str, str]:
    return row.setting or "defaults", _value(row.value)


def _value(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _mean(row: Row, figure: Figure) -> str:
    return figure.text(float(values(row, figure).mean()))


def _minutes(study: Study) -> str:
    return f"{sum(row.seconds for row in study.rows) / 60:.0f} minutes of rendering and measuring"


def _changed(study: Study) -> list[Row]:
    return [row for row in study.rows[1:] if row.setting != DRAWN_FILMS]


def _choice(study: Study) -> str:
    settings = ClipSettings()
    names = dict.fromkeys(row.setting for row in _changed(study))
    values = ", ".join(f"`{name}` {_value(getattr(settings, name))}" for name in names)
    defaults = study.rows[0]
    figures = ", ".join(
        f"{figure.words} {_mean(defaults, figure)} {figure.unit}".rstrip() for figure in FIGURES
    )
    return (
        f"The defaults are {values}. They are meant to lie between two ways to fail: frames that "
        "have little to do with each other, and a clip that stands still. What is wanted is the "
        "most motion at which the thing stays the same thing, and stays what was prompted. They "
        f"measure: {figures}. What every other value gains and costs against them:"
    )


def _trades(study: Study) -> list[str]:
    """Write a line for each setting: what its other values gain and cost."""
    lines = []
    for setting, rows in groupby(_changed(study), lambda row: row.setting):
        trades = "; ".join(_trade(row, study.rows[0]) for row in rows)
        lines.append(f"- `{setting}` {_value(getattr(ClipSettings(), setting))}: {trades}.")
    return lines


def _trade(row: Row, defaults: Row) -> str:
    gains, costs = gains_and_costs(row, defaults)
    said = [
        f"{verb} {', '.join(figure.words for figure in figures)}"
        for verb, figures in (("gains", gains), ("costs", costs))
        if figures
    ]
    return f"{_value(row.value)} {' and '.join(said) or 'makes no difference that is marked'}"


def _dominance(study: Study) -> str:
    better = [
        f"`{row.setting}` {_value(row.value)}"
        for row in _changed(study)
        if (trade := gains_and_costs(row, study.rows[0]))[0] and not trade[1]
    ]
    if not better:
        return "No value is better than the default in one figure without being worse in another."
    return (
        f"Marked as better in at least one figure and as worse in none: {', '.join(better)}. "
        "Before you take such a value, look at the figures without marks, too: more motion is "
        "easily had where clips jump, and what jumps in some of a few clips gets no mark."
    )
