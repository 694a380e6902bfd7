"""What the embedded model never saw in training, so that measurements on it are honest.

Two kinds: scenes of a sequence of their own, and pairs of a thing with a color or a background that
no training still of the denoiser shows together, although it shows both.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from tempprop.mini.stills import scene_at
from tempprop.mini.world import Scene

TRAINING = 0
"""Name of the sequence of scenes that everything is trained on."""

HELD_OUT = 7
"""Name of the sequence of scenes that nothing is trained on."""

UNSEEN_PAIRS: dict[str, tuple[str, str]] = {
    "balloon": ("green", "desert"),
    "boat": ("purple", "mountains"),
    "fish": ("brown", "snow"),
    "rocket": ("pink", "sea"),
    "house": ("turquoise", "cream studio"),
    "tree": ("blue", "pink studio"),
    "mushroom": ("blue", "city"),
    "butterfly": ("orange", "sea"),
    "car": ("purple", "hills"),
    "star": ("turquoise", "mountains"),
    "moon": ("orange", "city"),
    "cloud": ("red", "desert"),
    "flower": ("brown", "gray studio"),
    "bird": ("yellow", "mint studio"),
    "umbrella": ("green", "sky"),
    "cactus": ("pink", "sea"),
    "kite": ("white", "hills"),
    "lighthouse": ("yellow", "pink studio"),
    "apple": ("purple", "mountains"),
    "mug": ("red", "snow"),
}
"""For each thing the color and the background that the denoiser never saw it with."""


def is_unseen(scene: Scene) -> bool:
    """Tell whether a scene's thing has the color or the background that it never had."""
    color, background = UNSEEN_PAIRS[scene.thing]
    return scene.color == color or scene.background == background


def training_indexes(number: int) -> list[int]:
    """Number the scenes among the first of the training sequence that the denoiser may see.

    Args:
        number: How many scenes to look through.
    """
    return [index for index in range(number) if not is_unseen(scene_at(index, TRAINING))]


def held_out_indexes(*, unseen: bool) -> Iterator[int]:
    """Number the scenes of the held-out sequence, without end.

    Args:
        unseen: Whether to give those of unseen pairs only, or those without any.
    """
    return (index for index in count() if is_unseen(scene_at(index, HELD_OUT)) == unseen)
