import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rendering import clip_spec, loaded
from test_memory import memory_for
from tiny_pipelines import stable_diffusion

from tempprop.batch_size import (
    SIZES_ON_THE_CPU,
    Trial,
    expected_bytes,
    fastest_that_fits,
    measured_frames_per_batch,
)

SIZES = (1, 2, 4, 8, 16, 32)


@given(fixed=st.integers(0, 1000), a_frame=st.integers(1, 500), available=st.integers(1, 20_000))
def test_the_largest_that_fits_is_taken_where_larger_is_faster(fixed, a_frame, available):
    def trial(size):
        if fixed + a_frame * size > 2 * available:
            raise torch.OutOfMemoryError
        return Trial(1 / size, fixed + a_frame * size)

    fitting = [size for size in SIZES if fixed + a_frame * size <= available]
    assert fastest_that_fits(trial, SIZES, available) == max(fitting, default=1)


def test_a_size_that_is_not_expected_to_fit_is_not_tried():
    tried = []

    def trial(size):
        tried.append(size)
        return Trial(1 / size, 100 * size)

    assert fastest_that_fits(trial, SIZES, 900) == 8
    assert tried == [1, 2, 4, 8]


def test_no_faster_is_not_worth_the_memory():
    assert fastest_that_fits(lambda size: Trial(1 / min(size, 4), 0), SIZES, 1e9) == 4


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def trial(_):
        raise ValueError("shapes")

    with pytest.raises(ValueError, match="shapes"):
        fastest_that_fits(trial, SIZES, 1e9)


def test_memory_is_expected_on_a_straight_line():
    trials = {2: Trial(1.0, 300), 4: Trial(1.0, 500)}
    assert expected_bytes(trials, 8) == 900
    assert expected_bytes({}, 8) == 0


def test_a_real_pipeline_is_measured():
    model = loaded(stable_diffusion())
    assert measured_frames_per_batch(model, clip_spec(num_frames=100)) in SIZES_ON_THE_CPU
    with memory_for(model, rows=4):
        assert measured_frames_per_batch(model, clip_spec()) <= 2
