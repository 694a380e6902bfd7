"""Plots of the studies, as PNG."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot

from tempprop.evaluation.clip_metrics import Series
from tempprop.spec import ClipSettings
from tempprop.studies.comparison import FIGURES, Figure, values
from tempprop.studies.drift_page import CURVES, WINDOW, mean_curve
from tempprop.studies.results import DRAWN_FILMS, FEEDBACK, Row, Study

COLUMNS = 5
"""Of panels; one more where they all fit into one row."""
PANEL = (3.0, 2.7)
"""Width and height of a panel in inches."""
DPI = 120
CLOSE = (0.3, 0.0009)
"""Motion and consistency within which labels would hide each other."""
QUIET = "#c9ccd3"
STRONG = "#c2412d"
MORE_COLORS = (
    "#2563a8",
    "#2f8f5b",
    "#b7791f",
    "#7c4dac",
    "#0e8a8a",
    "#8a5a44",
    "#d0559a",
    "#5b6472",
    "#1c1f26",
    "#4d9de0",
)

KEPT = ("color_distance", "sharpness", "recognized", "likeness", "motion")
"""Color, detail, content and identity, which are lost where frames are made of one another, and
life."""

CONSISTENCY, MOTION = FIGURES[0], FIGURES[1]


def plot_sweep(study: Study, path: Path) -> None:
    """Draw motion against consistency, a panel for each setting.

    Args:
        study: The rows of the sweep, the defaults first.
        path: The PNG to write.
    """
    measured = [row for row in study.rows if row.setting != DRAWN_FILMS]
    films = [row for row in study.rows if row.setting == DRAWN_FILMS]
    settings = [
        (setting, list(rows)) for setting, rows in groupby(measured[1:], lambda row: row.setting)
    ]
    moved = [
        (setting, rows)
        for setting, rows in settings
        if not all(_are_close(_place(row), _place(measured[0])) for row in rows)
    ]
    panels = moved or settings
    plot, axes = _panels(len(panels))
    for axis, (setting, rows) in zip(axes, panels, strict=True):
        axis.scatter(*_points(measured), s=12, color=QUIET, zorder=1)
        axis.plot(*_points(films), "x", color=MORE_COLORS[0], ms=8, mew=2)
        _draw_setting(axis, setting, rows, measured[0])
        axis.set_title(setting, fontsize=10)
        axis.set_xlabel("motion, pixels a frame")
        axis.set_ylabel("consistency")
    plot.savefig(path, dpi=DPI)


def _draw_setting(axis: Axes, setting: str, rows: list[Row], defaults: Row) -> None:
    default = getattr(ClipSettings(), setting)
    named = [(row.value, row) for row in rows] + [(default, defaults)]
    if not isinstance(default, str):
        named.sort(key=lambda pair: pair[0])
    points = _points([row for _, row in named])
    axis.plot(*points, "o-" if not isinstance(default, str) else "o", color=STRONG, ms=4, lw=1)
    axis.plot(*_points([defaults]), "*", color=STRONG, ms=13)
    for label, x, y in _labels([f"{value}" for value, _ in named], *points):
        axis.annotate(label, (x, y), (5, 4), textcoords="offset points", fontsize=8)


def _labels(
    values: list[str], motion: list[float], consistency: list[float]
) -> list[tuple[str, float, float]]:
    """Name the points; those that lie on top of each other get one label together."""
    labels: list[tuple[str, float, float]] = []
    for value, x, y in zip(values, motion, consistency, strict=True):
        hidden = [n for n, label in enumerate(labels) if _are_close((x, y), label[1:])]
        if hidden:
            before, *place = labels[hidden[0]]
            labels[hidden[0]] = (f"{before}, {value}", place[0], place[1])
        else:
            labels.append((value, x, y))
    return labels


def _place(row: Row) -> tuple[float, float]:
    return _means([row], MOTION)[0], _means([row], CONSISTENCY)[0]


def _are_close(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return all(abs(a - b) < near for a, b, near in zip(one, other, CLOSE, strict=True))


def _points(rows: list[Row]) -> tuple[list[float], list[float]]:
    return _means(rows, MOTION), _means(rows, CONSISTENCY)


def _means(rows: list[Row], figure: Figure) -> list[float]:
    return [float(values(row, figure).mean()) for row in rows]


def plot_drift(rows: Sequence[Row], curves: Mapping[str, tuple[str, str]], path: Path) -> None:
    """Draw figures along the clip, a line for each row, smoothed over `WINDOW` frames.

    Args:
        rows: The defaults first.
        curves: Heading and format of each figure, by its name.
        path: The PNG to write.
    """
    plot, axes = _panels(len(curves) + 1)
    for axis, (name, (heading, form)) in zip(axes, curves.items(), strict=False):
        for number, row in enumerate(rows):
            color = STRONG if number == 0 else MORE_COLORS[(number - 1) % len(MORE_COLORS)]
            frames, smooth = _smoothed(mean_curve(row, name))
            axis.plot(
                frames,
                smooth,
                color=color,
                lw=2 if number == 0 else 1,
                zorder=-number,
                label=row.setting or "defaults",
            )
        axis.set_title(heading, fontsize=10)
        if form.endswith("%"):
            axis.set_ylim(-0.05, 1.05)
        axis.set_xlabel("frame")
    axes[-1].axis("off")
    axes[-1].legend(*axes[0].get_legend_handles_labels(), loc="center left", frameon=False)
    plot.savefig(path, dpi=DPI)


def plot_feedback(study: Study, path: Path) -> None:
    """Draw the defaults beside image-to-image feedback: what each keeps of frame 0.

    Args:
        study: The rows, the defaults first.
        path: The PNG to write.
    """
    rows = [row for number, row in enumerate(study.rows) if number == 0 or row.setting == FEEDBACK]
    plot_drift(rows, {name: CURVES[name] for name in KEPT}, path)


def _smoothed(curve: Series) -> tuple[Series, Series]:
    """Average a curve over a moving window; returns the windows' centers and their means."""
    size = min(WINDOW, len(curve) - 1)
    means = np.convolve(curve[1:], np.full(size, 1 / size), mode="valid")
    centers = np.arange(len(means), dtype=np.float64) + 1 + (size - 1) / 2.0
    return centers, means.astype(np.float64)


def _panels(count: int) -> tuple[Plot, list[Axes]]:
    """Make a figure of at least that many panels, in rows; returns what was asked for."""
    columns = count if count <= COLUMNS + 1 else COLUMNS
    rows = -(-count // columns)
    plot = Plot(figsize=(columns * PANEL[0], rows * PANEL[1]), layout="constrained")
    axes = list(plot.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.remove()
    for axis in axes[:count]:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    return plot, axes[:count]
