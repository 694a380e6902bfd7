"""InceptionV3, whose view of pictures a Fréchet inception distance compares.

The distance is that of Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a
Local Nash Equilibrium" (2017), and the network the one that they took, `inception-2015-12-05` of
TensorFlow. It is not quite that of Szegedy et al., "Rethinking the Inception Architecture" (2015):
average pooling does not count the padding, and the last module pools the maximum.

The convolutions hold their batch normalization, see `tempprop.evaluation.conversion`.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tempprop.frames import Frames

SIZE = 299
"""Height and width of the pictures that the network was trained on."""


class Convolution(nn.Conv2d):
    """A convolution and a rectifier."""

    def forward(self, signal: Tensor) -> Tensor:
        """Filter a signal of shape (n, channels, h, w)."""
        return super().forward(signal).relu_()


class Branches(nn.ModuleList):
    """Modules side by side, whose channels are put one after the other."""

    def forward(self, signal: Tensor) -> Tensor:
        """Give a signal of shape (n, channels, h, w) to each of them."""
        return torch.cat([branch(signal) for branch in self], dim=1)


def padded(channels: int, out: int, rows: int, columns: int) -> Convolution:
    """Make a convolution that keeps the size."""
    return Convolution(channels, out, (rows, columns), padding=(rows // 2, columns // 2))


def unpadded(channels: int, out: int, step: int = 2) -> Convolution:
    """Make a convolution of 3x3 that halves the size, or takes one from each side."""
    return Convolution(channels, out, 3, stride=step)


def average() -> nn.AvgPool2d:
    """Make the mean of each place and its neighbors, without those beyond the edge."""
    return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)


def mixed_35(channels: int, pooled: int) -> Branches:
    """Make a module for 35x35 places."""
    return Branches(
        [
            padded(channels, 64, 1, 1),
            nn.Sequential(padded(channels, 48, 1, 1), padded(48, 64, 5, 5)),
            nn.Sequential(padded(channels, 64, 1, 1), padded(64, 96, 3, 3), padded(96, 96, 3, 3)),
            nn.Sequential(average(), padded(channels, pooled, 1, 1)),
        ]
    )


def from_35_to_17() -> Branches:
    """Make the module that goes from 35x35 to 17x17 places."""
    tower = nn.Sequential(padded(288, 64, 1, 1), padded(64, 96, 3, 3), unpadded(96, 96))
    return Branches([unpadded(288, 384), tower, nn.MaxPool2d(3, 2)])


def mixed_17(width: int) -> Branches:
    """Make a module for 17x17 places."""
    short = [padded(768, width, 1, 1), padded(width, width, 1, 7), padded(width, 192, 7, 1)]
    long = [
        padded(768, width, 1, 1),
        padded(width, width, 7, 1),
        padded(width, width, 1, 7),
        padded(width, width, 7, 1),
        padded(width, 192, 1, 7),
    ]
    pooled = [average(), padded(768, 192, 1, 1)]
    towers = [nn.Sequential(*tower) for tower in (short, long, pooled)]
    return Branches([padded(768, 192, 1, 1), *towers])


def from_17_to_8() -> Branches:
    """Make the module that goes from 17x17 to 8x8 places."""
    short = nn.Sequential(padded(768, 192, 1, 1), unpadded(192, 320))
    long = nn.Sequential(
        padded(768, 192, 1, 1), padded(192, 192, 1, 7), padded(192, 192, 7, 1), unpadded(192, 192)
    )
    return Branches([short, long, nn.MaxPool2d(3, 2)])


def mixed_8(channels: int, pool: nn.Module) -> Branches:
    """Make a module for 8x8 places."""
    short, long = (Branches([padded(384, 384, 1, 3), padded(384, 384, 3, 1)]) for _ in range(2))
    return Branches(
        [
            padded(channels, 320, 1, 1),
            nn.Sequential(padded(channels, 384, 1, 1), short),
            nn.Sequential(padded(channels, 448, 1, 1), padded(448, 384, 3, 3), long),
            nn.Sequential(pool, padded(channels, 192, 1, 1)),
        ]
    )


class Inception(nn.Module):
    """The network, with random weights until others are loaded into it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            unpadded(3, 32),
            unpadded(32, 32, step=1),
            padded(32, 64, 3, 3),
            nn.MaxPool2d(3, 2),
            padded(64, 80, 1, 1),
            unpadded(80, 192, step=1),
            nn.MaxPool2d(3, 2),
            mixed_35(192, 32),
            mixed_35(256, 64),
            mixed_35(288, 64),
            from_35_to_17(),
            *(mixed_17(width) for width in (128, 160, 160, 192)),
            from_17_to_8(),
            mixed_8(1280, average()),
            mixed_8(2048, nn.MaxPool2d(3, stride=1, padding=1)),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Give the features of pictures.

        Args:
            pictures: Shape (n, 3, 299, 299), -1 to 127/128.

        Returns:
            Shape (n, 2048).
        """
        # With the channels innermost, everything is faster on a CPU.
        signal: Tensor = self.layers(pictures.contiguous(memory_format=torch.channels_last))
        return signal.mean((2, 3))


def resize(pictures: Tensor) -> Tensor:
    """Resize pictures to 299x299 as TensorFlow 1 does, whose pixels lie at their corners.

    The weights and distances that are in use are made this way; see Parmar et al., "On Aliased
    Resizing and Surprising Subtleties in GAN Evaluation" (2022).

    Args:
        pictures: Shape (n, 3, h, w).

    Returns:
        Shape (n, 3, 299, 299); pixel i of a side is the linear interpolation at `i * side / 299`.
    """
    for dimension in (2, 3):
        side = pictures.shape[dimension]
        place = torch.arange(SIZE, dtype=torch.float64, device=pictures.device) * side / SIZE
        before = place.long()
        after = (before + 1).clamp(max=side - 1)
        share = (place - before).to(pictures.dtype).reshape(-1, *[1] * (3 - dimension))
        pictures = torch.lerp(
            pictures.index_select(dimension, before), pictures.index_select(dimension, after), share
        )
    return pictures


@torch.inference_mode()
def picture_features(
    network: Inception, frames: Frames, batch: int = 16
) -> npt.NDArray[np.float64]:
    """Give the features of the frames of a clip for a Fréchet inception distance.

    Args:
        network: The network with its weights.
        frames: The clip, of any height and width.
        batch: Frames to look at at a time.

    Returns:
        Shape (frames, 2048).
    """
    device = next(network.parameters()).device
    parts = []
    for start in range(0, len(frames), batch):
        chosen = np.ascontiguousarray(frames[start : start + batch])
        pictures = torch.from_numpy(chosen).to(device).permute(0, 3, 1, 2).float()
        parts.append(network((resize(pictures) - 128) / 128))
    return torch.cat(parts).double().cpu().numpy()
