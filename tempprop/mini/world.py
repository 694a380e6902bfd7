"""The drawn world on which the embedded model is trained: one thing before a background.

Pictures are composed as SVG and rasterized by resvg, so they are sharp at any size and the same
on every machine.  The same code draws films of that world (`draw_video`); the model never sees
one, which makes them an honest reference for what its films should look like.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from io import BytesIO
from math import pi, sin

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

from tempprop.mini.backgrounds import (
    BACKGROUNDS,
    LANDSCAPES,
    LIGHTS,
    STUDIOS,
    Palette,
    background_svg,
    blend,
    horizon_of,
    palette_for,
)
from tempprop.mini.paint import COLORS, Paint, paint_for
from tempprop.mini.things import FOOT, STANDING, THINGS

CANVAS = 128
"""Side of the canvas in its own units, and the model's picture size in pixels."""

SIZES: dict[str, float] = {"small": 52.0, "medium": 70.0, "large": 92.0}
"""Side of a thing's box in canvas units."""

SIDES: dict[str, float] = {"left": 0.28, "center": 0.5, "right": 0.72}
"""Where a thing's center lies from left (0) to right (1)."""

HEIGHTS: dict[str, float] = {"high": 0.32, "middle": 0.48, "low": 0.66}
"""Where a floating thing's center lies from top (0) to bottom (1)."""

CLASHES: frozenset[tuple[str, str]] = frozenset(
    {
        ("pink", "pink studio"),
        ("white", "cream studio"),
        ("white", "snow"),
        ("white", "gray studio"),
        ("turquoise", "mint studio"),
    }
)
"""Colors that hardly show before a background; `random_scene` leaves them out."""


@dataclass(frozen=True)
class Scene:
    """One picture of the world, described completely.

    Attributes:
        thing: A key of `THINGS`.
        color: A key of `COLORS`.
        size: A key of `SIZES`.
        side: A key of `SIDES`; what a caption says about left and right.
        height: A key of `HEIGHTS`, or "ground" for a thing that stands.
        background: One of `BACKGROUNDS`.
        light: One of `LIGHTS`; "day" for a studio.
        x: Center of the thing from left (0) to right (1).
        y: Center of the thing from top (0) to bottom (1).
        scale: Factor on the size's nominal extent.
        tilt: Rotation of the thing in degrees, clockwise.
        mirrored: Whether the thing faces left.
        variation: Seed of the background's clouds, crests and roofs.
    """

    thing: str
    color: str
    size: str
    side: str
    height: str
    background: str
    light: str
    x: float
    y: float
    scale: float = 1.0
    tilt: float = 0.0
    mirrored: bool = False
    variation: int = 0

    @property
    def setting(self) -> str:
        """Background and light in one word, such as ``"hills/dusk"`` or ``"pink studio"``."""
        return self.background if self.background in STUDIOS else f"{self.background}/{self.light}"


SETTINGS: tuple[str, ...] = (
    *(f"{land}/{light}" for land in LANDSCAPES for light in LIGHTS),
    *STUDIOS,
)
"""Every background in every light it has, in the words of `Scene.setting`."""


@dataclass(frozen=True)
class Motion:
    """How a scene changes from a film's first frame to its last.

    All movements are even in time, except `bob` and `sway`, which swing.

    Attributes:
        drift_x: Shift of the thing to the right, in picture widths.
        drift_y: Shift of the thing downwards, in picture heights.
        bob: Amplitude of a swing up and down, in picture heights.
        sway: Amplitude of a swing of the tilt, in degrees.
        cycles: Number of such swings.
        growth: Factor on the thing's size at the end; 1 leaves it.
        turn: Rotation at the end, in degrees, clockwise.
        pan: Shift of the camera to the right, in picture widths, at most 0.4 either way.
        zoom: Magnification at the end, at least 0.7; 1 leaves it.
        light: The light at the end; None leaves the scene's own.
    """

    drift_x: float = 0.0
    drift_y: float = 0.0
    bob: float = 0.0
    sway: float = 0.0
    cycles: float = 1.0
    growth: float = 1.0
    turn: float = 0.0
    pan: float = 0.0
    zoom: float = 1.0
    light: str | None = None


