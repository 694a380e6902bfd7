"""A clip whose pixels are known: a machine that renders other ones is broken."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tempprop.frames import Frames
from tempprop.pipeline import load_pipeline
from tempprop.render import render_clip
from tempprop.spec import ClipSpec

CANARY = ClipSpec(
    clip_id="canary",
    prompt="a red balloon over green hills",
    seed=20,
    model="mini",
    num_frames=2,
    num_inference_steps=4,
)
"""Rendered in single precision, with the coupling of the defaults."""

KNOWN = Path(__file__).parent / "mini" / "canary.png"
"""Its frames side by side, from a CPU."""

TOLERANCE = 2.0
"""Levels of 255 by which sound devices may differ on average: rounding, and TF32 on GPUs."""


def canary_fault() -> str | None:
    """Render the canary on this process's device, and compare.

    Returns:
        What is wrong; None where the picture is as it should be.
    """
    try:
        frames = render_canary()
    except Exception as error:
        return f"the canary clip failed: {type(error).__name__}: {error}"
    return difference_to_known(frames)


def render_canary() -> Frames:
    """Render the canary; returns its frames side by side, `(128, 256, 3)`."""
    return np.concatenate(list(render_clip(load_pipeline("mini"), CANARY)), axis=1)


def difference_to_known(frames: npt.NDArray[np.uint8]) -> str | None:
    """Say how far pictures are from those of the canary, where that is too far."""
    with Image.open(KNOWN) as picture:
        known = np.asarray(picture.convert("RGB"))
    difference = float(np.abs(frames.astype(np.float64) - known).mean())
    if difference <= TOLERANCE:
        return None
    return (
        f"the canary clip came out wrong: its pixels differ by {difference:.1f} levels of 255 on "
        f"average from what they are known to be, and at most {TOLERANCE:g} are rounding"
    )
