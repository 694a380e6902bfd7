"""The inflated Inception network, by whose view of clips a Fréchet video distance compares them.

The network is that of Carreira & Zisserman, "Quo Vadis, Action Recognition? A New Model and the
Kinetics Dataset" (2017): Inception-v1 with a third side, time, for every filter and every pooling
window. Its weights are DeepMind's, trained on the RGB frames of Kinetics-400, as they are on
TensorFlow Hub (`deepmind/i3d-kinetics-400/1`).

Unterthiner et al., "Towards Accurate Generative Models of Video: A New Metric & Challenges"
(2018), take the 400 logits as the features of a clip (`RGB/inception_i3d/Mean:0` in their
`frechet_video_distance.py`), and so do Skorokhodov et al., "StyleGAN-V" (2022), whose protocol is
the usual one now and is followed here: 16 frames of 0 to 255, resized to 224x224 with PyTorch's
bilinear interpolation without antialiasing, and scaled to -1 to 1.

The convolutions hold their batch normalization, see `tempprop.evaluation.conversion`.
"""

from functools import reduce

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from tempprop.errors import InputError
from tempprop.frames import Frames
from tempprop.mini.train_vae import to_signal

SIZE = 224
"""Height and width of the frames that the network was trained on."""

FEWEST_FRAMES = 9
"""With fewer the last pooling window, two points in time, is not filled."""

Widths = tuple[int, int, int, int, int, int]
"""Channels of an Inception module: branch 0, branch 1 narrow and wide, branch 2 narrow and wide,
branch 3."""

MIXED_3: tuple[Widths, ...] = ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64))
MIXED_4: tuple[Widths, ...] = (
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
)
MIXED_5: tuple[Widths, ...] = ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128))

Window = tuple[int, int, int]
"""Frames, rows and columns."""


