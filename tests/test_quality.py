import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempprop.quality import FIGURES, QualityMeter, measure_quality


def flat(*levels):
    """Make a clip of even gray frames."""
    return np.stack([np.full((4, 6, 3), level, np.uint8) for level in levels])


def test_constant_clip_is_frozen_and_nothing_else():
    figures = measure_quality(flat(9, 9, 9))
    assert figures == {**dict.fromkeys(FIGURES, 0.0), "frozen_fraction": 1.0}


def test_ramp():
    figures = measure_quality(flat(0, 51, 102, 153))
    assert figures["neighbor_difference_mean"] == pytest.approx(0.2)
    assert figures["neighbor_difference_max"] == pytest.approx(0.2)
    assert figures["anchor_difference"] == pytest.approx(0.6)
    assert figures["color_drift"] == pytest.approx(0.6)
    assert figures["frozen_fraction"] == 0


def test_alternating_black_and_white_comes_back():
    figures = measure_quality(flat(0, 255, 0))
    assert figures["neighbor_difference_mean"] == 1
    assert figures["anchor_difference"] == 0
    assert figures["color_drift"] == 1


def test_one_jump_shows_in_the_maximum():
    figures = measure_quality(flat(0, 0, 0, 0, 255))
    assert figures["neighbor_difference_mean"] == pytest.approx(0.25)
    assert figures["neighbor_difference_max"] == 1
    assert figures["frozen_fraction"] == 0.75


def test_one_level_of_difference_still_counts_as_frozen():
    assert measure_quality(flat(9, 10))["frozen_fraction"] == 1
    assert measure_quality(flat(9, 11))["frozen_fraction"] == 0


def test_a_moving_thing_keeps_its_mean_color():
    frames = np.zeros((3, 4, 6, 3), np.uint8)
    for number in range(3):
        frames[number, :, number] = 255
    figures = measure_quality(frames)
    assert figures["color_drift"] == 0
    assert figures["neighbor_difference_mean"] == pytest.approx(2 / 6)


def test_single_frame_has_no_neighbors():
    assert measure_quality(flat(9)) == dict.fromkeys(FIGURES, 0.0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=12), st.integers(1, 5))
def test_chunks_do_not_matter(levels, size):
    frames = flat(*levels)
    chunks = [frames[start : start + size] for start in range(0, len(frames), size)]
    figures = measure_quality(chunks)
    assert figures == measure_quality(frames)
    assert all(0 <= figure <= 1 for figure in figures.values())


def test_buffers_may_be_used_again_by_the_caller():
    meter, buffer = QualityMeter(), flat(0)
    meter.add(buffer)
    buffer[:] = 255
    meter.add(buffer)
    assert meter.figures()["neighbor_difference_mean"] == 1


@pytest.mark.parametrize("bad", [np.zeros((1, 4, 6, 3)), np.zeros((4, 6, 3), np.uint8)])
def test_other_arrays_are_refused(bad):
    with pytest.raises(ValueError, match="not uint8"):
        QualityMeter().add(bad)


def test_no_frames_have_no_quality():
    with pytest.raises(ValueError, match="without frames"):
        measure_quality([])
