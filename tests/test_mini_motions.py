"""How the films of the drawn world move: varied, repeatable, within the picture."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempprop.mini.motions import motion_at, overhang
from tempprop.mini.stills import scene_at
from tempprop.mini.world import CANVAS, SIZES, Motion, draw_video

places = (st.integers(0, 10**6), st.integers(0, 50))


@given(*places)
def test_a_place_in_the_sequence_has_one_motion_and_nothing_leaves_the_picture(index, seed):
    scene, motion = scene_at(index, seed), motion_at(index, seed)
    assert motion == motion_at(index, seed)
    assert motion != Motion()
    assert overhang(scene, motion) <= max(0.0, overhang(scene, Motion()))
    assert abs(motion.pan) <= 0.4
    assert motion.zoom >= 0.7


def test_every_way_of_moving_occurs():
    motions = [motion_at(index, 1) for index in range(200)]
    for field in fields(Motion):
        assert len({getattr(motion, field.name) for motion in motions}) > 2, field.name
    lights = [motion.light for motion in motions]
    assert 0 < sum(light is not None for light in lights) < len(lights) / 2


def test_what_stands_stays_on_the_ground():
    for index in range(200):
        scene, motion = scene_at(index, 2), motion_at(index, 2)
        if scene.height == "ground":
            assert motion.bob == 0
            assert motion.turn == 0
            assert (motion.drift_y == 0) == (motion.growth == 1)


def centered():
    scene = next(s for s in (scene_at(i, 0) for i in range(100)) if s.height == "middle")
    return replace(scene, x=0.5, y=0.5, scale=1.0, tilt=0.0)


@given(
    drift=st.floats(-0.4, 0.4),
    bob=st.floats(0, 0.4),
    pan=st.floats(-0.4, 0.4),
    zoom=st.floats(0.7, 1.4),
    growth=st.floats(0.7, 1.4),
)
def test_overhang_is_that_of_the_box_where_it_reaches_farthest(drift, bob, pan, zoom, growth):
    scene = centered()
    half = SIZES[scene.size] / CANVAS / 2
    assert overhang(scene, Motion()) == pytest.approx(half - 0.5)
    assert overhang(scene, Motion(drift_x=drift)) == pytest.approx(half + abs(drift) - 0.5)
    assert overhang(scene, Motion(drift_y=drift)) == pytest.approx(half + abs(drift) - 0.5)
    assert overhang(scene, Motion(bob=bob)) == pytest.approx(half + bob - 0.5)
    assert overhang(scene, Motion(pan=pan)) == pytest.approx(half + abs(pan) - 0.5)
    largest = max(1, zoom * growth)
    both = Motion(zoom=zoom, growth=growth)
    assert overhang(scene, both) == pytest.approx(half * largest - 0.5)


def test_where_the_box_stays_within_the_picture_the_drawing_does():
    films = [(scene_at(index, 3), motion_at(index, 3)) for index in range(12)]
    inside = [(scene, motion) for scene, motion in films if overhang(scene, motion) < -0.02]
    assert len(inside) > 3
    for scene, motion in inside:
        away = replace(scene, x=9.0)
        with_thing, without = (draw_video(each, motion, 4).astype(int) for each in (scene, away))
        changed = np.abs(with_thing - without).max(axis=-1) > 0
        assert changed.any(axis=(1, 2)).all()
        border = np.ones(changed.shape[1:], bool)
        border[1:-1, 1:-1] = False
        assert not changed[:, border].any()
