import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tempprop.motion import IDENTITY, camera_maps, seen, views
from tempprop.noise import (
    autocorrelation,
    correlated_noise,
    frame_noise,
    looped_noise,
    return_begins,
    step_noise_generator,
    warp_noise,
)
from tempprop.spec import Motion

SHAPE = (4, 64, 64)


def test_noise_depends_on_seed_and_frame_alone():
    assert torch.equal(frame_noise(7, 3, SHAPE), frame_noise(7, 3, SHAPE))
    assert not torch.equal(frame_noise(7, 3, SHAPE), frame_noise(7, 4, SHAPE))
    assert not torch.equal(frame_noise(7, 3, SHAPE), frame_noise(8, 3, SHAPE))


def test_seeds_that_agree_in_their_low_bits_differ():
    assert not torch.equal(frame_noise(1, 0, SHAPE), frame_noise(1 + 2**32, 0, SHAPE))


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9, 0.99, 1.0])
def test_unit_variance_and_stated_correlation(correlation):
    noise = correlated_noise(5, 0, 12, SHAPE, correlation).frames.flatten(1)
    # 16,384 samples: the standard error of a variance or correlation is below 0.012.
    assert torch.allclose(noise.var(dim=1), torch.ones(12), atol=0.06)
    assert noise.mean(dim=1).abs().max() < 0.05
    measured = torch.corrcoef(noise)
    for distance in (1, 2, 5):
        expected = torch.full((12 - distance,), autocorrelation(correlation, distance))
        assert torch.allclose(measured.diagonal(distance), expected, atol=0.05)


def test_full_correlation_repeats_frame_zero():
    noise = correlated_noise(5, 0, 4, SHAPE, 1.0).frames
    assert all(torch.equal(frame, noise[0]) for frame in noise)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**63 - 1),
    cut=st.integers(1, 7),
    correlation=st.floats(0, 1),
)
def test_a_run_continues_where_the_run_before_ended(seed, cut, correlation):
    shape = (1, 3, 3)
    whole = correlated_noise(seed, 0, 8, shape, correlation)
    head = correlated_noise(seed, 0, cut, shape, correlation)
    tail = correlated_noise(seed, cut, 8 - cut, shape, correlation, head.state)
    assert torch.equal(torch.cat([head.frames, tail.frames]), whole.frames)


@pytest.mark.parametrize("correlation", [0.8, 0.9, 0.97])
def test_noise_keeps_its_course(correlation):
    """The differences of neighbours are correlated as the double root says, and not at random."""
    noise = correlated_noise(5, 0, 16, (4, 128, 128), correlation).frames.flatten(1)
    steps = noise.diff(dim=0)
    two_apart = 2 * correlation - 1 - autocorrelation(correlation, 2)
    expected = torch.full((14,), two_apart / (2 - 2 * correlation))
    # 65,536 samples: the standard error of a correlation is below 0.004.
    assert torch.allclose(torch.corrcoef(steps).diagonal(1), expected, atol=0.02)


@settings(max_examples=20, deadline=None)
@given(correlation=st.floats(0, 1))
def test_what_a_frame_leaves_tells_the_noise_before_it(correlation):
    before = correlated_noise(5, 0, 3, (2, 3, 3), correlation).frames[-1]
    state = correlated_noise(5, 0, 4, (2, 3, 3), correlation).state
    told = correlation * state.noise + math.sqrt(1 - correlation**2) * state.course
    assert torch.allclose(told, before, atol=1e-5)


def test_a_run_in_the_middle_needs_the_frame_before():
    with pytest.raises(ValueError, match="previous frame"):
        correlated_noise(5, 3, 2, SHAPE, 0.5)


def test_step_noise_is_shared_by_the_frames_of_a_clip():
    first = torch.randn(8, generator=step_noise_generator(3))
    assert torch.equal(first, torch.randn(8, generator=step_noise_generator(3)))
    assert not torch.equal(first, torch.randn(8, generator=step_noise_generator(4)))


MOTIONS = {
    "zoom in": Motion(zoom=1.1),
    "zoom far in": Motion(zoom=3),
    "zoom out": Motion(zoom=0.8),
    "half a pixel": Motion(translation_x=0.5, translation_y=0.5),
    "turn": Motion(angle=11),
    "all at once": Motion(zoom=1.03, angle=-2, translation_x=0.3, translation_y=-1.7),
}


