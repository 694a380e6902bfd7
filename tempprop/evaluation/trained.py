"""Instruments that are trained networks."""

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from tempprop.evaluation.frechet import Array
from tempprop.evaluation.i3d import video_features
from tempprop.evaluation.inception import picture_features
from tempprop.evaluation.instruments import Measure, Measured, Shown
from tempprop.evaluation.judges import load_judge
from tempprop.evaluation.lpips import perceptual_distances
from tempprop.evaluation.prompts import asked_for
from tempprop.frames import Frames
from tempprop.mini.classifier import Classifier, load_classifier, recognize
from tempprop.mini.world import CANVAS

INCEPTION_FRAMES = 4
"""Evenly spaced frames of each clip that Inception sees; neighbors would say almost the same
again, at half a CPU second for each four."""


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


def _video(directory: Path | None) -> Measure:
    network = load_judge("i3d", directory)
    return lambda frames, _: {"features": video_features(network, frames)[None]}


def _perception(directory: Path | None) -> Measure:
    network = load_judge("lpips", directory)
    return lambda frames, _: {"lpips": np.array(perceptual_distances(network, frames).mean())}


def _inception(directory: Path | None) -> Measure:
    network = load_judge("inception", directory)

    def measure(frames: Frames, _: Shown) -> Measured:
        places = np.unique(np.linspace(0, len(frames) - 1, INCEPTION_FRAMES).round().astype(int))
        features = picture_features(network, frames[places])
        return {
            "consistency": np.array(first_frame_consistency(features)),
            "features": features,
        }

    return measure


def first_frame_consistency(features: Array) -> float:
    """Give the mean cosine of each later frame's features and frame 0's.

    Args:
        features: Shape `(frames, features)`, of at least two frames.

    Returns:
        1 where all frames look the same to the network.
    """
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return float((unit[1:] @ unit[0]).mean())


TRAINED: Mapping[str, Callable[[Path | None], Measure]] = {
    "classifier": _recognition,
    "i3d": _video,
    "lpips": _perception,
    "inception": _inception,
}
"""Loads each of them; takes the directory of judges that the caller named."""
