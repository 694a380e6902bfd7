"""What the studies measure on the frames of a clip, beside what tells something of any clip.

Frames are uint8 arrays of shape `(frames, height, width, 3)`, RGB, as `render_clips` gives them;
series have one value a frame or one a pair of neighbouring frames.
"""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from tempprop.autoencoder import in_precision
from tempprop.evaluation.clip_metrics import Series, jump, motion, sharpness
from tempprop.frames import Frames
from tempprop.mini.classifier import Classifier, recognize
from tempprop.mini.train_vae import to_signal
from tempprop.quality import measure_quality
from tempprop.studies.subjects import Subject

METRICS_VERSION = 1
"""Raised whenever the same frames would give other figures than before."""


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
    with in_precision(vae, torch.float32):
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
        color_drift: Largest distance of a frame's mean color to frame 0's.
        jump: Largest difference of neighbours over the mean one: 1 is even, much more is a jump.
        sharpness: Mean `sharpness` of the frames after frame 0.
        recognized: Share of frames that show what was prompted.
    """
    return {
        "consistency": float(consistency(classifier, frames).mean()),
        "motion": float(motion(frames).mean()),
        "color_drift": measure_quality(frames)["color_drift"],
        "jump": jump(frames),
        "sharpness": float(sharpness(frames)[1:].mean()),
        "recognized": float(recognized(classifier, frames, subject).mean()),
    }