def _maps(motion, num_frames=6, shape=SHAPE):
    """The camera's maps for latents one pixel wide."""
    return camera_maps(motion, 0, num_frames, (shape[2], shape[1]))


def _camera(motion, num_frames=6):
    return [frame.from_previous for frame in _maps(motion, num_frames)]


@pytest.mark.parametrize("motion", MOTIONS.values(), ids=MOTIONS)
def test_noise_that_moved_is_white_and_of_unit_variance(motion):
    noise = correlated_noise(5, 0, 6, SHAPE, 1.0, camera=_camera(motion)).frames[-1]
    # 16,384 samples: the standard error of each figure is below 0.012.
    assert noise.mean().abs() < 0.04
    assert noise.var() == pytest.approx(1, abs=0.05)
    assert (noise**4).mean() == pytest.approx(3, abs=0.25)
    for across, down in [(1, 0), (0, 1), (1, 1), (2, 0), (0, 2)]:
        one = noise[:, : 64 - down, : 64 - across]
        assert (one * noise[:, down:, across:]).mean().abs() < 0.04
    assert torch.corrcoef(noise.flatten(1)).triu(1).abs().max() < 0.06


@pytest.mark.parametrize("motion", MOTIONS.values(), ids=MOTIONS)
def test_the_variance_is_one_at_every_place(motion):
    """Over many seeds: at the border, in the middle, and where pixels are torn apart."""
    camera = _maps(motion, 3, (64, 8, 8))[2].from_previous
    moved = [
        warp_noise(frame_noise(seed, 0, (64, 8, 8)), camera, np.random.default_rng(seed))
        for seed in range(60)
    ]
    # 3,840 samples a place: the standard error of the variance is 0.023.
    variance = torch.cat(moved).var(dim=0)
    assert variance.min() > 0.88
    assert variance.max() < 1.12


@pytest.mark.parametrize("motion", MOTIONS.values(), ids=MOTIONS)
def test_the_noise_goes_where_the_camera_says(motion):
    """Coarse noise is carried along: it agrees with its predecessor seen through the map."""
    before, after = correlated_noise(5, 0, 2, SHAPE, 1.0, camera=_camera(motion, 2)).frames
    view = views(_maps(motion, 2), SHAPE[1:], torch.device("cpu"))[1]

    def agreement(sampling):
        blurred = torch.nn.functional.avg_pool2d(
            torch.stack([after, seen(before, torch.zeros(SHAPE), sampling)]), 3, 1
        )
        return torch.corrcoef(blurred.flatten(1))[0, 1]

    assert agreement(view.previous) > 0.6
    assert agreement(view.previous) > agreement(None) + 0.02


@settings(max_examples=20, deadline=None)
@given(x=st.integers(-5, 5), y=st.integers(-5, 5))
def test_whole_pixels_of_noise_are_moved_to_the_bit(x, y):
    before, after = correlated_noise(
        7, 0, 2, (2, 8, 8), 1.0, camera=[IDENTITY, np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])]
    ).frames
    for row in range(8):
        for column in range(8):
            inside = 0 <= row - y < 8 and 0 <= column - x < 8
            source = before[:, row - y, column - x] if inside else before[:, row, column]
            assert torch.equal(after[:, row, column], source) == (inside or x == y == 0)


def test_a_camera_at_rest_is_no_camera_to_the_bit():
    at_rest = correlated_noise(5, 0, 4, SHAPE, 0.7, camera=_camera(Motion(), 4))
    assert torch.equal(at_rest.frames, correlated_noise(5, 0, 4, SHAPE, 0.7).frames)


@pytest.mark.parametrize("motion", MOTIONS.values(), ids=MOTIONS)
def test_moving_noise_continues_where_the_run_before_ended(motion):
    camera = _camera(motion)
    whole = correlated_noise(9, 0, 6, SHAPE, 0.8, camera=camera)
    head = correlated_noise(9, 0, 2, SHAPE, 0.8, camera=camera[:2])
    tail = correlated_noise(9, 2, 4, SHAPE, 0.8, head.state, camera[2:])
    assert torch.equal(torch.cat([head.frames, tail.frames]), whole.frames)


def test_moving_noise_keeps_the_correlation():
    """A shift by whole pixels: what moved agrees with what it was as much as at rest."""
    moving = correlated_noise(5, 0, 4, SHAPE, 0.8, camera=_camera(Motion(translation_x=2), 4))
    noise = moving.frames
    for distance in (1, 2, 3):
        pair = torch.stack([noise[0, :, :, : -2 * distance], noise[distance, :, :, 2 * distance :]])
        assert torch.corrcoef(pair.flatten(1))[0, 1] == pytest.approx(
            autocorrelation(0.8, distance), abs=0.05
        )


