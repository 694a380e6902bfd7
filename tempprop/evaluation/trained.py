"""Instruments that are trained networks."""

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from tempprop.evaluation.instruments import Measure, Measured, Shown
from tempprop.evaluation.prompts import asked_for
from tempprop.mini.classifier import Classifier, load_classifier, recognize
from tempprop.mini.world import CANVAS
from tempprop.quality import Frames


def recognized_share(classifier: Classifier, frames: Frames, asked: Mapping[str, str]) -> float:
    """Give the share of frames in which the classifier sees all that was asked for.

    Args:
        classifier: The judge of the embedded model's world.
        frames: `(frames, height, width, 3)`, uint8, RGB; they are resized to a square of 128.
        asked: See `tempprop.evaluation.prompts.asked_for`.
    """
    side = (CANVAS, CANVAS)
    pictures = [cv2.resize(frame, side, interpolation=cv2.INTER_AREA) for frame in frames]
    answers = recognize(classifier, np.stack(pictures))
    return float(np.mean([asked.items() <= answer.items() for answer in answers]))


def _recognition(_: Path | None) -> Measure:
    classifier = load_classifier()

    def measure(frames: Frames, shown: Shown) -> Measured:
        asked = asked_for(shown.prompt or "") or {}
        return {"recognized": np.array(recognized_share(classifier, frames, asked))}

    return measure


TRAINED: Mapping[str, Callable[[Path | None], Measure]] = {"classifier": _recognition}
"""Loads each of them; takes the directory of judges that the caller named."""
