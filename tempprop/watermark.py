"""A visible watermark, drawn on the frames before they are encoded."""

import hashlib
import io
from collections.abc import Generator
from contextlib import closing
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, UnidentifiedImageError

from tempprop.errors import InputError
from tempprop.frames import Frames
from tempprop.spec import WatermarkConfig

SHADOW = 0.6
"""Opacity of the shadow that keeps a white text legible before a white wall."""


LEAST_LETTERS = 12
"""Height of letters in pixels below which nobody can read them."""


def watermarked(
    chunks: Generator[Frames, None, None], config: WatermarkConfig | None
) -> Generator[Frames, None, None]:
    """Draw a watermark on every frame; None draws nothing.

    Args:
        chunks: Frames of shape `(frames, height, width, 3)`, uint8, RGB.
        config: What to draw, and where.

    Raises:
        InputError: As of `draw_watermark`.
    """
    with closing(chunks):
        for chunk in chunks:
            yield draw_watermark(chunk, config) if config is not None else chunk


def draw_watermark(frames: Frames, config: WatermarkConfig) -> Frames:
    """Draw a watermark.

    Args:
        frames: Shape `(frames, height, width, 3)`, uint8, RGB; left as they are.
        config: What to draw, and where.

    Returns:
        Of the same shape.

    Raises:
        InputError: The picture or the font cannot be used, or is another one than the configuration
            says; or the font has no glyph for some of the text.
    """
    height, width = frames.shape[1:3]
    layer = _layer(width, height, config)
    color = layer[..., :3].astype(np.float32)
    alpha = layer[..., 3:].astype(np.float32) / 255 * config.opacity
    return np.rint(frames * (1 - alpha) + color * alpha).astype(np.uint8)


def with_digests(config: WatermarkConfig) -> WatermarkConfig:
    """Look up the digests of a watermark's picture and font, where they are not given.

    Raises:
        InputError: A file cannot be read.
    """
    found = {}
    if config.image is not None and config.image_sha256 is None:
        found["image_sha256"] = _sha256(_content(config.image))
    if config.font is not None and config.font_sha256 is None:
        found["font_sha256"] = _sha256(_content(config.font))
    return config.model_copy(update=found)


@lru_cache(maxsize=16)
def _layer(width: int, height: int, config: WatermarkConfig) -> Frames:
    """Draw the watermark alone, on what is transparent: `(height, width, 4)`."""
    tall = max(1, round(config.height * height))
    if config.image is not None:
        mark = _picture(config.image, config.image_sha256, tall)
    else:
        mark = _text(config, max(tall, LEAST_LETTERS))
    widest = max(1, width - 2 * round(config.margin * height))
    if mark.width > widest:
        smaller = max(1, round(mark.height * widest / mark.width))
        mark = mark.resize((widest, smaller), Image.Resampling.LANCZOS)
    vertical, horizontal = config.corner.split("-")
    margin = round(config.margin * height)
    left = margin if horizontal == "left" else width - margin - mark.width
    top = margin if vertical == "top" else height - margin - mark.height
    layer = Image.new("RGBA", (width, height))
    layer.paste(mark, (left, top))
    return np.asarray(layer)


def _picture(path: str, sha256: str | None, tall: int) -> Image.Image:
    content = _planned_content(path, sha256)
    try:
        with Image.open(io.BytesIO(content)) as image:
            mark = image.convert("RGBA")
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"the watermark {path} is no picture. Give a PNG") from error
    wide = max(1, round(mark.width * tall / mark.height))
    return mark.resize((wide, tall), Image.Resampling.LANCZOS)


def _text(config: WatermarkConfig, tall: int) -> Image.Image:
    """Draw white letters of a height over a soft dark shadow."""
    text, font = config.text or "", _font(config, tall * 0.8)
    if missing := _missing_letters(text, font):
        raise InputError(
            "the watermark's text has letters that the font "
            f"{config.font or 'of Pillow'} does not have: {missing}. Give one that has them as "
            "watermark.font, or draw the text yourself and give the picture as watermark.image"
        )
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    soft = max(1, tall // 12)
    size = (right - left + 4 * soft, bottom - top + 4 * soft)
    place = (2 * soft - left, 2 * soft - top)
    shadow = Image.new("L", size)
    ImageDraw.Draw(shadow).text(place, text, 255, font, stroke_width=soft)
    mark = Image.new("RGBA", size, (0, 0, 0, 0))
    shadow = shadow.filter(ImageFilter.GaussianBlur(soft / 2)).point(lambda v: int(v * SHADOW))
    mark.putalpha(shadow)
    ImageDraw.Draw(mark).text(place, text, (255, 255, 255, 255), font)
    return mark


def _font(config: WatermarkConfig, size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if config.font is None:
        return ImageFont.load_default(size)
    content = _planned_content(config.font, config.font_sha256)
    try:
        return ImageFont.truetype(io.BytesIO(content), size)
    except OSError as error:
        raise InputError(
            f"the watermark's font {config.font} is no font. Give a TrueType or OpenType file"
        ) from error


def _missing_letters(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    # A font draws what it does not have as the box that it draws for what is no character.
    box = bytes(font.getmask("\uffff"))
    return "".join(letter for letter in dict.fromkeys(text) if bytes(font.getmask(letter)) == box)


def _planned_content(path: str, sha256: str | None) -> bytes:
    """Read a file, and make sure that it is the one by which keys were made."""
    content = _content(path)
    if sha256 not in (None, _sha256(content)):
        raise InputError(
            f"the watermark's file {path} is another than when the run was planned. Put it back, "
            "or plan again"
        )
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"the watermark {path} cannot be read: {error.strerror}. It has to be there on every "
            "machine that renders"
        ) from error