LENGTH = 12


def _loop(correlation, motion=None, shape=SHAPE, first_frame=0, num_frames=LENGTH, previous=None):
    """Noise of a run of a loop, and what the run leaves to the next."""
    size, steps, rest = (shape[2], shape[1]), None, None
    if motion is not None:
        begin = return_begins(first_frame, LENGTH)
        steps, rest = (
            [step.from_previous for step in camera_maps(motion, first, count, size)]
            for first, count in ((first_frame, num_frames), (begin + 1, LENGTH - begin))
        )
    onward = correlated_noise(5, first_frame, num_frames, shape, correlation, previous, steps)
    noise = looped_noise(onward.frames, 5, first_frame, LENGTH, correlation, rest)
    return noise, onward.state


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9, 0.99, 1.0])
def test_the_noise_of_a_loop_is_correlated_alike_across_the_seam(correlation):
    noise = _loop(correlation)[0].flatten(1)
    assert torch.equal(noise[0], frame_noise(5, 0, SHAPE).flatten())
    assert torch.allclose(noise.var(dim=1), torch.ones(LENGTH), atol=0.06)
    measured = torch.corrcoef(torch.cat([noise[-3:], noise[:3]])).diagonal(1)
    assert torch.allclose(measured, torch.full_like(measured, correlation), atol=0.05)
    # Where one chain fades into the other, frames differ a little more.
    inside = torch.corrcoef(noise).diagonal(1)
    assert inside.min() > 0.97 * correlation - 0.05


@pytest.mark.parametrize("correlation", [0.9, 0.97])
def test_the_noise_of_a_loop_keeps_its_course_across_the_seam(correlation):
    noise = _loop(correlation, shape=(4, 128, 128))[0].flatten(1)
    steps = torch.cat([noise[-2:], noise[:2]]).diff(dim=0)
    two_apart = 2 * correlation - 1 - autocorrelation(correlation, 2)
    expected = torch.full((2,), two_apart / (2 - 2 * correlation))
    assert torch.allclose(torch.corrcoef(steps).diagonal(1), expected, atol=0.06)


def test_a_loop_of_full_correlation_stays_at_frame_zero():
    noise, _ = _loop(1.0)
    assert torch.allclose(noise, noise[0].expand_as(noise), atol=1e-6)


def test_a_long_loop_begins_like_a_clip_that_is_none():
    shape, length = (1, 4, 4), 100
    onward = correlated_noise(5, 0, length, shape, 0.9).frames
    looped = looped_noise(onward, 5, 0, length, 0.9)
    begin = return_begins(0, length)
    assert torch.equal(looped[: begin + 1], onward[: begin + 1])
    assert not torch.equal(looped[begin + 1], onward[begin + 1])


@pytest.mark.parametrize("motion", [None, Motion(zoom=1.05, angle=3)])
def test_a_run_of_a_loop_continues_where_the_run_before_ended(motion):
    shape = (2, 32, 32)
    whole, (head, state) = _loop(0.8, motion, shape)[0], _loop(0.8, motion, shape, 0, 5)
    tail, _ = _loop(0.8, motion, shape, 5, LENGTH - 5, state)
    assert torch.equal(torch.cat([head, tail]), whole)


@pytest.mark.parametrize("motion", [Motion(zoom=1.03), Motion(translation_x=0.7, angle=2)])
@pytest.mark.parametrize("correlation", [0.5, 0.85, 1.0])
def test_the_noise_of_a_loop_with_a_moving_camera_stays_white(motion, correlation):
    noise, _ = _loop(correlation, motion)
    assert torch.allclose(noise.flatten(1).var(dim=1), torch.ones(LENGTH), atol=0.06)
    across = (noise[..., 1:] * noise[..., :-1]).mean(dim=(1, 2, 3))
    assert across.abs().max() < 0.03


def test_what_comes_back_in_a_loop_is_where_the_camera_will_meet_it():
    """A shift by whole pixels: the last frame shows, moved by it, what frame 0 shows."""
    noise, _ = _loop(0.9, Motion(translation_x=3))
    pair = torch.stack([noise[-1, :, :, :-3], noise[0, :, :, 3:]])
    assert torch.corrcoef(pair.flatten(1))[0, 1] == pytest.approx(0.9, abs=0.05)
