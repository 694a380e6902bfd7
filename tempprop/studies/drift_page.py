"""The part of the page that tells how long clips fare."""

import numpy as np

from tempprop.evaluation.clip_metrics import Series
from tempprop.evaluation.markdown import table
from tempprop.studies.results import Row, Study

WINDOW = 16
"""Frames over which the table averages."""

CURVES: dict[str, tuple[str, str]] = {
    "color_distance": ("color distance", ".3f"),
    "latent_mean": ("latent mean", ".3f"),
    "latent_deviation": ("latent deviation", ".2f"),
    "contrast": ("contrast", ".2f"),
    "sharpness": ("sharpness", ".2f"),
    "likeness": ("likeness", ".3f"),
    "motion": ("motion, px", ".2f"),
    "frozen": ("frozen", ".0%"),
    "recognized": ("recognized", ".0%"),
}
"""Heading and format of each curve, in the order of the columns."""

READING = """\
Each cell is the mean over the frames named in its row and over the clips ({clips} of {frames}
frames).
**color distance** is that of a frame's mean color to frame 0's (black and white are 1 apart).
**latent mean** and **latent deviation** say the same of the latents, as the autoencoder sees the
frames: the root mean square, over the channels, of the difference of their means to frame 0's,
and the ratio of their standard deviations. **contrast** is the ratio of the standard deviations
of luma; it rises where a picture burns in. **sharpness** is the energy of fine detail against
frame 0; it falls where blur adds up. **likeness** is the cosine of the classifier's features to
frame 0's. **motion** is the mean optical flow. **frozen** is the share of frames that equal the
one before. **recognized** is the share of frames that show what was prompted. What comes and
goes within a row is the clip's own life; what goes on in one direction from window to window
adds up. The uncoupled row shows how much such figures differ between pictures that have
nothing in common but the prompt."""


def windows(num_frames: int) -> list[slice]:
    """Give the frames that the table averages: after frame 0, about the quarters, and the last.

    Args:
        num_frames: Length of the clip, at least 2.

    Returns:
        Up to four different ranges of the same length, none with frame 0.
    """
    size = min(WINDOW, num_frames - 1)
    last = num_frames - size
    starts = (1, num_frames // 4 - size // 2, num_frames // 2 - size // 2, last)
    held = dict.fromkeys(min(max(start, 1), last) for start in starts)
    return [slice(start, start + size) for start in held]


def mean_curve(row: Row, name: str) -> Series:
    """Average a curve over the clips of a row, shape `(frames,)`."""
    curves = np.array([clip[name] for clip in row.clips], dtype=np.float64)
    mean: Series = curves.mean(axis=0)
    return mean


def drift_section(study: Study) -> str:
    """Write the section.

    Args:
        study: The rows, the defaults first.

    Returns:
        Markdown, without a line break at the end.
    """
    minutes = sum(row.seconds for row in study.rows) / 60
    parts = (
        "## Long clips",
        f"`{study.command}` wrote this ({minutes:.0f} minutes of rendering and measuring).",
        READING.format(clips=len(study.prompts), frames=study.num_frames),
        table(
            ("settings", "frames", *(heading for heading, _ in CURVES.values())),
            [cells for row in study.rows for cells in _row_cells(row, study.num_frames)],
        ),
        "![The same along the clips](drift.png)",
        "\n".join(_meaning(row) for row in study.rows if isinstance(row.value, dict)),
        "The prompts: " + "; ".join(f"“{prompt}”" for prompt in study.prompts) + ".",
    )
    return "\n\n".join(parts)


def _meaning(row: Row) -> str:
    assert isinstance(row.value, dict), "the defaults need no explanation"
    settings = ", ".join(f"`{name}` {value}" for name, value in row.value.items())
    return f"- {row.setting}: {settings}"


def _row_cells(row: Row, num_frames: int) -> list[tuple[str, ...]]:
    return [
        (
            (row.setting or "defaults") if number == 0 else "",
            f"{window.start} to {window.stop - 1}",
            *(
                format(mean_curve(row, name)[window].mean(), form)
                for name, (_, form) in CURVES.items()
            ),
        )
        for number, window in enumerate(windows(num_frames))
    ]
