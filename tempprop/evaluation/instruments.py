"""What measures a clip: each instrument looks at its frames once, and gives all that it sees."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tempprop.evaluation.clip_metrics import picture_figures
from tempprop.evaluation.motion_features import CUBE_FRAMES, motion_features
from tempprop.evaluation.prompts import asked_for
from tempprop.frames import Frames

FEWEST_VIDEO_FRAMES = 9
"""I3D takes no fewer."""

SMALLEST_LPIPS_SIDE = 32
"""Pixels; the deepest layer of LPIPS has nothing left of smaller pictures."""

Measured = Mapping[str, npt.NDArray[np.float64]]
"""Figures by the names of their metrics, without dimensions, and perhaps `features` of the shape
`(rows, features)`."""


@dataclass(frozen=True)
class Shown:
    """What is known of a clip before it is measured.

    Attributes:
        num_frames: How many of its frames are evaluated.
        height: Pixels.
        width: Pixels.
        prompt: What it shows; None where nobody says so.
    """

    num_frames: int
    height: int
    width: int
    prompt: str | None = None


Measure = Callable[[Frames, Shown], Measured]
"""Measures the frames of a clip."""


@dataclass(frozen=True)
class Instrument:
    """Something that measures clips.

    Attributes:
        name: What metrics call it.
        version: Raised whenever the same frames would give other figures than before.
        load: Loads what it takes; of its networks, from the directory that the caller named.
        fits: Tells whether a clip can be measured, where so many frames are asked for.
        needs: What a clip must have to fit, in words.
        by_prompt: Whether figures depend on the prompt.
    """

    name: str
    version: int
    load: Callable[[Path | None], Measure]
    fits: Callable[[Shown, int], bool] = lambda shown, frames: True
    needs: str = ""
    by_prompt: bool = False


def _measure_pictures(frames: Frames, _: Shown) -> Measured:
    return {name: np.array(value) for name, value in picture_figures(frames).items()}


def _measure_tracks(frames: Frames, _: Shown) -> Measured:
    return {"features": motion_features(frames)[None]}


def _trained(name: str) -> Callable[[Path | None], Measure]:
    def load(directory: Path | None) -> Measure:
        # Torch and diffusers take seconds, which bad input and untrained figures need not wait for.
        from tempprop.evaluation.trained import TRAINED  # noqa: PLC0415

        return TRAINED[name](directory)

    return load


INSTRUMENTS = {
    instrument.name: instrument
    for instrument in (
        Instrument("pictures", 1, lambda _: _measure_pictures),
        Instrument(
            "tracks",
            1,
            lambda _: _measure_tracks,
            lambda shown, frames: shown.num_frames == frames >= CUBE_FRAMES,
            "all of the frames that are asked for, four at least",
        ),
        Instrument(
            "i3d",
            1,
            _trained("i3d"),
            lambda shown, frames: shown.num_frames == frames >= FEWEST_VIDEO_FRAMES,
            "all of the frames that are asked for, nine at least",
        ),
        Instrument("inception", 2, _trained("inception")),
        Instrument(
            "lpips",
            1,
            _trained("lpips"),
            lambda shown, _: min(shown.height, shown.width) >= SMALLEST_LPIPS_SIDE,
            "pictures of 32x32 pixels at least",
        ),
        Instrument(
            "classifier",
            1,
            _trained("classifier"),
            lambda shown, _: asked_for(shown.prompt or "") is not None,
            "a prompt in the words of the embedded model's world, which output locations, media of "
            "`tempprop preview` and --prompts give",
            by_prompt=True,
        ),
    )
}