def same_padding(sizes: tuple[int, ...], window: Window, stride: Window) -> list[int]:
    """Say how much to pad so that a strided window gives `ceil(size / stride)` values.

    It is TensorFlow's "SAME": of an odd number the end gets the greater half.

    Args:
        sizes: Frames, rows and columns of what is padded.
        window: Extent of the window.
        stride: Its steps.

    Returns:
        Columns before and after, rows before and after, frames before and after, as
        `torch.nn.functional.pad` takes them.
    """
    padding: list[int] = []
    for size, extent, step in zip(sizes[::-1], window[::-1], stride[::-1], strict=True):
        missing = max((-(-size // step) - 1) * step + extent - size, 0)
        padding += [missing // 2, missing - missing // 2]
    return padding


def same_max_pool(signal: Tensor, window: Window, stride: Window) -> Tensor:
    """Take the maximum of a moving window, with TensorFlow's "SAME" padding.

    One side after the other, which takes a third of the time of `max_pool3d`.

    Args:
        signal: Shape (n, channels, frames, rows, columns). Nothing in it is negative, so that the
            zeros around it are no maximum.
        window: Extent of the window.
        stride: Its steps.
    """
    signal = functional.pad(signal, same_padding(signal.shape[2:], window, stride))
    for dimension, (extent, step) in enumerate(zip(window, stride, strict=True), start=2):
        signal = reduce(torch.maximum, signal.unfold(dimension, extent, step).unbind(-1))
    return signal


class Convolution(nn.Conv3d):
    """A convolution with TensorFlow's "SAME" padding and a rectifier."""

    def __init__(self, channels: int, out: int, extent: int, step: int = 1) -> None:
        super().__init__(channels, out, extent, step)
        self.window, self.steps = (extent, extent, extent), (step, step, step)

    def forward(self, signal: Tensor) -> Tensor:
        """Filter a signal of shape (n, channels, frames, rows, columns)."""
        padding = same_padding(signal.shape[2:], self.window, self.steps)
        return super().forward(functional.pad(signal, padding)).relu_()


class Pointwise(nn.Linear):
    """A 1x1x1 convolution and a rectifier; as a product of matrices it is faster."""

    def forward(self, signal: Tensor) -> Tensor:
        """Mix the channels of a signal of shape (n, channels, frames, rows, columns)."""
        return super().forward(signal.movedim(1, -1)).relu_().movedim(-1, 1)


class Mixed(nn.Module):
    """An Inception module: four branches side by side."""

    def __init__(self, channels: int, widths: Widths) -> None:
        super().__init__()
        wide_0, narrow_1, wide_1, narrow_2, wide_2, wide_3 = widths
        self.entries = [wide_0, narrow_1, narrow_2]
        # The first three branches begin alike, with channels mixed at each place.
        self.enter = Pointwise(channels, sum(self.entries))
        self.branch_1 = Convolution(narrow_1, wide_1, 3)
        self.branch_2 = Convolution(narrow_2, wide_2, 3)
        self.branch_3 = Pointwise(channels, wide_3)

    def forward(self, signal: Tensor) -> Tensor:
        """Filter a signal of shape (n, channels, frames, rows, columns)."""
        wide_0, narrow_1, narrow_2 = self.enter(signal).split(self.entries, dim=1)
        highest = same_max_pool(signal, (3, 3, 3), (1, 1, 1))
        wide = [wide_0, self.branch_1(narrow_1), self.branch_2(narrow_2), self.branch_3(highest)]
        return torch.cat(wide, dim=1)


def mixed(channels: int, modules: tuple[Widths, ...]) -> nn.Sequential:
    """Chain Inception modules, the first of which is given so many channels."""
    chain = nn.Sequential()
    for widths in modules:
        chain.append(Mixed(channels, widths))
        channels = outputs(widths)
    return chain


def outputs(widths: Widths) -> int:
    """Count the channels that an Inception module gives."""
    return widths[0] + widths[2] + widths[4] + widths[5]


class I3D(nn.Module):
    """The network, with random weights until others are loaded into it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_1a = Convolution(3, 64, 7, step=2)
        self.conv_2b = Pointwise(64, 64)
        self.conv_2c = Convolution(64, 192, 3)
        self.mixed_3 = mixed(192, MIXED_3)
        self.mixed_4 = mixed(outputs(MIXED_3[-1]), MIXED_4)
        self.mixed_5 = mixed(outputs(MIXED_4[-1]), MIXED_5)
        self.logits = nn.Linear(outputs(MIXED_5[-1]), 400)

    def forward(self, clips: Tensor) -> Tensor:
        """Score the actions of Kinetics-400.

        Args:
            clips: Shape (n, 3, frames, 224, 224), -1 to 1, at least nine frames.

        Returns:
            Logits of shape (n, 400).
        """
        # With the channels innermost, everything is faster on a CPU.
        signal = self.conv_1a(clips.contiguous(memory_format=torch.channels_last_3d))
        signal = same_max_pool(signal, (1, 3, 3), (1, 2, 2))
        signal = self.conv_2c(self.conv_2b(signal))
        signal = same_max_pool(signal, (1, 3, 3), (1, 2, 2))
        signal = self.mixed_3(signal)
        signal = same_max_pool(signal, (3, 3, 3), (2, 2, 2))
        signal = self.mixed_4(signal)
        signal = same_max_pool(signal, (2, 2, 2), (2, 2, 2))
        signal = self.mixed_5(signal)
        # Windows of two points in time overlap, so that the ends of a clip count half.
        pooled = signal.mean((3, 4)).unfold(2, 2, 1).mean((2, 3))
        scores: Tensor = self.logits(pooled)
        return scores


@torch.inference_mode()
def video_features(network: I3D, frames: Frames) -> npt.NDArray[np.float64]:
    """Give the features of a clip for a Fréchet video distance.

    Args:
        network: The network with its weights.
        frames: The clip; in the usual protocol 16 frames. Any height and width.

    Returns:
        The 400 logits.

    Raises:
        InputError: The clip has fewer than nine frames.
    """
    if len(frames) < FEWEST_FRAMES:
        raise InputError(
            f"a clip of {len(frames)} frames is too short for I3D, which needs {FEWEST_FRAMES}. "
            "Compare longer clips"
        )
    signal = to_signal(frames, network.logits.weight.device)
    resized = functional.interpolate(signal, (SIZE, SIZE), mode="bilinear", align_corners=False)
    logits: Tensor = network(resized.transpose(0, 1)[None])
    return logits[0].double().cpu().numpy()