def stands(thing: str, background: str) -> bool:
    """Tell whether a thing stands on the ground of a background, rather than floats."""
    return thing in STANDING and background != "sky"


def random_scene(rng: random.Random) -> Scene:
    """Draw a scene at random, every thing, color and setting as likely as the next.

    Args:
        rng: The source of chance; equal states give equal scenes.

    Returns:
        A scene whose thing lies within the canvas and shows before its background.
    """
    thing = rng.choice(tuple(THINGS))
    setting = rng.choice(SETTINGS)
    background, _, light = setting.partition("/")
    color = rng.choice([c for c in COLORS if (c, background) not in CLASHES])
    size = rng.choice(tuple(SIZES))
    side = rng.choice(tuple(SIDES))
    height = "ground" if stands(thing, background) else rng.choice(tuple(HEIGHTS))
    scene = place(
        Scene(
            thing=thing,
            color=color,
            size=size,
            side=side,
            height=height,
            background=background,
            light=light or "day",
            x=0.5,
            y=0.5,
            scale=rng.uniform(0.92, 1.08),
            mirrored=rng.random() < 0.5,
            variation=rng.randrange(2**31),
        )
    )
    tilt = rng.uniform(-3, 3) if height == "ground" else rng.uniform(-8, 8)
    return replace(
        scene,
        x=scene.x + rng.uniform(-0.04, 0.04),
        y=scene.y + rng.uniform(-0.02, 0.03),
        tilt=tilt,
    )


def place(scene: Scene) -> Scene:
    """Put a scene's thing where its `side` and `height` say, kept within the canvas."""
    half = SIZES[scene.size] * scene.scale / CANVAS / 2
    x = min(max(SIDES[scene.side], half), 1 - half)
    if scene.height == "ground":
        foot = FOOT.get(scene.thing, 48.0) / 50 * half
        depth = {"sea": 0.8, "city": 0.9}.get(scene.background, 0.87)
        return replace(scene, x=x, y=depth - foot)
    return replace(scene, x=x, y=min(max(HEIGHTS[scene.height], half), 1 - half))


def _gradients(palette: Palette, paint: Paint) -> str:
    def stops(*pairs: tuple[float, str]) -> str:
        return "".join(f'<stop offset="{at}" stop-color="{color}"/>' for at, color in pairs)

    return (
        '<defs><linearGradient id="sky" gradientUnits="userSpaceOnUse" x1="0" y1="0" x2="0" '
        f'y2="100">{stops((0, palette.sky_top), (1, palette.sky_low))}</linearGradient>'
        '<linearGradient id="ground" x1="0" y1="0" x2="0" y2="0.5">'
        f"{stops((0, palette.far), (0.5, palette.middle), (1, palette.near))}</linearGradient>"
        '<radialGradient id="glow"><stop offset="0.3" stop-color="#fff0c2" stop-opacity="0.7"/>'
        '<stop offset="1" stop-color="#fff0c2" stop-opacity="0"/></radialGradient>'
        '<linearGradient id="body" x1="0.2" y1="0" x2="0.8" y2="1">'
        f"{stops((0, paint.light), (0.4, paint.base), (1, paint.dark))}</linearGradient>"
        '<radialGradient id="round" cx="0.36" cy="0.3" r="0.75">'
        f"{stops((0, paint.light), (0.45, paint.base), (1, paint.dark))}</radialGradient></defs>"
    )


