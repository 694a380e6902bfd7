from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tempprop.anchors import anchor_frames
from tempprop.motion import (
    IDENTITY,
    CameraMaps,
    camera_maps,
    ending_maps,
    in_latent_pixels,
    inverse,
    is_identity,
    moved,
    seen,
    views,
)
from tempprop.spec import Motion

WIDTH, HEIGHT = 96, 64
CENTER = (WIDTH / 2, HEIGHT / 2)
CPU = torch.device("cpu")

motions = st.builds(
    Motion,
    zoom=st.floats(0.8, 1.25) | st.just("0:(1.0), 4:(1.2)"),
    translation_x=st.floats(-20, 20) | st.just("1:(-3), 3:(5)"),
    translation_y=st.floats(-20, 20),
    angle=st.floats(-90, 90) | st.just("2:(0), 5:(30)"),
)


def _map(**values):
    """W_1 of a motion."""
    return camera_maps(Motion(**values), 1, 1, (WIDTH, HEIGHT))[0].from_previous


def _at(matrix, x, y):
    return pytest.approx([float(value) for value in moved(matrix, x, y)])


def test_a_positive_translation_moves_the_picture_right_and_down():
    assert _at(_map(translation_x=3, translation_y=2), 10, 20) == [13, 22]


@pytest.mark.parametrize("zoom", [0.5, 2, 10])
def test_zoom_keeps_the_center_and_enlarges_what_is_around_it(zoom):
    matrix = _map(zoom=zoom)
    assert _at(matrix, *CENTER) == CENTER
    assert _at(matrix, CENTER[0] + 1, CENTER[1]) == (CENTER[0] + zoom, CENTER[1])


def test_a_positive_angle_turns_the_picture_counter_clockwise():
    matrix = _map(angle=90)
    assert _at(matrix, *CENTER) == CENTER
    right, top = (CENTER[0] + 5, CENTER[1]), (CENTER[0], CENTER[1] - 5)
    left = (CENTER[0] - 5, CENTER[1])
    assert _at(matrix, *right) == top
    assert _at(matrix, *top) == left


def test_the_picture_is_shifted_before_it_is_turned_and_enlarged():
    expected = _map(zoom=1.5, angle=20) @ _map(translation_x=7, translation_y=-2)
    both = _map(zoom=1.5, angle=20, translation_x=7, translation_y=-2)
    assert np.allclose(both, expected)


def test_four_quarter_turns_and_back_and_forth_are_no_motion():
    assert np.allclose(np.linalg.matrix_power(_map(angle=90), 4), IDENTITY)
    assert np.allclose(_map(zoom=2) @ _map(zoom=0.5), IDENTITY)
    assert np.allclose(_map(translation_x=3) @ _map(translation_x=-3), IDENTITY)


@given(motions)
def test_the_inverse_leads_back(motion):
    for maps in camera_maps(motion, 0, 4, (WIDTH, HEIGHT)):
        assert np.allclose(inverse(maps.from_previous) @ maps.from_previous, IDENTITY)


@given(motions, st.integers(1, 8))
def test_the_map_to_frame_0_undoes_every_step(motion, frame):
    """W_{0->f} = W_f ... W_1."""
    maps = camera_maps(motion, 0, frame + 1, (WIDTH, HEIGHT))
    walked = reduce(lambda product, step: step.from_previous @ product, maps, IDENTITY)
    assert np.allclose(maps[frame].to_incoming @ walked, IDENTITY, atol=1e-6)


@given(motions, st.integers(0, 6), st.integers(1, 4), st.integers(0, 5))
def test_a_run_in_the_middle_has_the_maps_of_the_whole(motion, first, count, interval):
    whole = camera_maps(motion, 0, first + count, (WIDTH, HEIGHT), interval)
    run = camera_maps(motion, first, count, (WIDTH, HEIGHT), interval)
    for one, other in zip(run, whole[first:], strict=True):
        assert np.array_equal(one.from_previous, other.from_previous)
        assert np.array_equal(one.to_outgoing, other.to_outgoing)
        assert np.array_equal(one.to_incoming, other.to_incoming)


@given(motions, st.integers(0, 12), st.integers(1, 5))
def test_the_maps_to_the_anchors_undo_the_steps_since(motion, frame, interval):
    """W_{a->f} = W_f ... W_{a+1}."""
    maps = camera_maps(motion, 0, frame + 1, (WIDTH, HEIGHT), interval)
    outgoing, incoming = anchor_frames(frame, interval)
    for anchor, back in ((outgoing, maps[-1].to_outgoing), (incoming, maps[-1].to_incoming)):
        steps = maps[anchor + 1 :]
        walked = reduce(lambda product, step: step.from_previous @ product, steps, IDENTITY)
        assert np.allclose(back @ walked, IDENTITY, atol=1e-6)


@pytest.mark.parametrize("zoom", [0.5, 2.0])
def test_anchors_of_a_long_zoom_are_as_exact_as_those_of_its_beginning(zoom):
    """Frame 0 is long out of reach; two anchors ago the picture was 16 times as large or small."""
    motion = Motion(zoom=zoom, translation_x=3, angle=7)
    early, late = (camera_maps(motion, at, 4, (WIDTH, HEIGHT), 4) for at in (6, 20_006))
    for one, other in zip(early, late, strict=True):
        assert np.array_equal(one.to_outgoing, other.to_outgoing)
        assert np.array_equal(one.to_incoming, other.to_incoming)


