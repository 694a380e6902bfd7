"""The plain backgrounds that the animations are put on; the captions name them.

The animations are transparent. One background for all would hide what has its color (white clouds
on white, yellow hands on cream), and would leave nothing in a prompt but the emoji itself. Six that
are named hide nothing for long, let the same emoji be asked for in six ways, and make part of every
prompt measurable without a classifier: the color around the emoji is the one that was asked for, or
it is not. One of them is dark, because what is dark shows flaws that pastels hide.
"""

import random

import numpy as np
import numpy.typing as npt
from PIL import Image

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (250, 250, 248),
    "gray": (200, 204, 210),
    "mint": (182, 230, 206),
    "blue": (168, 208, 240),
    "pink": (246, 196, 212),
    "navy": (34, 42, 76),
}
"""Name and color in sRGB."""


def background_for(*key: object) -> str:
    """Choose a background by chance.

    Args:
        key: What it is for; equal keys give equal backgrounds.
    """
    return random.Random(f"background {key}").choice(list(BACKGROUNDS))


def on_background(picture: Image.Image, name: str, side: int) -> npt.NDArray[np.uint8]:
    """Put a transparent picture on a background and bring it to its size.

    Args:
        picture: RGBA, with straight alpha.
        name: Of the background.
        side: Width and height of the result in pixels.

    Returns:
        Shape `(side, side, 3)`, RGB, 0 to 255.
    """
    plain = Image.new("RGBA", picture.size, (*BACKGROUNDS[name], 255))
    # Blending comes first: resized colors of transparent pixels would bleed into the outlines.
    whole = Image.alpha_composite(plain, picture.convert("RGBA")).convert("RGB")
    return np.asarray(whole.resize((side, side), Image.Resampling.LANCZOS))
