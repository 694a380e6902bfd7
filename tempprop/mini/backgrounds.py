"""The backgrounds of the drawn world as SVG fragments in a canvas from 0 to 128.

Every background reaches well beyond the canvas (from -64 to 192 sideways), so that a camera can
pan over it.  A landscape is drawn from a `Palette`; because palettes can be blended, daylight can
turn to dusk within a film.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, fields
from math import pi, sin

from tempprop.mini.paint import mix

LIGHTS: tuple[str, ...] = ("day", "dusk", "night")
"""The hours of the day at which a landscape can be seen."""

LEFT, RIGHT, TOP, BOTTOM = -64, 192, -40, 168


@dataclass(frozen=True)
class Palette:
    """The colors of one landscape at one hour.

    Attributes:
        sky_top: The sky overhead.
        sky_low: The sky at the horizon.
        far: The most distant ground.
        middle: The ground between.
        near: The ground in front.
        cloud: The clouds.
        glow: Lit windows, snow caps and other small bright parts.
        sun: How visible the low sun is, 0 to 1.
        stars: How visible the stars are, 0 to 1.
    """

    sky_top: str
    sky_low: str
    far: str
    middle: str
    near: str
    cloud: str
    glow: str
    sun: float
    stars: float


def blend(first: Palette, second: Palette, amount: float) -> Palette:
    """Blend two palettes.

    Args:
        first: The palette at amount 0.
        second: The palette at amount 1.
        amount: Where between them, 0 to 1.

    Returns:
        The palette between.
    """

    def between(name: str) -> str | float:
        a, b = getattr(first, name), getattr(second, name)
        return mix(a, b, amount) if isinstance(a, str) else a + (b - a) * amount

    return Palette(**{field.name: between(field.name) for field in fields(Palette)})  # type: ignore[arg-type]


_SKY = {
    "day": ("#7cc3f0", "#e4f5fd", "#ffffff"),
    "dusk": ("#6d5199", "#ffbd86", "#ffcfb8"),
    "night": ("#10163a", "#35457f", "#4a5a94"),
}

_GROUND = {
    "sky": {
        "day": ("#ffffff", "#ffffff", "#ffffff", "#ffffff"),
        "dusk": ("#ffcfb8", "#ffcfb8", "#ffcfb8", "#ffcfb8"),
        "night": ("#4a5a94", "#4a5a94", "#4a5a94", "#4a5a94"),
    },
    "hills": {
        "day": ("#b7dfae", "#8fd08a", "#6dbd72", "#ffffff"),
        "dusk": ("#c08a9c", "#94698c", "#675078", "#ffe0b0"),
        "night": ("#355a66", "#284a55", "#1d3a45", "#9fb4d8"),
    },
    "sea": {
        "day": ("#63bedd", "#3fa3cd", "#2a86b8", "#d8f3fb"),
        "dusk": ("#eaa08c", "#b9758f", "#7a5892", "#ffe0b0"),
        "night": ("#2b4a8a", "#203a72", "#172c5b", "#7f98d0"),
    },
    "desert": {
        "day": ("#f6dfae", "#efcb88", "#e3b066", "#fff2d0"),
        "dusk": ("#eb9b73", "#cd7868", "#a05a66", "#ffd9a0"),
        "night": ("#6b5f80", "#554b6c", "#423a59", "#9a90b0"),
    },
    "snow": {
        "day": ("#cfe3f2", "#e6f1fa", "#f8fcff", "#5f8f8c"),
        "dusk": ("#d3b4d2", "#dcc6e4", "#e8d9f0", "#5f4f7c"),
        "night": ("#7088bd", "#8ba1d0", "#a9bce2", "#22335c"),
    },
    "mountains": {
        "day": ("#8ea9cb", "#7593b8", "#8fbf86", "#ffffff"),
        "dusk": ("#9a6f9f", "#7c568c", "#5a4470", "#ffd9cf"),
        "night": ("#3b4a80", "#2c3968", "#1d2a4d", "#b4c2e8"),
    },
    "city": {
        "day": ("#b4c6da", "#91a7c2", "#7b8598", "#eef7ff"),
        "dusk": ("#a5789a", "#6f5282", "#4c3b63", "#ffd978"),
        "night": ("#2f3c70", "#212b56", "#171d3c", "#ffdf7a"),
    },
}

_WALLS = {
    "cream studio": ("#fff3dd", "#ecd6b4"),
    "pink studio": ("#fbd3dc", "#e9a9bb"),
    "mint studio": ("#cdeedd", "#9fd3ba"),
    "gray studio": ("#c9cdd6", "#a3a8b6"),
}

LANDSCAPES: tuple[str, ...] = tuple(_GROUND)
"""Backgrounds that change with the light."""

STUDIOS: tuple[str, ...] = tuple(_WALLS)
"""Plain backgrounds, which have one light only."""

BACKGROUNDS: tuple[str, ...] = LANDSCAPES + STUDIOS
"""Every background by its name."""


def palette_for(background: str, light: str) -> Palette:
    """Look up the colors of a background.

    Args:
        background: One of `BACKGROUNDS`.
        light: One of `LIGHTS`; a studio has the same colors at all of them.

    Returns:
        The palette.

    Raises:
        KeyError: The background or the light is not known.
    """
    if background in _WALLS:
        wall, floor = _WALLS[background]
        return Palette(wall, mix(wall, floor, 0.35), floor, floor, floor, wall, wall, 0.0, 0.0)
    top, low, cloud = _SKY[light]
    far, middle, near, glow = _GROUND[background][light]
    return Palette(
        top, low, far, middle, near, cloud, glow, float(light == "dusk"), float(light == "night")
    )


def horizon_of(background: str) -> float:
    """Tell where the ground begins, in canvas units from the top (128 is the bottom edge).

    The open sky has no ground; its horizon lies below the canvas.
    """
    return {"sky": 190.0, "sea": 78.0, "mountains": 92.0, "city": 100.0}.get(background, 86.0)


def _ridge(rng: random.Random, height: float, swing: float, wave: float, fill: str) -> str:
    """Draw rolling ground with its crest at `height` ± `swing` and waves `wave` units long."""
    phase = rng.uniform(0, 2 * pi)
    xs = range(LEFT, RIGHT + 1, 8)
    crest = " L".join(f"{x} {height + swing * sin(phase + 2 * pi * x / wave):.1f}" for x in xs)
    return f'<path d="M{LEFT} {BOTTOM} L{crest} L{RIGHT} {BOTTOM}Z" fill="{fill}"/>'


def _puff(x: float, y: float, scale: float, fill: str, opacity: float) -> str:
    return (
        f'<g transform="translate({x:.1f} {y:.1f}) scale({scale:.2f})" fill="{fill}" '
        f'opacity="{opacity}"><ellipse cx="0" cy="0" rx="19" ry="5"/>'
        '<ellipse cx="-4" cy="-4" rx="9" ry="7"/><ellipse cx="7" cy="-3" rx="8" ry="5"/></g>'
    )


def _sky(palette: Palette, rng: random.Random, horizon: float, clouds: int) -> str:
    fragments = [f'<rect x="{LEFT}" y="{TOP}" width="256" height="208" fill="url(#sky)"/>']
    stars = [(rng.uniform(LEFT, RIGHT), rng.uniform(TOP, horizon)) for _ in range(30)]
    fragments += [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.2" fill="#ffffff" opacity="{palette.stars:.2f}"/>'
        for x, y in stars
        if palette.stars > 0
    ]
    sun_x = rng.uniform(24, 104)
    if palette.sun > 0:
        level = min(horizon, 112.0)
        fragments.append(
            f'<circle cx="{sun_x:.1f}" cy="{level - 4}" r="30" fill="url(#glow)" '
            f'opacity="{palette.sun:.2f}"/><circle cx="{sun_x:.1f}" cy="{level - 4}" r="13" '
            f'fill="#fff0c2" opacity="{palette.sun:.2f}"/>'
        )
    for i in range(clouds):
        # Spread over the width of the pan, so that two clouds rarely merge into one.
        x = LEFT + 256 * (i + rng.uniform(0.2, 0.8)) / clouds
        y = rng.uniform(12, min(horizon, 128.0) * 0.62)
        fragments.append(_puff(x, y, rng.uniform(0.7, 1.15), palette.cloud, 0.75))
    return "".join(fragments)


def _open_sky(palette: Palette, rng: random.Random) -> str:
    low = "".join(
        _puff(
            LEFT + 256 * (i + rng.uniform(0.2, 0.8)) / 7,
            rng.uniform(106, 124),
            1.9,
            palette.cloud,
            0.7,
        )
        for i in range(7)
    )
    return _sky(palette, rng, horizon_of("sky"), clouds=5) + low


def _hills(palette: Palette, rng: random.Random) -> str:
    return (
        _sky(palette, rng, 84, clouds=4)
        + _ridge(rng, 80, 7, 128, palette.far)
        + _ridge(rng, 92, 6, 104, palette.middle)
        + _ridge(rng, 107, 4, 150, palette.near)
    )


def _sea(palette: Palette, rng: random.Random) -> str:
    waves = "".join(
        f'<path d="M{x:.1f} {y:.1f} q5 -3 10 0 q5 3 10 0" fill="none" stroke="{palette.glow}" '
        'stroke-width="1.8" stroke-linecap="round" opacity="0.7"/>'
        for y in (90.0, 103.0, 117.0)
        for x in (LEFT + 51 * (i + rng.uniform(0.1, 0.7)) for i in range(5))
    )
    return (
        _sky(palette, rng, 78, clouds=4)
        + f'<rect x="{LEFT}" y="78" width="256" height="100" fill="url(#ground)"/>'
        + waves
    )


def _desert(palette: Palette, rng: random.Random) -> str:
    return (
        _sky(palette, rng, 86, clouds=0)
        + _ridge(rng, 84, 5, 170, palette.far)
        + _ridge(rng, 95, 7, 130, palette.middle)
        + _ridge(rng, 110, 5, 180, palette.near)
    )


def _pine(x: float, y: float, fill: str) -> str:
    return f'<path d="M{x:.1f} {y - 17:.1f} l7 10 h-3 l6 9 h-20 l6 -9 h-3Z" fill="{fill}"/>'


def _snow(palette: Palette, rng: random.Random) -> str:
    pines = "".join(
        _pine(LEFT + 256 * (i + rng.uniform(0.25, 0.75)) / 10, rng.uniform(84, 88), palette.glow)
        for i in range(10)
    )
    return (
        _sky(palette, rng, 84, clouds=2)
        + _ridge(rng, 80, 5, 140, palette.far)
        + pines
        + _ridge(rng, 91, 4, 120, palette.middle)
        + _ridge(rng, 108, 4, 160, palette.near)
    )


def _mountains(palette: Palette, rng: random.Random) -> str:
    peaks = []
    for i in range(5):
        x = LEFT + 256 * (i + rng.uniform(0.35, 0.65)) / 5
        top = rng.uniform(38, 54)
        peaks.append(
            f'<path d="M{x - 44:.1f} 104 L{x:.1f} {top:.1f} L{x + 44:.1f} 104Z" '
            f'fill="{palette.far}"/><path d="M{x:.1f} {top:.1f} L{x + 44:.1f} 104 L{x + 6:.1f} 104 '
            f'L{x - 3:.1f} {top + 22:.1f}Z" fill="{palette.middle}"/>'
            f'<path d="M{x:.1f} {top:.1f} l-13 {(104 - top) * 13 / 44:.1f} l6 -3 l6 5 l6 -5 l8 3Z" '
            f'fill="{palette.glow}"/>'
        )
    return _sky(palette, rng, 70, clouds=2) + "".join(peaks) + _ridge(rng, 97, 3, 140, palette.near)


def _city(palette: Palette, rng: random.Random) -> str:
    fragments = [_sky(palette, rng, 80, clouds=2)]
    for layer, (width, low, high, fill) in enumerate(
        ((20, 48, 70, palette.far), (24, 66, 84, palette.middle))
    ):
        x = LEFT - rng.uniform(0, width)
        while x < RIGHT:
            wide, top = width * rng.uniform(0.85, 1.15), rng.uniform(low, high)
            fragments.append(
                f'<rect x="{x:.1f}" y="{top:.1f}" width="{wide:.1f}" height="70" fill="{fill}"/>'
            )
            if layer == 1:
                fragments += [
                    f'<rect x="{x + wide * side - 2:.1f}" y="{top + 6 + 9 * row:.1f}" width="4" '
                    f'height="5" fill="{palette.glow}" opacity="0.85"/>'
                    for side in (0.28, 0.72)
                    for row in range(int((96 - top) / 9))
                ]
            x += wide
    fragments.append(f'<rect x="{LEFT}" y="100" width="256" height="70" fill="{palette.near}"/>')
    return "".join(fragments)


def _studio(palette: Palette, rng: random.Random) -> str:
    level = rng.uniform(88, 96)
    return (
        f'<rect x="{LEFT}" y="{TOP}" width="256" height="208" fill="url(#sky)"/>'
        f'<rect x="{LEFT}" y="{level:.1f}" width="256" height="100" fill="{palette.near}"/>'
    )


_PAINTERS: dict[str, Callable[[Palette, random.Random], str]] = {
    "sky": _open_sky,
    "hills": _hills,
    "sea": _sea,
    "desert": _desert,
    "snow": _snow,
    "mountains": _mountains,
    "city": _city,
}


def background_svg(background: str, palette: Palette, variation: int) -> str:
    """Draw a background.

    Args:
        background: One of `BACKGROUNDS`.
        palette: Its colors.
        variation: A seed for what may differ between two pictures: clouds, crests, roofs.

    Returns:
        An SVG fragment that refers to the gradients ``sky``, ``ground`` and ``glow``.

    Raises:
        KeyError: The background is not known.
    """
    if background not in BACKGROUNDS:
        raise KeyError(background)
    return _PAINTERS.get(background, _studio)(palette, random.Random(variation))
