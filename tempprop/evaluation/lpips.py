"""The learned perceptual distance of two pictures, LPIPS.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (2018),
equation 1, in version 0.1 with AlexNet: the features of five layers, each of length one at every
place, are subtracted and squared, weighted by channel and averaged over the places; the distance
is the sum over the layers. It is 0 for equal pictures and seldom above 1.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from tempprop.frames import Frames
from tempprop.mini.train_vae import to_signal

CHANNELS = (64, 192, 384, 256, 256)
"""Of the five layers of AlexNet."""

MEAN = (-0.030, -0.088, -0.188)
"""Of red, green and blue in ImageNet, -1 to 1."""

DEVIATION = (0.458, 0.448, 0.450)
"""Of red, green and blue in ImageNet."""

NO_LENGTH = 1e-10
"""Added to the length of a place's features, which can be zero."""


class LPIPS(nn.Module):
    """The network, with random weights until others are loaded into it."""

    def __init__(self) -> None:
        super().__init__()
        first = nn.Conv2d(3, CHANNELS[0], 11, stride=4, padding=2)
        second = nn.Conv2d(*CHANNELS[:2], 5, padding=2)
        others = [nn.Conv2d(*widths, 3, padding=1) for widths in pairwise(CHANNELS[1:])]
        self.convolutions = nn.ModuleList([first, second, *others])
        self.heads = nn.ParameterList([torch.rand(width) for width in CHANNELS])

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Measure how different pictures look.

        Args:
            first: Shape (n, 3, h, w), -1 to 1, at least 32x32.
            second: As many others of the same size.

        Returns:
            Shape (n,).
        """
        return self.distances(self.features(first), self.features(second))

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Give the features of the five layers, of length one at every place.

        Args:
            pictures: Shape (n, 3, h, w), -1 to 1.
        """
        mean, deviation = pictures.new_tensor([MEAN, DEVIATION])[:, :, None, None]
        signal = (pictures - mean) / deviation
        layers = []
        for index, convolution in enumerate(self.convolutions):
            # The third, fourth and fifth layers are of one size.
            before = functional.max_pool2d(signal, 3, 2) if index in (1, 2) else signal
            signal = convolution(before).relu()
            length = signal.square().sum(1, keepdim=True).sqrt()
            layers.append(signal / (length + NO_LENGTH))
        return layers

    def distances(self, first: list[Tensor], second: list[Tensor]) -> Tensor:
        """Compare the features of pictures.

        Args:
            first: As `features` gives them.
            second: Those of as many others.

        Returns:
            Shape (n,).
        """
        layers = zip(first, second, self.heads, strict=True)
        parts = [((one - other).square().mean((2, 3)) @ head) for one, other, head in layers]
        return torch.stack(parts).sum(0)


@torch.inference_mode()
def perceptual_distances(
    network: LPIPS, frames: Frames, batch: int = 16
) -> npt.NDArray[np.float64]:
    """Measure how different each frame looks from the one before.

    Args:
        network: The network with its weights.
        frames: The clip, at least two frames of at least 32x32.
        batch: Pairs to compare at a time.

    Returns:
        Shape (frames - 1,).
    """
    device = network.heads[0].device
    parts = []
    for start in range(0, len(frames) - 1, batch):
        layers = network.features(to_signal(frames[start : start + batch + 1], device))
        earlier, later = [one[:-1] for one in layers], [one[1:] for one in layers]
        parts.append(network.distances(earlier, later))
    return torch.cat(parts).double().cpu().numpy()
