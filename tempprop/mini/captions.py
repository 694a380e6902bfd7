"""Captions of the drawn world in plain English, and the words they are made of.

Nothing here needs more than the standard library, so the vocabulary can be described and prompts
can be checked without loading a model.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tempprop.mini.world import Scene

THING_WORDS: dict[str, tuple[str, ...]] = {
    "balloon": ("balloon", "hot-air balloon", "hot air balloon"),
    "boat": ("boat", "sailing boat", "sailboat"),
    "fish": ("fish",),
    "rocket": ("rocket", "space rocket"),
    "house": ("house", "cottage"),
    "tree": ("tree",),
    "mushroom": ("mushroom", "toadstool"),
    "butterfly": ("butterfly",),
    "car": ("car",),
    "star": ("star",),
    "moon": ("moon", "crescent moon"),
    "cloud": ("cloud", "fluffy cloud"),
    "flower": ("flower",),
    "bird": ("bird",),
    "umbrella": ("umbrella", "parasol"),
    "cactus": ("cactus",),
    "kite": ("kite",),
    "lighthouse": ("lighthouse",),
    "apple": ("apple",),
    "mug": ("mug", "cup"),
}
"""What each thing may be called."""

COLOR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red",),
    "orange": ("orange",),
    "yellow": ("yellow",),
    "green": ("green",),
    "turquoise": ("turquoise", "teal"),
    "blue": ("blue",),
    "purple": ("purple", "violet"),
    "pink": ("pink",),
    "white": ("white",),
    "brown": ("brown",),
}
"""What each color may be called."""

SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "small": ("small", "little", "tiny"),
    "medium": (),
    "large": ("large", "big", "huge"),
}
"""What each size may be called; a medium thing's size goes unsaid."""

PLACE_WORDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("left", "high"): ("high on the left",),
    ("left", "middle"): ("on the left",),
    ("left", "low"): ("low on the left",),
    ("left", "ground"): ("on the left",),
    ("center", "high"): ("high up", "high in the middle"),
    ("center", "middle"): ("in the middle", "in the center"),
    ("center", "low"): ("low down", "low in the middle"),
    ("center", "ground"): ("in the middle", "in the center"),
    ("right", "high"): ("high on the right",),
    ("right", "middle"): ("on the right",),
    ("right", "low"): ("low on the right",),
    ("right", "ground"): ("on the right",),
}
"""What each pair of side and height may be called."""

BACKGROUND_WORDS: dict[str, tuple[str, ...]] = {
    "sky": ("in the sky", "among the clouds", "in the air"),
    "hills": ("over green hills", "in front of rolling hills", "in the hills", "over the hills"),
    "sea": ("over the sea", "on the sea", "by the sea", "on the ocean"),
    "desert": ("in the desert", "over sand dunes", "over the desert"),
    "snow": ("in the snow", "over the snow", "in a snowy landscape"),
    "mountains": ("in the mountains", "in front of snowy mountains", "in front of the mountains"),
    "city": ("in the city", "in front of a city", "over the city"),
    "cream studio": ("in a cream studio", "on a cream background"),
    "pink studio": ("in a pink studio", "on a pink background"),
    "mint studio": ("in a mint studio", "on a mint background"),
    "gray studio": ("in a gray studio", "on a gray background"),
}
"""What each background may be called."""

LIGHT_WORDS: dict[str, tuple[str, ...]] = {
    "day": ("by day", "on a sunny day", "in daylight"),
    "dusk": ("at dusk", "at sunset", "in the evening"),
    "night": ("at night", "under the stars", "on a starry night"),
}
"""What each light may be called; by day it may go unsaid."""

OPENINGS: tuple[str, ...] = ("", "", "", "a picture of ", "an illustration of ", "a drawing of ")
"""How a caption may begin."""

EXAMPLE_PROMPTS: tuple[str, ...] = (
    "a red balloon over green hills at dusk",
    "a small blue sailing boat on the sea on a sunny day",
    "a large yellow star in the sky at night",
    "a pink flower in the desert by day",
    "a white lighthouse by the sea at sunset",
    "an orange fish on a mint background",
)
"""Prompts that the model understands well."""


def article_for(phrase: str) -> str:
    """Give the indefinite article of a phrase: ``"an"`` before a vowel, else ``"a"``."""
    return "an" if phrase[0] in "aeio" or phrase.startswith("umb") else "a"


def caption(scene: Scene, rng: random.Random) -> str:
    """Describe a scene in plain English.

    Synonyms, order and what is left out vary.  Size and place are left out in part of the
    captions, color and background never, so that a prompt without them leaves them to chance.

    Args:
        scene: The scene.
        rng: The source of chance; equal states give equal captions.

    Returns:
        A caption in lower case without punctuation but commas and hyphens.
    """
    words = [rng.choice(COLOR_WORDS[scene.color]), rng.choice(THING_WORDS[scene.thing])]
    sizes = SIZE_WORDS[scene.size]
    if sizes and rng.random() < 0.75:
        words.insert(0, rng.choice(sizes))
    thing = " ".join(words)
    subject = f"{article_for(thing)} {thing}"
    place = ""
    if rng.random() < 0.5:
        place = " " + rng.choice(PLACE_WORDS[scene.side, scene.height])
    background = rng.choice(BACKGROUND_WORDS[scene.background])
    light = ""
    if scene.background.endswith("studio"):
        pass
    elif scene.light != "day" or rng.random() < 0.5:
        light = rng.choice(LIGHT_WORDS[scene.light])
    if light and rng.random() < 0.15:
        return f"{light}, {subject}{place} {background}"
    opening = rng.choice(OPENINGS)
    return f"{opening}{subject}{place} {background} {light}".rstrip()


def split_words(text: str) -> list[str]:
    """Split a text into lower-case words, without punctuation."""
    return re.findall(r"[^\W_]+", text.lower())


def vocabulary() -> frozenset[str]:
    """Collect every word that a caption can contain, in lower case."""
    tables = (THING_WORDS, COLOR_WORDS, SIZE_WORDS, PLACE_WORDS, BACKGROUND_WORDS, LIGHT_WORDS)
    phrases = [phrase for table in tables for phrases in table.values() for phrase in phrases]
    text = " ".join([*phrases, *OPENINGS, "a an"])
    return frozenset(split_words(text))
