"""How the films of the drawn world move: each in its own way, as a studio's films would.

A thing drifts, bobs, sways, grows or turns; the camera rests, pans or zooms; sometimes the hour
changes. What stands stays on the ground. Nothing leaves the picture.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count
from math import exp, pi, sin
from typing import Any

from tempprop.mini.backgrounds import LANDSCAPES
from tempprop.mini.stills import scene_at
from tempprop.mini.things import FOOT
from tempprop.mini.world import CANVAS, SIZES, Motion, Scene

MOMENTS = 33
"""At how many moments of a film `overhang` looks."""

CALMER = 0.95
"""Factor on all amplitudes, each time that a motion would have led out of the picture."""

NEXT_LIGHT = {"day": "dusk", "dusk": "night", "night": "dusk"}

EitherWay = Callable[[float, float], float]
"""Draws an amplitude between two bounds, with either sign."""

TRAVELING = frozenset({"boat", "car"})
"""What stands, and yet moves along."""


def motion_at(index: int, seed: int) -> Motion:
    """Give the motion of the scene that `scene_at` gives, the same at every call."""
    return random_motion(scene_at(index, seed), random.Random(f"motion {seed} {index}"))


def random_motion(scene: Scene, rng: random.Random) -> Motion:
    """Draw a motion at random that suits a scene: moderate ones, for about two seconds.

    Args:
        scene: The first frame.
        rng: The source of chance; equal states give equal motions.

    Returns:
        A motion in which the thing stays within the picture as far as it lies in it at first.
    """
    for attempt in count():
        motion = _candidate(scene, rng, CALMER**attempt)
        if overhang(scene, motion) <= max(0.0, overhang(scene, Motion())):
            return motion
    raise AssertionError("motions become calmer until one stays within the picture")


def overhang(scene: Scene, motion: Motion) -> float:
    """Tell how far a thing's box reaches beyond the picture at most, in picture widths.

    Args:
        scene: The first frame.
        motion: What `draw_video` would make of it.

    Returns:
        Below 0 for a box that stays within the picture all the time.
    """
    return max(_overhang_at(scene, motion, moment / (MOMENTS - 1)) for moment in range(MOMENTS))


def _overhang_at(scene: Scene, motion: Motion, t: float) -> float:
    zoom: float = motion.zoom**t
    bob = motion.bob * sin(2 * pi * motion.cycles * t)
    x = zoom * (scene.x + (motion.drift_x - motion.pan) * t - 0.5)
    y = zoom * (scene.y + motion.drift_y * t + bob - 0.5)
    side: float = _side(scene) * zoom * motion.growth**t
    return max(abs(x), abs(y)) + side / 2 - 0.5


def _side(scene: Scene) -> float:
    """Give the side of a thing's box, in picture widths."""
    return SIZES[scene.size] * scene.scale / CANVAS


def _candidate(scene: Scene, rng: random.Random, amplitude: float) -> Motion:
    def either_way(least: float, most: float) -> float:
        return amplitude * rng.choice((-1, 1)) * rng.uniform(least, most)

    if scene.height == "ground":
        values = _on_the_ground(scene, rng, either_way)
    else:
        values = _in_the_air(rng, either_way)
    camera = rng.choice(("rests", "pans", "zooms"))
    if camera == "pans":
        values["pan"] = either_way(0.06, 0.24)
    if camera == "zooms":
        values["zoom"] = exp(either_way(0.08, 0.3))
    if scene.background in LANDSCAPES and rng.random() < 0.2:
        values["light"] = NEXT_LIGHT[scene.light]
    return Motion(**values)


def _in_the_air(rng: random.Random, either_way: EitherWay) -> dict[str, Any]:
    """Choose one or two of the ways in which a floating thing moves."""
    cycles = rng.choice((0.5, 1.0, 1.5))
    ways: tuple[dict[str, Any], ...] = (
        {"drift_x": either_way(0.06, 0.24), "drift_y": either_way(0.0, 0.12)},
        {"bob": either_way(0.02, 0.06), "cycles": cycles},
        {"sway": either_way(4, 14), "cycles": cycles},
        {"growth": exp(either_way(0.1, 0.35))},
        {"turn": either_way(10, 35)},
    )
    chosen = rng.sample(ways, rng.choice((1, 2, 2)))
    return {name: value for way in chosen for name, value in way.items()}


def _on_the_ground(scene: Scene, rng: random.Random, either_way: EitherWay) -> dict[str, Any]:
    """Let a standing thing move along, where it can, or grow or shrink, or sway a little."""
    if scene.thing in TRAVELING:
        rocking = {"sway": either_way(2, 5)} if scene.thing == "boat" else {}
        return {"drift_x": either_way(0.08, 0.28), **rocking}
    if rng.random() < 0.5:
        return {"sway": either_way(2, 5), "cycles": rng.choice((0.5, 1.0))}
    growth = exp(either_way(0.08, 0.3))
    foot = FOOT.get(scene.thing, 48.0) / 100 * _side(scene)
    # It grows about its center: without this, its foot would leave the ground.
    return {"growth": growth, "drift_y": foot * (1 - growth)}
