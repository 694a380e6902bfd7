"""Judge networks for tests: the real ones, where this machine has them, and clips to show them."""

import numpy as np
import pytest
import torch

from tempprop.errors import JudgeMissingError
from tempprop.evaluation.judges import load_judge


def judge_or_skip(name):
    """Load a network with its real weights; a test is skipped where they are not."""
    try:
        return load_judge(name)
    except JudgeMissingError as error:
        pytest.skip(f"{error} (or: make judges)")


def with_random_weights(network):
    """Draw weights with which a signal stays of one size through all layers (He et al., 2015)."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter)
    return network.eval()


def noise_clip(frames, height, width, seed=0):
    """Make a clip of which every value of every pixel is drawn on its own."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
