"""What the embedded model may not see in training."""

import csv
from itertools import islice
from pathlib import Path

import pytest

from tempprop.mini.captions import EXAMPLE_PROMPTS
from tempprop.mini.held_out import (
    HELD_OUT,
    TRAINING,
    UNSEEN_PAIRS,
    held_out_indexes,
    training_indexes,
)
from tempprop.mini.paint import COLORS
from tempprop.mini.stills import scene_at
from tempprop.mini.things import THINGS
from tempprop.mini.world import BACKGROUNDS, CLASHES

DEMO = Path(__file__).parents[1] / "configs" / "demo.csv"


def test_every_thing_lacks_one_color_and_one_background():
    assert UNSEEN_PAIRS.keys() == THINGS.keys()
    for color, background in UNSEEN_PAIRS.values():
        assert color in COLORS
        assert background in BACKGROUNDS
        assert (color, background) not in CLASHES


def test_training_sees_no_held_out_pair_but_everything_in_it():
    scenes = [scene_at(index, TRAINING) for index in training_indexes(3000)]
    colors = {(scene.thing, scene.color) for scene in scenes}
    places = {(scene.thing, scene.background) for scene in scenes}
    for thing, (color, background) in UNSEEN_PAIRS.items():
        assert (thing, color) not in colors
        assert (thing, background) not in places
    assert len(colors) == len(THINGS) * (len(COLORS) - 1)
    assert {scene.background for scene in scenes} == set(BACKGROUNDS)


@pytest.mark.parametrize("unseen", [False, True])
def test_held_out_scenes_are_of_the_pairs_asked_for(unseen):
    indexes = list(islice(held_out_indexes(unseen=unseen), 100))
    assert indexes == sorted(set(indexes))
    for index in indexes:
        scene = scene_at(index, HELD_OUT)
        color, background = UNSEEN_PAIRS[scene.thing]
        assert (scene.color == color or scene.background == background) == unseen


def test_the_prompts_that_people_see_first_are_of_seen_pairs():
    with DEMO.open() as file:
        prompts = [row["prompt"] for row in csv.DictReader(file)] + list(EXAMPLE_PROMPTS)
    for prompt in prompts:
        for thing, (color, background) in UNSEEN_PAIRS.items():
            words = background.removesuffix(" studio")
            assert f"{color} {thing}" not in prompt
            assert not (thing in prompt and words in prompt), prompt
