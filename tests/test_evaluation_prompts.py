"""Prompts of the drawn world are read as what they were written from."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempprop.evaluation.prompts import asked_for
from tempprop.evaluation.trained import recognized_share
from tempprop.mini.captions import caption
from tempprop.mini.classifier import answers_of, load_classifier
from tempprop.mini.world import draw_video, random_scene
from tempprop.studies.films import LIVELY
from tempprop.studies.subjects import subjects


@given(st.integers(0, 2**32 - 1))
def test_a_caption_is_read_as_the_scene_that_it_describes(seed):
    rng = random.Random(seed)
    scene = random_scene(rng)
    truth = answers_of(scene)
    assert asked_for(caption(scene, rng)) == {name: truth[name] for name in ("thing", "background")}


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("A red Balloon, over green hills at DUSK!", ("balloon", "hills/dusk")),
        ("a lighthouse by the sea", ("lighthouse", "sea/day")),
        ("a star", ("star", None)),
        ("a house under the stars in the snow", ("house", "snow/night")),
        ("a red balloon and a boat", None),
        ("a boat on the sea in the desert", None),
        ("a boat on the sea at night in daylight", None),
        ("a red dragon over green hills", None),
        ("red", None),
        ("", None),
    ],
)
def test_prompts(prompt, asked):
    expected = dict(zip(("thing", "background"), asked, strict=True)) if asked else None
    if expected is not None and expected["background"] is None:
        del expected["background"]
    assert asked_for(prompt) == expected


@given(st.text())
def test_any_text_can_be_read(prompt):
    asked = asked_for(prompt)
    assert asked is None or "thing" in asked


@pytest.mark.parametrize("pixels", [128, 160])
def test_a_film_shows_its_own_scene_and_no_other(pixels):
    classifier = load_classifier()
    one, other = subjects(2)
    film = draw_video(one.scene, LIVELY, 4, pixels)
    assert recognized_share(classifier, film, asked_for(one.prompt)) == 1
    assert recognized_share(classifier, film, asked_for(other.prompt)) == 0
    half = np.concatenate([film[:2], draw_video(other.scene, LIVELY, 2, pixels)])
    assert recognized_share(classifier, half, asked_for(one.prompt)) == 0.5
