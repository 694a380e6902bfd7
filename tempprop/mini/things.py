"""The things of the drawn world, each an SVG fragment in a box from -50 to 50.

A thing's body is filled with the gradients ``url(#body)`` (lit from the upper left) or
``url(#round)`` (a ball's highlight), which `tempprop.mini.world` defines in the thing's color;
accents such as a basket or a window keep their own colors.  Shapes are outlined unless they say
``stroke="none"``, because the surrounding group sets the stroke.  The y axis points down.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, sin

from tempprop.mini.paint import Paint

CREAM = "#fff3dc"
WOOD = "#96623d"
SLATE = "#44506c"
GOLD = "#ffc94a"
GLASS = "#c4ebf8"
LEAF = "#4fae57"
BODY = "url(#body)"
ROUND = "url(#round)"


def _path(d: str, fill: str, extra: str = "") -> str:
    return f'<path d="{d}" fill="{fill}" {extra}/>'


def _detail(d: str, fill: str, opacity: float = 1.0) -> str:
    return _path(d, fill, f'stroke="none" opacity="{opacity}"')


def _stroke(d: str, color: str, width: float) -> str:
    return (
        f'<path d="{d}" fill="none" stroke="{color}" stroke-width="{width}" '
        'stroke-linecap="round"/>'
    )


def _ellipse(x: float, y: float, rx: float, ry: float, fill: str, extra: str = "") -> str:
    return f'<ellipse cx="{x}" cy="{y}" rx="{rx}" ry="{ry}" fill="{fill}" {extra}/>'


def _rect(x: float, y: float, w: float, h: float, fill: str, radius: float = 0.0) -> str:
    return f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="{radius}" fill="{fill}"/>'


def balloon(p: Paint) -> str:
    """Draw a hot-air balloon."""
    return (
        _stroke("M-12 20 L-8 36 M12 20 L8 36", SLATE, 2)
        + _rect(-10, 35, 20, 14, WOOD, 3)
        + _path("M0 -49 C-50 -49 -44 2 -13 24 L13 24 C44 2 50 -49 0 -49Z", ROUND)
        + _detail("M0 -48 C-22 -46 -20 4 -6 23 L6 23 C20 4 22 -46 0 -48Z", CREAM, 0.85)
        + _detail("M0 -48 C-8 -44 -8 4 -2 23 L2 23 C8 4 8 -44 0 -48Z", p.base)
    )


def boat(p: Paint) -> str:
    """Draw a sailing boat: the hull has the color, the sails are cream."""
    return (
        _stroke("M-2 -48 L-2 24", WOOD, 4)
        + _path("M3 -46 C26 -26 36 -4 38 14 L3 14Z", CREAM)
        + _path("M-7 -34 C-16 -14 -28 2 -36 14 L-7 14Z", p.light)
        + _path("M-48 20 L48 20 C42 38 32 46 22 46 L-24 46 C-36 46 -44 34 -48 20Z", BODY)
        + _detail("M-45 26 L45 26 L43 31 L-43 31Z", CREAM, 0.9)
    )


def fish(p: Paint) -> str:
    """Draw a fish that swims to the right."""
    return (
        _path("M-22 0 L-49 -25 C-43 -8 -43 8 -49 25Z", p.dark)
        + _path("M-12 -20 C0 -42 14 -38 22 -24Z", p.dark)
        + _path("M-30 0 C-14 -36 34 -36 48 0 C34 36 -14 36 -30 0Z", BODY)
        + _stroke("M12 -20 C4 -8 4 8 12 20", CREAM, 4.5)
        + _stroke("M-6 -20 C-13 -8 -13 8 -6 20", CREAM, 4.5)
        + _ellipse(30, -7, 6.5, 6.5, "#ffffff")
        + _ellipse(32, -7, 3, 3, "#20243a", 'stroke="none"')
    )


def rocket(p: Paint) -> str:
    """Draw a rocket with its flame."""
    return (
        _path("M-9 30 C-10 42 -4 44 0 50 C4 44 10 42 9 30Z", GOLD)
        + _path("M-16 4 C-34 12 -34 26 -32 38 L-13 26Z", p.dark)
        + _path("M16 4 C34 12 34 26 32 38 L13 26Z", p.dark)
        + _path("M0 -50 C26 -30 22 10 12 31 L-12 31 C-22 10 -26 -30 0 -50Z", CREAM)
        + _path("M0 -50 C13 -40 17 -30 18 -20 L-18 -20 C-17 -30 -13 -40 0 -50Z", BODY)
        + _path("M-17 12 L17 12 L12 31 L-12 31Z", BODY)
        + _ellipse(0, -4, 8.5, 8.5, GLASS)
    )


def house(p: Paint) -> str:
    """Draw a house: the walls have the color, the roof is dark."""
    return (
        _rect(20, -42, 11, 24, SLATE)
        + _rect(-36, -8, 72, 56, BODY, 2)
        + _path("M-48 -4 L0 -46 L48 -4Z", "#5c4660")
        + _rect(-9, 16, 18, 32, WOOD, 2)
        + _rect(-29, 6, 15, 15, "#ffe9a6", 1)
        + _rect(14, 6, 15, 15, "#ffe9a6", 1)
    )


def tree(p: Paint) -> str:
    """Draw a broad tree: the crown has the color."""
    return (
        _path("M-7 48 C-4 30 -5 20 -6 8 L6 8 C5 20 4 30 8 48Z", WOOD)
        + _path(
            "M-22 22 C-46 22 -50 -4 -34 -12 C-38 -36 -12 -50 4 -44 "
            "C24 -52 42 -32 35 -14 C50 -4 44 22 22 22Z",
            ROUND,
        )
        + _detail("M-26 12 C-10 20 18 18 34 8 C28 20 -16 24 -26 12Z", p.dark, 0.55)
        + _ellipse(-12, -22, 11, 7, p.light, 'stroke="none" opacity="0.7"')
    )


def mushroom(p: Paint) -> str:
    """Draw a toadstool with a spotted cap."""
    return (
        _path("M-13 4 C-10 22 -16 38 -20 48 L20 48 C16 38 10 22 13 4Z", CREAM)
        + _path("M-48 8 C-48 -62 48 -62 48 8 C30 17 -30 17 -48 8Z", ROUND)
        + _ellipse(-4, -28, 10, 8, CREAM, 'stroke="none"')
        + _ellipse(-29, -7, 8, 7, CREAM, 'stroke="none"')
        + _ellipse(26, -12, 9, 8, CREAM, 'stroke="none"')
        + _ellipse(3, 1, 7, 4.5, CREAM, 'stroke="none"')
    )


def butterfly(p: Paint) -> str:
    """Draw a butterfly with open wings."""
    right = (
        _path("M3 0 C10 -48 50 -48 49 -20 C48 -2 20 4 3 0Z", BODY)
        + _path("M3 2 C20 2 42 10 36 30 C28 46 6 34 3 2Z", p.dark)
        + _ellipse(32, -20, 9, 8, CREAM, 'stroke="none"')
        + _ellipse(22, 22, 6, 6, CREAM, 'stroke="none"')
    )
    return (
        right
        + f'<g transform="scale(-1 1)">{right}</g>'
        + _stroke("M-1 -20 C-4 -32 -9 -36 -14 -38 M1 -20 C4 -32 9 -36 14 -38", SLATE, 2.5)
        + _ellipse(0, 3, 4.5, 25, SLATE)
    )


def car(p: Paint) -> str:
    """Draw a small car from the side."""
    return (
        _path("M-26 -2 C-22 -30 -14 -32 -2 -32 C16 -32 20 -26 28 -2Z", BODY)
        + _path("M-20 -3 C-17 -22 -13 -25 -3 -25 L-3 -3Z", GLASS)
        + _path("M3 -25 C13 -25 16 -20 21 -3 L3 -3Z", GLASS)
        + _path("M-48 20 C-50 0 -44 -4 -30 -4 L30 -4 C46 -3 50 4 48 20 L44 26 L-44 26Z", BODY)
        + _ellipse(43, 6, 4, 4.5, GOLD)
        + _ellipse(-26, 26, 13, 13, "#333a52")
        + _ellipse(26, 26, 13, 13, "#333a52")
        + _ellipse(-26, 26, 5, 5, CREAM, 'stroke="none"')
        + _ellipse(26, 26, 5, 5, CREAM, 'stroke="none"')
    )


def star(p: Paint) -> str:
    """Draw a plump five-pointed star with a face."""
    corners = []
    for i in range(10):
        radius = 49 if i % 2 == 0 else 25
        angle = -pi / 2 + i * pi / 5
        corners.append(f"{radius * cos(angle):.1f} {radius * sin(angle) + 3:.1f}")
    return (
        _path("M" + " L".join(corners) + "Z", ROUND)
        + _ellipse(-9, 0, 3.5, 4.5, p.line, 'stroke="none"')
        + _ellipse(9, 0, 3.5, 4.5, p.line, 'stroke="none"')
        + _stroke("M-7 11 C-3 16 3 16 7 11", p.line, 3)
    )


def moon(p: Paint) -> str:
    """Draw a crescent moon."""
    return (
        _path("M10 -48 C-50 -46 -52 44 8 48 C26 49 38 40 44 28 C-2 36 -16 -18 10 -48Z", ROUND)
        + _ellipse(-20, -4, 5, 6, p.dark, 'stroke="none" opacity="0.6"')
        + _ellipse(-8, 24, 6.5, 5, p.dark, 'stroke="none" opacity="0.6"')
    )


def cloud(p: Paint) -> str:
    """Draw a puffy cloud."""
    return _path(
        "M-34 27 C-54 27 -54 -4 -33 -4 C-32 -28 -4 -36 6 -18 C22 -30 42 -14 34 0 "
        "C54 0 54 27 34 27Z",
        BODY,
    ) + _detail("M-28 2 C-26 -16 -8 -22 0 -10 C-12 -12 -22 -8 -28 2Z", p.light, 0.8)


def flower(p: Paint) -> str:
    """Draw a flower with six petals on a stem."""
    petals = "".join(
        _ellipse(0, -22, 10.5, 14.5, BODY, f'transform="translate(0 -15) rotate({60 * i})"')
        for i in range(6)
    )
    return (
        _stroke("M0 -10 C3 14 -2 30 0 48", "#2f7c3d", 5)
        + _path("M0 38 C6 16 24 14 32 18 C28 34 14 42 0 38Z", LEAF)
        + _path("M0 44 C-6 26 -22 24 -30 28 C-26 42 -12 48 0 44Z", LEAF)
        + petals
        + _ellipse(0, -15, 10.5, 10.5, "#7a4a1e" if p.base == "#fdd12e" else GOLD)
    )


def bird(p: Paint) -> str:
    """Draw a round bird that looks to the right."""
    return (
        _path("M-22 8 L-50 -8 L-46 8 L-50 22Z", p.dark)
        + _stroke("M-4 34 L-6 47 M8 34 L8 47", "#e08a2c", 4)
        + _path(
            "M-32 10 C-28 34 6 42 24 22 C30 16 34 4 35 -8 C38 -34 4 -44 -2 -18 "
            "C-8 -4 -22 2 -32 10Z",
            BODY,
        )
        + _path("M33 -20 L50 -12 L34 -7Z", "#f7a531")
        + _path("M-16 8 C-8 -6 10 -4 14 4 C8 22 -10 26 -16 8Z", p.light)
        + _ellipse(20, -17, 4.5, 4.5, "#20243a", 'stroke="none"')
        + _ellipse(21.5, -18.5, 1.6, 1.6, "#ffffff", 'stroke="none"')
    )


def umbrella(p: Paint) -> str:
    """Draw an open umbrella with its hook."""
    return (
        _stroke("M0 -40 L0 36 C0 50 18 50 18 36", WOOD, 5)
        + _path(
            "M-49 4 C-46 -58 46 -58 49 4 C42 -7 26 -7 17 4 "
            "C11 -7 -11 -7 -17 4 C-26 -7 -42 -7 -49 4Z",
            BODY,
        )
        + _detail(
            "M-17 3 C-15 -24 -6 -40 0 -42 C6 -40 15 -24 17 3 C11 -7 -11 -7 -17 3Z", CREAM, 0.8
        )
        + _stroke("M0 -42 L0 -49", WOOD, 4)
    )


def cactus(p: Paint) -> str:
    """Draw a saguaro cactus with two arms and a blossom."""
    arms = "M-2 28 L-22 28 C-34 28 -34 16 -34 -8 M2 14 L22 14 C34 14 34 4 34 -22"
    return (
        _stroke(arms, p.line, 19)
        + _stroke(arms, p.base, 14)
        + _rect(-14, -42, 28, 90, BODY, 14)
        + _stroke("M-5 -28 L-5 42 M5 -28 L5 42", p.light, 2.5)
        + _ellipse(0, -43, 8, 6, "#ff5c8f" if p.base != "#fb6fb0" else GOLD)
    )


def kite(p: Paint) -> str:
    """Draw a diamond kite with a tail of bows."""
    return (
        _stroke("M-6 24 C-24 30 -4 40 -18 49", SLATE, 2.5)
        + _path("M2 -49 L34 -16 L-6 26 L-32 -20Z", BODY)
        + _detail("M2 -47 L32 -16 L0 -18Z", CREAM, 0.75)
        + _detail("M0 -18 L-6 24 L-30 -20Z", p.dark, 0.75)
        + _stroke("M2 -48 L-6 25 M-31 -20 L33 -16", p.line, 2)
        + _path("M-14 33 L-26 28 L-24 40Z M-14 33 L-2 30 L-4 41Z", p.base)
    )


def lighthouse(p: Paint) -> str:
    """Draw a banded lighthouse."""
    return (
        _path("M-34 49 C-30 38 30 38 34 49Z", "#7d8799")
        + _path("M-13 -22 L13 -22 L20 43 L-20 43Z", CREAM)
        + _path("M-14.5 -8 L14.5 -8 L16.3 9 L-16.3 9Z", BODY)
        + _path("M-18 25 L18 25 L20 43 L-20 43Z", BODY)
        + _rect(-10, -37, 20, 15, "#ffe680")
        + _rect(-17, -25, 34, 5, SLATE, 2)
        + _path("M-14 -36 C-8 -46 -4 -48 0 -50 C4 -48 8 -46 14 -36Z", BODY)
    )


def apple(p: Paint) -> str:
    """Draw an apple with a leaf."""
    return (
        _stroke("M0 -24 C0 -36 4 -42 8 -47", WOOD, 5)
        + _path("M3 -32 C10 -48 28 -48 36 -42 C30 -28 16 -24 3 -32Z", LEAF)
        + _path(
            "M0 -24 C-18 -36 -46 -26 -45 4 C-44 32 -22 52 0 43 C22 52 44 32 45 4 "
            "C46 -26 18 -36 0 -24Z",
            ROUND,
        )
        + _ellipse(-24, -6, 6, 11, "#ffffff", 'stroke="none" opacity="0.55"')
    )


def mug(p: Paint) -> str:
    """Draw a steaming mug."""
    return (
        _stroke("M28 -2 C52 -6 52 32 24 30", p.line, 12)
        + _stroke("M28 -2 C52 -6 52 32 24 30", p.base, 7)
        + _path("M-38 -16 L30 -16 L26 38 C25 46 20 48 14 48 L-22 48 C-28 48 -33 46 -34 38Z", BODY)
        + _ellipse(-4, -16, 34, 8, "#5b3a29")
        + _stroke("M-14 -28 C-22 -36 -6 -40 -14 -49 M6 -28 C-2 -36 14 -40 6 -49", "#ffffff", 4)
        + _detail("M-30 2 L-24 2 L-21 36 L-26 36Z", p.light, 0.7)
    )


THINGS: dict[str, Callable[[Paint], str]] = {
    draw.__name__: draw
    for draw in (
        balloon,
        boat,
        fish,
        rocket,
        house,
        tree,
        mushroom,
        butterfly,
        car,
        star,
        moon,
        cloud,
        flower,
        bird,
        umbrella,
        cactus,
        kite,
        lighthouse,
        apple,
        mug,
    )
}
"""Every thing by its name, as a function from its shades to an SVG fragment."""

STANDING: frozenset[str] = frozenset(
    {
        "boat",
        "house",
        "tree",
        "mushroom",
        "car",
        "flower",
        "cactus",
        "lighthouse",
        "apple",
        "mug",
    }
)
"""Things that stand on the ground where there is one; all others float."""

FOOT: dict[str, float] = {"boat": 42.0, "car": 39.0}
"""How far below its center a standing thing touches the ground, in its box, where not 48."""
