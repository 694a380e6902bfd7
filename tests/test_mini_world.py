"""The drawn world: pictures, captions and films."""

import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tempprop import mini
from tempprop.mini.captions import EXAMPLE_PROMPTS, caption, split_words, vocabulary
from tempprop.mini.world import (
    COLORS,
    SETTINGS,
    SIZES,
    THINGS,
    Motion,
    Scene,
    draw,
    draw_video,
    place,
    random_scene,
    stands,
)


def scene_of(thing: str = "balloon", color: str = "red", setting: str = "hills/day") -> Scene:
    background, _, light = setting.partition("/")
    height = "ground" if stands(thing, background) else "middle"
    scene = Scene(
        thing=thing,
        color=color,
        size="medium",
        side="center",
        height=height,
        background=background,
        light=light or "day",
        x=0.5,
        y=0.5,
    )
    return place(scene)


def test_equal_seeds_give_equal_scenes_pictures_and_captions():
    first, second = (random_scene(random.Random(5)) for _ in range(2))
    assert first == second
    assert np.array_equal(draw(first), draw(second))
    assert caption(first, random.Random(1)) == caption(second, random.Random(1))
    assert random_scene(random.Random(6)) != first


@pytest.mark.parametrize("thing", THINGS)
def test_every_thing_shows_before_its_background(thing):
    with_thing = draw(scene_of(thing)).astype(int)
    assert with_thing.shape == (128, 128, 3)
    elsewhere = draw(replace(scene_of(thing), x=9.0)).astype(int)
    changed = (np.abs(with_thing - elsewhere).max(-1) > 24).mean()
    assert 0.03 < changed < 0.4


def test_colors_differ():
    pictures = [draw(scene_of("apple", color)).astype(int) for color in COLORS]
    for i, first in enumerate(pictures):
        for second in pictures[:i]:
            assert np.abs(first - second).mean() > 1


def test_settings_differ():
    pictures = [draw(scene_of("apple", "red", setting)).astype(int) for setting in SETTINGS]
    for i, first in enumerate(pictures):
        for second in pictures[:i]:
            assert np.abs(first - second).mean() > 4


def test_sizes_grow():
    def area(size: str) -> float:
        scene = replace(scene_of("star"), size=size)
        return float((draw(scene) != draw(replace(scene, x=9.0))).any(-1).mean())

    areas = [area(size) for size in SIZES]
    assert areas == sorted(areas)
    assert areas[0] < areas[-1] / 2


def test_captions_keep_to_the_vocabulary_and_name_color_and_thing():
    rng = random.Random(0)
    known = vocabulary()
    for _ in range(500):
        text = caption(random_scene(rng), rng)
        assert set(split_words(text)) <= known
        assert text == text.strip().lower()


def test_captions_vary():
    rng = random.Random(0)
    scene = scene_of()
    assert len({caption(scene, rng) for _ in range(40)}) > 15


def test_films_move_a_little_in_every_frame():
    motion = Motion(drift_x=0.2, bob=0.03, growth=1.3, turn=20, pan=0.1, zoom=1.2, light="dusk")
    frames = draw_video(scene_of(), motion, 8)
    assert frames.shape == (8, 128, 128, 3)
    assert np.array_equal(frames[0], draw(scene_of()))
    changes = np.abs(np.diff(frames.astype(int), axis=0)).mean((1, 2, 3))
    assert (changes > 0.5).all()
    assert (changes < 30).all()


def test_a_film_without_motion_stands_still():
    frames = draw_video(scene_of(), Motion(), 3)
    assert np.array_equal(frames[0], frames[2])


@pytest.mark.parametrize("motion", [Motion(pan=0.5), Motion(zoom=0.2)])
def test_a_camera_cannot_leave_the_world(motion):
    with pytest.raises(ValueError, match="pan"):
        draw_video(scene_of(), motion, 2)


def test_a_film_needs_frames():
    with pytest.raises(ValueError, match="num_frames"):
        draw_video(scene_of(), Motion(), 0)


def test_unknown_words_are_found_in_any_spelling():
    assert mini.unknown_words("A RED hot-air balloon, over green hills!") == []
    assert mini.unknown_words("a Zebra and a zebra") == ["zebra", "and"]
    assert mini.unknown_words("") == []


def test_the_description_names_what_the_model_knows():
    description = mini.describe()
    assert "lighthouse" in description.things
    assert set(COLORS) <= set(description.colors)
    for prompt in EXAMPLE_PROMPTS:
        assert mini.unknown_words(prompt) == []


def test_importing_is_light():
    code = (
        "import sys, tempprop.mini as m; m.describe(); m.unknown_words('x');"
        "assert not {'torch', 'resvg_py', 'diffusers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