@given(motions, st.sampled_from([2, 8, 16]), st.floats(0, WIDTH), st.floats(0, HEIGHT))
def test_in_latent_pixels_everything_is_smaller_by_the_scale(motion, scale, x, y):
    pixels = camera_maps(motion, 3, 1, (WIDTH, HEIGHT))[0].from_previous
    latent = in_latent_pixels(pixels, scale)
    expected = np.array(moved(pixels, x, y)) / scale
    assert np.allclose(moved(latent, x / scale, y / scale), expected)


def test_nothing_leads_into_frame_0_and_a_camera_at_rest_is_the_identity():
    maps = camera_maps(Motion(zoom="5:(1), 6:(2)"), 0, 7, (WIDTH, HEIGHT))
    assert all(is_identity(at_rest.to_incoming) for at_rest in maps[:6])
    assert all(is_identity(at_rest.from_previous) for at_rest in maps[:6])
    assert not is_identity(maps[6].to_incoming)
    assert is_identity(camera_maps(Motion(zoom=2), 0, 1, (WIDTH, HEIGHT))[0].from_previous)


@pytest.mark.parametrize("zoom", [0.1, 10])
def test_a_zoom_without_end_stays_finite(zoom):
    maps = camera_maps(Motion(zoom=zoom, angle=3), 5000, 1, (WIDTH, HEIGHT))
    (view,) = views(maps, (HEIGHT // 8, WIDTH // 8), CPU)
    latent, beneath = torch.randn(2, 4, HEIGHT // 8, WIDTH // 8)
    picture = seen(latent, beneath, view.incoming)
    assert torch.isfinite(picture).all()
    if zoom < 1:
        assert torch.equal(picture, beneath)


def _view_of(matrix, shape):
    (view,) = views([CameraMaps(matrix, inverse(matrix), inverse(matrix))], shape, CPU)
    return view


def _shift(x, y):
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


@settings(deadline=None)
@given(st.integers(-9, 9), st.integers(-7, 7))
def test_whole_pixels_are_moved_as_they_are(x, y):
    latent, beneath = torch.randn(2, 3, 6, 8)
    expected = beneath.clone()
    for row in range(6):
        for column in range(8):
            if 0 <= row - y < 6 and 0 <= column - x < 8:
                expected[:, row, column] = latent[:, row - y, column - x]
    view = _view_of(_shift(x, y), (6, 8))
    assert torch.allclose(seen(latent, beneath, view.previous), expected, atol=1e-5)
    assert torch.allclose(seen(latent, beneath, view.incoming), expected, atol=1e-5)


@settings(deadline=None)
@given(motions)
def test_a_linear_picture_is_seen_exactly_wherever_it_is_covered(motion):
    """Bilinear interpolation is exact for linear functions, so it shows the map itself."""
    matrix = in_latent_pixels(camera_maps(motion, 1, 1, (WIDTH, HEIGHT))[0].from_previous, 8)
    shape = (HEIGHT // 8, WIDTH // 8)
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    view = _view_of(matrix, shape).previous
    picture = torch.from_numpy(np.stack([columns, rows])).float()
    shown = seen(picture, torch.zeros_like(picture), view)
    expected = np.stack(moved(inverse(matrix), columns, rows))
    covered = torch.ones(shape, dtype=torch.bool) if view is None else view.coverage > 1 - 1e-6
    assert np.allclose(shown[:, covered], expected[:, covered], atol=1e-3)


@settings(deadline=None)
@given(motions)
def test_what_is_not_covered_comes_from_beneath(motion):
    matrix = in_latent_pixels(camera_maps(motion, 1, 1, (WIDTH, HEIGHT))[0].from_previous, 8)
    view = _view_of(matrix, (8, 12))
    constant = torch.full((2, 8, 12), 3.0)
    assert torch.allclose(seen(constant, constant, view.previous), constant, atol=1e-5)


def test_a_map_that_moves_nothing_is_not_resampled():
    latent = torch.randn(3, 6, 8)
    assert seen(latent, latent, _view_of(IDENTITY, (6, 8)).previous) is latent


@pytest.mark.parametrize(
    "values", [{"zoom": 0.05}, {"translation_x": 9000}, {"angle": "0:(1), 9:(400)"}, {"pan": 1}]
)
def test_a_motion_out_of_range_is_refused(values):
    with pytest.raises(ValidationError):
        Motion(**values)


@given(motion=motions, length=st.integers(2, 12), data=st.data())
def test_the_way_to_the_end_is_the_rest_of_the_way(motion, length, data):
    frame = data.draw(st.integers(0, length - 1))
    maps = camera_maps(motion, 0, length + 1, (WIDTH, HEIGHT))
    rest = IDENTITY
    for step in maps[frame + 1 :]:
        rest = step.from_previous @ rest
    (ending,) = ending_maps(motion, frame, 1, length, (WIDTH, HEIGHT))
    assert np.allclose(ending, rest, rtol=1e-6, atol=1e-6 * np.abs(rest).max())
