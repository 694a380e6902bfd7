"""A plot of an evaluation: a panel for each metric, a dot with its interval for each source."""

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

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


def as_plot(evaluation: Evaluation) -> bytes:
    """Draw the figures of all sources, as PNG."""
    metrics = [BY_NAME[name] for name in evaluation.metrics]
    lines = -(-len(metrics) // COLUMNS)
    height = lines * (FRAME + LINE * len(evaluation.rows))
    plot = Figure(figsize=(COLUMNS * PANEL_WIDTH, height), layout="constrained")
    axes = list(plot.subplots(lines, COLUMNS, squeeze=False).flat)
    for unused in axes[len(metrics) :]:
        unused.remove()
    for axis, metric in zip(axes, metrics, strict=False):
        _draw(axis, metric, evaluation)
    content = io.BytesIO()
    plot.savefig(content, format="png", dpi=DPI)
    return content.getvalue()


def _draw(axis: Axes, metric: Metric, evaluation: Evaluation) -> None:
    for place, row in enumerate(evaluation.rows):
        estimate = row.figures.get(metric.name)
        if estimate is None:
            continue
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
