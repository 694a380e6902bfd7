"""What is heard of motion: where points go and how evenly, and not what they show."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempprop.evaluation.motion_features import (
    CELL,
    CUBE_FRAMES,
    DIRECTIONS,
    GRID,
    histograms,
    motion_features,
    tracks,
)
from tempprop.evaluation.optical_flow import SMALLEST_SIDE

FRAMES = 8
CELLS = GRID // CELL
POINTS = CUBE_FRAMES * CELL**2
"""Of a cube."""


def texture(seed=0, side=256):
    noise = np.random.default_rng(seed).normal(size=(side, side, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def moving(right, down, seed=0, side=128):
    """A window that leaves its picture behind, so that the picture goes the other way."""
    picture, start = texture(seed), 64
    return np.stack(
        [
            picture[
                start - n * down : start - n * down + side,
                start - n * right : start - n * right + side,
            ]
            for n in range(FRAMES)
        ]
    )


@pytest.mark.parametrize(("right", "down"), [(0, 0), (2, 0), (-3, 1), (0, -4)])
def test_points_go_where_the_picture_goes(right, down):
    steps = np.diff(tracks(moving(right, down)), axis=0)
    inner = steps[:, 5:-5, 5:-5]
    assert np.median(np.abs(inner - [right, down])) < 0.1
    assert np.abs(inner.mean(axis=(0, 1, 2)) - [right, down]).max() < 0.2


def test_points_stay_within_the_picture():
    places = tracks(moving(8, -8))
    assert places.min() >= 0
    assert places.max() <= 127
    assert places.shape == (FRAMES, GRID, GRID, 2)


@pytest.mark.parametrize("direction", range(DIRECTIONS))
def test_a_way_counts_by_the_logarithm_of_its_length_in_its_direction(direction):
    angle = 2 * np.pi * direction / DIRECTIONS
    ways = np.broadcast_to(3 * np.array([np.cos(angle), np.sin(angle)]), (FRAMES, GRID, GRID, 2))
    expected = np.zeros((FRAMES // CUBE_FRAMES, CELLS, CELLS, DIRECTIONS))
    expected[..., direction] = POINTS * np.log2(1 + 3) / 8
    assert histograms(ways) == pytest.approx(expected)


ways = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).normal(0, 20, (FRAMES, GRID, GRID, 2))
)


@settings(deadline=None, max_examples=25)
@given(ways, st.integers(1, DIRECTIONS - 1))
def test_turning_all_ways_turns_the_directions_and_nothing_else(found, turns):
    angle = 2 * np.pi * turns / DIRECTIONS
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    expected = np.roll(histograms(found), turns, axis=3)
    assert histograms(found @ turn) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=25)
@given(ways)
def test_a_cube_counts_its_own_points_only(found):
    one = np.zeros_like(found)
    one[CUBE_FRAMES:, CELL : 2 * CELL, :CELL] = found[CUBE_FRAMES:, CELL : 2 * CELL, :CELL]
    cube = (1, 1, 0)
    assert histograms(one)[cube] == pytest.approx(histograms(found)[cube])
    assert histograms(one).sum() == pytest.approx(histograms(found)[cube].sum())


def test_what_stands_still_has_no_features():
    still = np.repeat(texture(side=128)[None], 16, axis=0)
    assert motion_features(still).shape == (1024,)
    assert not motion_features(still).any()


def test_an_even_motion_has_velocities_and_next_to_no_accelerations():
    velocity, acceleration = np.split(motion_features(moving(4, 0)), 2)
    rightwards = velocity.reshape(-1, DIRECTIONS)[:, 0]
    assert rightwards.sum() > 0.9 * velocity.sum()
    # Lengths are those of a picture of 256 pixels; the first frame has no velocity.
    whole = (FRAMES - 1) * GRID**2 * np.log2(1 + 2 * 4) / 8
    assert rightwards.sum() == pytest.approx(whole, rel=0.15)
    assert acceleration.sum() < 0.15 * velocity.sum()


def test_the_size_of_a_picture_does_not_matter_nor_does_what_it_shows():
    clip = moving(4, 2)
    smaller = np.stack([cv2.resize(f, (64, 64), interpolation=cv2.INTER_AREA) for f in clip])
    features = [motion_features(each)[:256] for each in (clip, smaller, moving(4, 2, seed=1))]
    apart = [np.linalg.norm(each - features[0]) for each in features[1:]]
    assert max(apart) < 0.25 * np.linalg.norm(features[0])


def test_pictures_too_small_to_follow_are_refused():
    small = np.zeros((FRAMES, SMALLEST_SIDE - 1, 64, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=f"64x{SMALLEST_SIDE - 1} is too small"):
        motion_features(small)
