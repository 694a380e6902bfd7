"""How much the held-out clips resemble what is learned from."""

import numpy as np
import pytest
from emoji_packages import UNSEEN, small_archives

from tempprop.studies.emoji.animations import animations_in
from tempprop.studies.emoji.dataset import read_reference
from tempprop.studies.emoji.prepare import prepare_data
from tempprop.studies.emoji.resemblance import resemblance, resemblances
from tempprop.studies.emoji.split import MARGIN


def flat(*levels):
    return np.stack([np.full((8, 8, 3), level, np.uint8) for level in levels])


def test_distances_are_those_of_flat_pictures():
    found = resemblance(flat(10, 14, 20, 250), flat(0, 20, 255))
    assert found.nearest == pytest.approx((10 + 6 + 0 + 5) / 4)
    assert found.step == pytest.approx((4 + 6 + 230) / 3)
    assert found.average == pytest.approx(
        np.abs(np.subtract.outer([10, 14, 20, 250], [0, 20, 255])).mean()
    )
    assert found.twins == 0.25


def test_what_was_learned_from_is_all_twins():
    noise = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    found = resemblance(noise[1:3], noise)
    assert (found.nearest, found.twins) == (0, 1)


def test_clips_are_compared_with_the_rest_of_their_own_animation(tmp_path):
    """Every frame of the small animations is redder: the most similar lies beyond the margin."""
    archives = small_archives(tmp_path)
    prepare_data(tmp_path / "work", archives)
    clips, split = read_reference(tmp_path / "work")
    found = list(resemblances(clips, split, animations_in(archives.animations)))
    assert len(found) == len([clip for clip in split.clips if clip.code != UNSEEN])
    for each in found:
        assert each.twins == 0
        assert each.nearest > each.step * (MARGIN + 1) / 2
        assert each.average > each.nearest