def scene_svg(
    scene: Scene,
    *,
    palette: Palette | None = None,
    pan: float = 0.0,
    zoom: float = 1.0,
    pixels: int = CANVAS,
) -> str:
    """Compose a scene as an SVG document.

    Args:
        scene: What to draw.
        palette: Colors of the background; None takes those of the scene's light.
        pan: Shift of the camera to the right, in picture widths.
        zoom: Magnification about the center.
        pixels: Side of the picture in pixels.

    Returns:
        The document.

    Raises:
        KeyError: The scene names an unknown thing, color, size or background.
    """
    palette = palette or palette_for(scene.background, scene.light)
    paint = paint_for(scene.color)
    factor = SIZES[scene.size] * scene.scale / 100
    x, y = scene.x * CANVAS, scene.y * CANVAS
    foot = y + FOOT.get(scene.thing, 48.0) * factor
    shadow = ""
    if foot > horizon_of(scene.background) and stands(scene.thing, scene.background):
        shadow = (
            f'<ellipse cx="{x:.3f}" cy="{foot:.3f}" rx="{44 * factor:.3f}" '
            f'ry="{6 * factor:.3f}" fill="#101430" opacity="0.22"/>'
        )
    mirror = -1 if scene.mirrored else 1
    middle = CANVAS / 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {CANVAS} {CANVAS}" '
        f'width="{pixels}" height="{pixels}">{_gradients(palette, paint)}'
        f'<g transform="translate({middle} {middle}) scale({zoom:.4f}) '
        f'translate({-middle - pan * CANVAS:.3f} {-middle})">'
        f"{background_svg(scene.background, palette, scene.variation)}{shadow}"
        f'<g transform="translate({x:.3f} {y:.3f}) rotate({scene.tilt:.3f}) '
        f'scale({factor * mirror:.4f} {factor:.4f})" stroke="{paint.line}" stroke-width="2.6" '
        f'stroke-linejoin="round">{THINGS[scene.thing](paint)}</g></g></svg>'
    )


def _rasterize(svg: str) -> NDArray[np.uint8]:
    data = bytes(resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True))
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def draw(scene: Scene, pixels: int = CANVAS) -> NDArray[np.uint8]:
    """Draw a scene.

    Args:
        scene: What to draw.
        pixels: Side of the picture.

    Returns:
        The picture, shape (pixels, pixels, 3), RGB, 0 to 255; the same at every call.
    """
    return _rasterize(scene_svg(scene, pixels=pixels))


def draw_video(
    scene: Scene, motion: Motion, num_frames: int, pixels: int = CANVAS
) -> NDArray[np.uint8]:
    """Draw a film of a scene.

    Args:
        scene: The first frame.
        motion: What changes until the last.
        num_frames: Number of frames, at least 1.
        pixels: Side of the picture.

    Returns:
        The frames, shape (num_frames, pixels, pixels, 3), RGB, 0 to 255.

    Raises:
        ValueError: There are no frames to draw, or the camera would leave the world.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames is {num_frames}; it must be at least 1")
    if abs(motion.pan) > 0.4 or motion.zoom < 0.7:
        raise ValueError("pan must lie within ±0.4 and zoom must be at least 0.7")
    first = palette_for(scene.background, scene.light)
    last = palette_for(scene.background, motion.light or scene.light)
    frames = []
    for index in range(num_frames):
        t = index / max(num_frames - 1, 1)
        swing = sin(2 * pi * motion.cycles * t)
        moved = replace(
            scene,
            x=scene.x + motion.drift_x * t,
            y=scene.y + motion.drift_y * t + motion.bob * swing,
            # Growth and zoom multiply: equal times give equal ratios, as the eye expects.
            scale=scene.scale * motion.growth**t,
            tilt=scene.tilt + motion.turn * t + motion.sway * swing,
        )
        svg = scene_svg(
            moved,
            palette=blend(first, last, t),
            pan=motion.pan * t,
            zoom=motion.zoom**t,
            pixels=pixels,
        )
        frames.append(_rasterize(svg))
    return np.stack(frames)


__all__ = [
    "BACKGROUNDS",
    "CANVAS",
    "COLORS",
    "LIGHTS",
    "SETTINGS",
    "SIZES",
    "THINGS",
    "Motion",
    "Scene",
    "draw",
    "draw_video",
    "place",
    "random_scene",
    "scene_svg",
    "stands",
]
