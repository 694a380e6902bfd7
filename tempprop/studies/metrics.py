"""What the studies measure on the frames of a clip.

Frames are uint8 arrays of shape `(frames, height, width, 3)`, RGB, as `render_clips` gives them;
series have one value a frame or one a pair of neighbouring frames.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from tempprop.mini.classifier import Classifier, recognize
from tempprop.mini.train_vae import to_signal
from tempprop.quality import FROZEN_LEVELS, measure_quality
from tempprop.render import Frames
from tempprop.studies.subjects import Subject

Series = npt.NDArray[np.float64]

METRICS_VERSION = 1
"""Raised whenever the same frames would give other figures than before."""

LUMA = np.array([0.2126, 0.7152, 0.0722])
"""Weights of red, green and blue in the luma (ITU-R BT.709)."""

NO_ENERGY = 1e-12
"""Added to both sides of a ratio of energies, so that flat frames are as sharp as each other."""


def luma(frames: Frames) -> Series:
    """Give the luma of frames, shape `(frames, height, width)`, 0 to 1."""
    weighted: Series = frames @ LUMA / 255
    return weighted


@torch.no_grad()
def features(classifier: Classifier, frames: Frames) -> torch.Tensor:
    """Give what the classifier's last layer sees of frames of 128x128, shape `(frames, 320)`."""
    return classifier.pooled(to_signal(frames))


def consistency(classifier: Classifier, frames: Frames) -> Series:
    """Give the cosine of the features of each frame and the one before, 1 where they are equal."""
    seen = features(classifier, frames)
    return functional.cosine_similarity(seen[1:], seen[:-1]).double().numpy()


def likeness(classifier: Classifier, frames: Frames) -> Series:
    """Give the cosine of the features of each frame and frame 0."""
    seen = features(classifier, frames)
    return functional.cosine_similarity(seen, seen[:1]).double().numpy()


def motion(frames: Frames) -> Series:
    """Give the mean length of the optical flow between neighbouring frames, in pixels.

    The flow is that of dense inverse search (Kroeger et al., "Fast Optical Flow using Dense
    Inverse Search", 2016).
    """
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    # None: no flow to start from.
    fields = [flow.calc(gray[i], gray[i + 1], None) for i in range(len(gray) - 1)]
    return np.array([np.linalg.norm(field, axis=2).mean() for field in fields], dtype=np.float64)


def sharpness(frames: Frames) -> Series:
    """Give the energy of each frame's Laplacian, of its luma, as a multiple of frame 0's."""
    # The outermost pixels have no neighbors on one side.
    inner = [cv2.Laplacian(frame, cv2.CV_64F)[1:-1, 1:-1] for frame in luma(frames)]
    energy = np.square(inner).mean(axis=(1, 2))
    relative: Series = (energy + NO_ENERGY) / (energy[0] + NO_ENERGY)
    return relative


def contrast(frames: Frames) -> Series:
    """Give the standard deviation of each frame's luma, as a multiple of frame 0's."""
    deviation = luma(frames).std(axis=(1, 2))
    relative: Series = (deviation + NO_ENERGY) / (deviation[0] + NO_ENERGY)
    return relative


def color_distance(frames: Frames) -> Series:
    """Give the distance of each frame's mean color to frame 0's; black and white are 1 apart."""
    mean = frames.mean(axis=(1, 2)) / 255
    distance: Series = np.linalg.norm(mean - mean[0], axis=1) / np.sqrt(3)
    return distance


def frozen(frames: Frames) -> Series:
    """Give 1 for each frame that equals the one before, as `measure_quality` counts it, else 0."""
    levels = np.abs(np.diff(frames.astype(np.int16), axis=0)).max(axis=(1, 2, 3))
    return np.array([0, *(levels <= FROZEN_LEVELS)], dtype=np.float64)


@torch.no_grad()
def latent_statistics(vae: Any, frames: Frames, batch: int = 16) -> tuple[Series, Series]:
    """Compare the statistics of every frame's latent with those of frame 0's.

    Args:
        vae: diffusers' AutoencoderKL.
        frames: The clip.
        batch: Frames to encode at a time.

    Returns:
        The root mean square over the channels of the difference of the means, and the mean over
        the channels of the ratio of the standard deviations; a value a frame.
    """
    parts = [
        vae.encode(to_signal(frames[start : start + batch])).latent_dist.mode()
        for start in range(0, len(frames), batch)
    ]
    latents = torch.cat(parts) * vae.config.scaling_factor
    mean, deviation = latents.mean((2, 3)), latents.std((2, 3))
    shift = (mean - mean[0]).square().mean(1).sqrt()
    return shift.double().numpy(), (deviation / deviation[0]).mean(1).double().numpy()


def recognized(classifier: Classifier, frames: Frames, subject: Subject) -> Series:
    """Give 1 for each frame that shows the thing and the background of the prompt, else 0."""
    answers = recognize(classifier, frames)
    return np.array([float(subject.is_shown(answer)) for answer in answers])


def clip_figures(classifier: Classifier, frames: Frames, subject: Subject) -> dict[str, float]:
    """Measure a short clip.

    Args:
        classifier: The judge.
        frames: At least two.
        subject: What they should show.

    Returns:
        consistency: Mean `consistency` of neighbours.
        motion: Mean optical flow, pixels a frame.
        color_drift: Largest `color_distance` to frame 0.
        jump: Largest difference of neighbours over the mean one: 1 is even, much more is a jump.
        sharpness: Mean `sharpness` of the frames after frame 0.
        recognized: Share of frames that show what was prompted.
    """
    quality = measure_quality(frames)
    steps = quality["neighbor_difference_mean"]
    return {
        "consistency": float(consistency(classifier, frames).mean()),
        "motion": float(motion(frames).mean()),
        "color_drift": quality["color_drift"],
        "jump": quality["neighbor_difference_max"] / steps if steps > 0 else 1.0,
        "sharpness": float(sharpness(frames)[1:].mean()),
        "recognized": float(recognized(classifier, frames, subject).mean()),
    }
