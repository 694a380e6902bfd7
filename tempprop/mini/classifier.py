"""A small network that says what a picture of the drawn world shows.

It judges generated pictures, so it is trained on softened and noisy stills too: a picture that
is a little blurred still shows the thing it shows.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from tempprop.mini.paint import COLORS
from tempprop.mini.progress import Budget, learning_rate, run_steps
from tempprop.mini.stills import scene_at
from tempprop.mini.things import THINGS
from tempprop.mini.train_vae import to_signal
from tempprop.mini.world import SETTINGS, Scene

CLASSIFIER_PATH = Path(__file__).parent / "classifier.safetensors"
"""The trained network."""

LABELS: dict[str, tuple[str, ...]] = {
    "thing": tuple(THINGS),
    "color": tuple(COLORS),
    "background": SETTINGS,
}
"""The three questions and their possible answers; a background counts with its light."""


class Classifier(nn.Module):
    """A convolutional network with one linear head for each question."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, 128, 160)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.GroupNorm(8, after),
                nn.SiLU(),
            ]
        self.features = nn.Sequential(*layers)
        # By mean and by maximum: a background fills the picture, a thing only a part of it.
        self.heads = nn.ModuleDict(
            {name: nn.Linear(2 * widths[-1], len(values)) for name, values in LABELS.items()}
        )

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Score the answers.

        Args:
            pictures: Shape (n, 3, 128, 128), -1 to 1.

        Returns:
            For each question, scores of shape (n, answers).
        """
        pooled = self.pooled(pictures)
        return {name: head(pooled) for name, head in self.heads.items()}

    def pooled(self, pictures: Tensor) -> Tensor:
        """Give what the heads see: every feature's mean and maximum over the picture.

        Args:
            pictures: Shape (n, 3, 128, 128), -1 to 1.

        Returns:
            Shape (n, 320).
        """
        features = self.features(pictures)
        return torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1)


def answers_of(scene: Scene) -> dict[str, str]:
    """Give the true answers to the three questions for a scene."""
    return {"thing": scene.thing, "color": scene.color, "background": scene.setting}


def labels_of(count: int, seed: int, start: int = 0) -> dict[str, Tensor]:
    """Number the true answers of a sequence of scenes; each tensor has shape (count,)."""
    answers = [answers_of(scene_at(start + index, seed)) for index in range(count)]
    return {
        name: torch.tensor([values.index(answer[name]) for answer in answers])
        for name, values in LABELS.items()
    }


def _soften(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    if rng.random() < 0.5:
        size = int(rng.integers(48, 112))
        small = functional.interpolate(pictures, size=(size, size), mode="area")
        pictures = functional.interpolate(small, size=pictures.shape[-2:], mode="bilinear")
    gain = torch.from_numpy(rng.uniform(0.9, 1.1, (len(pictures), 3, 1, 1))).float()
    shift = torch.from_numpy(rng.uniform(-0.06, 0.06, (len(pictures), 3, 1, 1))).float()
    noise = torch.from_numpy(rng.standard_normal(pictures.shape, dtype=np.float32))
    return pictures * gain + shift + noise * float(rng.uniform(0, 0.08))


def train_classifier(stills: NDArray[np.uint8], minutes: float, batch: int = 48) -> Classifier:
    """Train the classifier on the stills of sequence 0.

    Args:
        stills: Pictures, shape (n, 128, 128, 3), 0 to 255.
        minutes: Time to train.
        batch: Pictures in a step.

    Returns:
        The network in evaluation mode.
    """
    torch.manual_seed(0)
    network = Classifier()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    labels = labels_of(len(stills), seed=0)

    def step(count: int, progress: float) -> dict[str, Tensor]:
        rng = np.random.default_rng((3, count))
        chosen = np.sort(rng.integers(len(stills), size=batch))
        pictures = _soften(to_signal(stills[chosen]), rng)
        with torch.autocast("cpu", torch.bfloat16):
            scores = network(pictures)
        losses = {
            name: functional.cross_entropy(value.float(), labels[name][torch.from_numpy(chosen)])
            for name, value in scores.items()
        }
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(2e-3, count, progress)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}

    run_steps(Budget(minutes), 0, step, lambda count: None, label="classifier", log_every=100)
    return network.eval()


def save_classifier(network: Classifier, path: Path = CLASSIFIER_PATH) -> None:
    """Save a classifier in half precision."""
    save_file({name: value.half() for name, value in network.state_dict().items()}, path)


def load_classifier(path: Path = CLASSIFIER_PATH) -> Classifier:
    """Load the trained classifier in single precision, in evaluation mode.

    Raises:
        FileNotFoundError: There is no such file.
    """
    network = Classifier()
    network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return network.eval()


@torch.no_grad()
def recognize(network: Classifier, pictures: NDArray[np.uint8]) -> list[dict[str, str]]:
    """Say what pictures show.

    Args:
        network: The classifier.
        pictures: Shape (n, 128, 128, 3), 0 to 255.

    Returns:
        For each picture the most likely thing, color and background (such as ``"sea/dusk"``).
    """
    scores: dict[str, Tensor] = network(to_signal(pictures))
    best = {name: value.argmax(1).tolist() for name, value in scores.items()}
    return [
        {name: LABELS[name][best[name][index]] for name in LABELS} for index in range(len(pictures))
    ]
