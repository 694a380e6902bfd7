"""Figures of clips against closed forms: flows that are given, and changes that are planted."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempprop.evaluation.clip_metrics import (
    flicker,
    flow_series,
    is_dynamic,
    jump,
    motion,
    picture_figures,
    warping_error,
)

HEIGHT, WIDTH = 48, 64


def texture(seed=0):
    """Soft noise that can be followed: (48, 64, 3), uint8."""
    noise = np.random.default_rng(seed).uniform(0, 255, (HEIGHT, WIDTH, 3))
    soft = cv2.GaussianBlur(noise, (0, 0), 2)
    return np.clip(128 + 4 * (soft - soft.mean()), 0, 255).astype(np.uint8)


def flat(*levels):
    return np.stack([np.full((HEIGHT, WIDTH, 3), level, np.uint8) for level in levels])


def even_flow(right, down):
    return np.tile(np.float32([right, down]), (HEIGHT, WIDTH, 1))


@given(st.integers(1, 100), st.integers(3, 9))
def test_what_alternates_flickers_with_its_amplitude(amplitude, num_frames):
    levels = [100 + amplitude * (number % 2) for number in range(num_frames)]
    # From 100 to 100 + amplitude and back is an amplitude of half of it around the mean.
    assert flicker(flat(*levels)) == pytest.approx(amplitude / 2 / 255)


@given(st.integers(-20, 20), st.integers(3, 6))
def test_a_fade_does_not_flicker(step, num_frames):
    assert flicker(flat(*(128 + step * number for number in range(num_frames)))) == 0


@given(st.floats(0.1, np.pi))
def test_the_gain_of_flicker_is_that_of_its_filter(frequency):
    levels = [round(128 + 100 * np.cos(frequency * number)) for number in range(64)]
    wave = np.abs(100 * np.cos(frequency * np.arange(1, 63))).mean()
    expected = wave * np.sin(frequency / 2) ** 2 / 255
    assert flicker(flat(*levels)) == pytest.approx(expected, abs=0.6 / 255)


def test_two_frames_cannot_flicker():
    assert np.isnan(flicker(flat(1, 2)))


@given(st.integers(0, 255), st.integers(0, 255))
def test_the_warping_error_of_what_stands_still_is_the_square_difference(first, second):
    found = warping_error(flat(first)[0], flat(second)[0], even_flow(0, 0), even_flow(0, 0))
    assert found == pytest.approx(((first - second) / 255) ** 2)


@given(st.integers(-8, 8), st.integers(-8, 8))
def test_what_goes_along_with_the_flow_has_no_warping_error(right, down):
    first = texture()
    second = np.roll(first, (down, right), axis=(0, 1))
    found = warping_error(first, second, even_flow(right, down), even_flow(-right, -down))
    # What leaves the picture on one side comes in on the other, but does not count.
    assert found == 0


def test_what_does_not_come_home_does_not_count():
    first, second = flat(100, 100)
    second[:, :10] = 255
    back = even_flow(0, 0)
    back[:, :10] = 3
    assert warping_error(first, second, even_flow(0, 0), back) == 0
    assert np.isnan(warping_error(first, second, even_flow(0, 0), even_flow(3, 0)))
    assert np.isnan(warping_error(first, second, even_flow(WIDTH, 0), even_flow(-WIDTH, 0)))


@pytest.mark.parametrize(("right", "down"), [(2, 0), (0, 3), (-2, 1)])
def test_the_flow_of_a_shift_is_the_shift(right, down):
    clip = np.stack([np.roll(texture(), (n * down, n * right), axis=(0, 1)) for n in range(4)])
    length = float(np.hypot(right, down))
    series = flow_series(clip)
    # What comes in at the border cannot be followed.
    assert series.speed == pytest.approx(length, rel=0.2)
    assert series.speed == pytest.approx(motion(clip))
    assert (series.fastest >= series.speed).all()
    assert series.warping_error.max() < 1e-3
    share = picture_figures(clip)["motion_share"]
    assert share == pytest.approx(series.speed.mean() / 80)


@pytest.mark.parametrize(
    ("moving", "frames", "dynamic"), [(4, 16, True), (3, 16, False), (1, 2, True), (0, 2, False)]
)
def test_a_clip_is_dynamic_where_a_quarter_of_its_pairs_move(moving, frames, dynamic):
    fastest = np.zeros(frames - 1)
    fastest[:moving] = 6.1
    assert is_dynamic(fastest, 256, 512) == dynamic
    assert is_dynamic(fastest / 2, 128, 128) == dynamic
    assert not is_dynamic(fastest / 2, 256, 256)


def test_a_jump_is_the_largest_step_over_the_mean_one():
    assert jump(flat(0, 10, 20, 30)) == pytest.approx(1)
    assert jump(flat(0, 10, 20, 80)) == pytest.approx(60 / (80 / 3))
    assert jump(flat(7, 7, 7)) == 1


def test_a_still_clip_is_perfect_in_what_measures_change():
    figures = picture_figures(np.repeat(texture()[None], 4, axis=0))
    changes = ("neighbor_difference", "flicker", "warping_error", "dynamic_degree", "color_drift")
    assert [figures[name] for name in changes] == [0] * 5
    assert [figures[name] for name in ("sharpness", "frozen", "jump")] == [1] * 3
    assert figures["motion"] == pytest.approx(0, abs=0.01)


def test_pictures_that_are_too_small_to_follow():
    with pytest.raises(ValueError, match="15x20 is too small for optical flow: 16 at least"):
        flow_series(np.zeros((2, 20, 15, 3), np.uint8))
