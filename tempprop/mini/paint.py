"""Colors of the drawn world and the arithmetic on them.

A color is a hex string such as ``"#e23b3b"``, which is what SVG understands.
"""

from __future__ import annotations

from dataclasses import dataclass

COLORS: dict[str, str] = {
    "red": "#e23a3c",
    "orange": "#fb8b23",
    "yellow": "#fdd12e",
    "green": "#3fb04a",
    "turquoise": "#1fc2b8",
    "blue": "#2f6ce0",
    "purple": "#8a43cf",
    "pink": "#fb6fb0",
    "white": "#f7f8fb",
    "brown": "#8f5a34",
}
"""The colors that a thing's main body can take."""


@dataclass(frozen=True)
class Paint:
    """The shades in which one thing is drawn.

    Attributes:
        base: The color itself.
        light: Its lit side.
        dark: Its shaded side.
        line: The outline, dark enough to part the thing from any background.
    """

    base: str
    light: str
    dark: str
    line: str


def mix(first: str, second: str, amount: float) -> str:
    """Blend two colors linearly, channel by channel, in sRGB values.

    Args:
        first: The color at amount 0, ``"#rrggbb"``.
        second: The color at amount 1, ``"#rrggbb"``.
        amount: Where between them, 0 to 1.

    Returns:
        The blend as ``"#rrggbb"``.
    """
    pairs = ((int(first[i : i + 2], 16), int(second[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * amount):02x}" for a, b in pairs)


def paint_for(color: str) -> Paint:
    """Derive the shades of a named color.

    Args:
        color: A key of `COLORS`.

    Returns:
        The shades to draw a thing with.

    Raises:
        KeyError: The color is not in `COLORS`.
    """
    base = COLORS[color]
    if color == "white":
        return Paint(base=base, light="#ffffff", dark="#cfd6e4", line="#5b6683")
    return Paint(
        base=base,
        light=mix(base, "#ffffff", 0.38),
        dark=mix(base, "#1c1440", 0.24),
        line=mix(base, "#1a1233", 0.62),
    )
