import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tempprop.noise import correlated_noise, frame_noise, step_noise_generator

SHAPE = (4, 64, 64)


def test_noise_depends_on_seed_and_frame_alone():
    assert torch.equal(frame_noise(7, 3, SHAPE), frame_noise(7, 3, SHAPE))
    assert not torch.equal(frame_noise(7, 3, SHAPE), frame_noise(7, 4, SHAPE))
    assert not torch.equal(frame_noise(7, 3, SHAPE), frame_noise(8, 3, SHAPE))


def test_seeds_that_agree_in_their_low_bits_differ():
    assert not torch.equal(frame_noise(1, 0, SHAPE), frame_noise(1 + 2**32, 0, SHAPE))


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9, 0.99, 1.0])
def test_unit_variance_and_stated_correlation(correlation):
    noise = correlated_noise(5, 0, 12, SHAPE, correlation).flatten(1)
    # 16,384 samples: the standard error of a variance or correlation is below 0.012.
    assert torch.allclose(noise.var(dim=1), torch.ones(12), atol=0.06)
    assert noise.mean(dim=1).abs().max() < 0.05
    measured = torch.corrcoef(noise)
    for distance in (1, 2, 5):
        expected = torch.full((12 - distance,), correlation**distance)
        assert torch.allclose(measured.diagonal(distance), expected, atol=0.05)


def test_full_correlation_repeats_frame_zero():
    noise = correlated_noise(5, 0, 4, SHAPE, 1.0)
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
    tail = correlated_noise(seed, cut, 8 - cut, shape, correlation, head[-1])
    assert torch.equal(torch.cat([head, tail]), whole)


def test_a_run_in_the_middle_needs_the_frame_before():
    with pytest.raises(ValueError, match="previous frame"):
        correlated_noise(5, 3, 2, SHAPE, 0.5)


def test_step_noise_is_shared_by_the_frames_of_a_clip():
    first = torch.randn(8, generator=step_noise_generator(3))
    assert torch.equal(first, torch.randn(8, generator=step_noise_generator(3)))
    assert not torch.equal(first, torch.randn(8, generator=step_noise_generator(4)))
