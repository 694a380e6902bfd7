"""A plot of an evaluation: a panel for each metric, a dot with its interval for each source."""

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
    StrMethodFormatter,
)

from tempprop.evaluation.metrics import BY_NAME, Metric
from tempprop.evaluation.results import Evaluation

COLUMNS = 4
PANEL_WIDTH = 3.4
"""Inches."""
LINE = 0.28
"""Inches for a source in a panel."""
FRAME = 1.0
"""Inches for a panel's title and axis."""
DPI = 120
COLOR = "#2563a8"
LEVEL_COLOR = "#c9ccd3"
TICKS = 4
WIDE = 20.0
"""Times as much as the least figure is the largest, where an axis has to be logarithmic."""


def as_plot(evaluation: Evaluation, level: str | None = None) -> bytes:
    """Draw the figures of all sources, as PNG.

    Args:
        evaluation: What was found.
        level: Name of a source whose figures are drawn as a line through all others.
    """
    metrics = [BY_NAME[name] for name in evaluation.metrics]
    lines = -(-len(metrics) // COLUMNS)
    height = lines * (FRAME + LINE * len(evaluation.rows))
    plot = Figure(figsize=(COLUMNS * PANEL_WIDTH, height), layout="constrained")
    axes = list(plot.subplots(lines, COLUMNS, squeeze=False).flat)
    for unused in axes[len(metrics) :]:
        unused.remove()
    for axis, metric in zip(axes, metrics, strict=False):
        _draw(axis, metric, evaluation, level)
    content = io.BytesIO()
    plot.savefig(content, format="png", dpi=DPI)
    return content.getvalue()


def _draw(axis: Axes, metric: Metric, evaluation: Evaluation, level: str | None) -> None:
    figures = [row.figures[metric.name] for row in evaluation.rows if metric.name in row.figures]
    least = min((figure.low for figure in figures), default=0.0)
    if least > 0 and max(figure.high for figure in figures) > WIDE * least:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
    else:
        axis.xaxis.set_major_locator(MaxNLocator(TICKS))
    for place, row in enumerate(evaluation.rows):
        estimate = row.figures.get(metric.name)
        if estimate is None:
            continue
        if row.name == level:
            axis.axvline(estimate.value, color=LEVEL_COLOR, lw=2, zorder=0)
        below, above = estimate.value - estimate.low, estimate.high - estimate.value
        error = [[max(0.0, below)], [max(0.0, above)]]
        axis.errorbar(estimate.value, place, xerr=error, fmt="o", color=COLOR, ms=5, capsize=3)
    axis.set_yticks(range(len(evaluation.rows)), [row.name for row in evaluation.rows])
    if metric.form.endswith("%"):
        axis.xaxis.set_major_formatter(PercentFormatter(1))
    axis.set_ylim(len(evaluation.rows) - 0.5, -0.5)
    axis.set_title(metric.heading, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
