"""Draws the sheet of modes: blocks of clips, in two columns, below the list of their prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tempprop.contact_sheet import BACKGROUND, CAPTION_COLOR, LINE_COLOR, QUIET_COLOR
from tempprop.frames import Frames

THUMBNAIL = 72
GAP = 4
MARGIN = 44
COLUMNS = 2
COLUMN_GAP = 52
BLOCK_GAP = 40
NUMBER_WIDTH = 22
ASIDE_GAP = 14
"""Room between the frames of a clip and a picture that is not one of them."""

TITLE_SIZE, NOTE_SIZE, PROMPT_SIZE = 24, 16, 16
TITLE_HEIGHT = 66
PROMPT_HEIGHT = 25


@dataclass(frozen=True)
class Strip:
    """One clip on the sheet.

    Attributes:
        frames: Shape `(frames, height, width, 3)`, uint8, RGB.
        before: A picture to set apart before the frames, `(height, width, 3)`; None for none.
        after: A picture to set apart behind the frames.
    """

    frames: Frames
    before: Frames | None = None
    after: Frames | None = None

    @property
    def asides(self) -> int:
        """How many pictures are set apart."""
        return (self.before is not None) + (self.after is not None)


@dataclass(frozen=True)
class Block:
    """What one mode makes of every prompt.

    Attributes:
        title: Name of the mode.
        note: What there is to see, in one line.
        strips: A clip a prompt.
    """

    title: str
    note: str
    strips: Sequence[Strip]


def write_modes_sheet(blocks: Sequence[Block], prompts: Sequence[str], path: Path) -> None:
    """Draw the blocks, from left to right and from top to bottom, as a PNG.

    Args:
        blocks: At least one, each with a strip for every prompt.
        prompts: What the strips show, in their order.
        path: The PNG to write.
    """
    pictures = [_block(block) for block in blocks]
    width, height = (max(side) for side in zip(*(each.size for each in pictures), strict=True))
    legend = _legend(prompts, COLUMNS * width + COLUMN_GAP)
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new(
        "RGB",
        (2 * MARGIN + legend.width, 2 * MARGIN + legend.height + rows * (height + BLOCK_GAP)),
        BACKGROUND,
    )
    sheet.paste(legend, (MARGIN, MARGIN))
    for number, picture in enumerate(pictures):
        row, column = divmod(number, COLUMNS)
        left = MARGIN + column * (width + COLUMN_GAP)
        sheet.paste(
            picture, (left, MARGIN + legend.height + BLOCK_GAP + row * (height + BLOCK_GAP))
        )
    sheet.save(path, format="PNG", optimize=True)


def _legend(prompts: Sequence[str], width: int) -> Image.Image:
    """List the prompts with their numbers, in as many columns as the sheet has."""
    rows = -(-len(prompts) // COLUMNS)
    legend = Image.new("RGB", (width, rows * PROMPT_HEIGHT + GAP), BACKGROUND)
    draw, font = ImageDraw.Draw(legend), ImageFont.load_default(PROMPT_SIZE)
    for number, prompt in enumerate(prompts):
        column, row = divmod(number, rows)
        left, top = column * (width + COLUMN_GAP) // COLUMNS, row * PROMPT_HEIGHT
        draw.text((left, top), str(number + 1), QUIET_COLOR, font)
        draw.text((left + NUMBER_WIDTH, top), prompt, CAPTION_COLOR, font)
    draw.line((0, legend.height - 1, width, legend.height - 1), LINE_COLOR)
    return legend


def _block(block: Block) -> Image.Image:
    widest = max(block.strips, key=_strip_width)
    height = TITLE_HEIGHT + len(block.strips) * (THUMBNAIL + GAP) - GAP
    picture = Image.new("RGB", (NUMBER_WIDTH + _strip_width(widest), height), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    draw.text((0, 0), block.title, CAPTION_COLOR, ImageFont.load_default(TITLE_SIZE))
    note_font = ImageFont.load_default(NOTE_SIZE)
    draw.text((0, TITLE_SIZE + 10), block.note, QUIET_COLOR, note_font)
    for number, strip in enumerate(block.strips):
        top = TITLE_HEIGHT + number * (THUMBNAIL + GAP)
        middle = (NUMBER_WIDTH // 2 - GAP, top + THUMBNAIL // 2)
        draw.text(middle, str(number + 1), QUIET_COLOR, note_font, anchor="mm")
        _paste_strip(picture, strip, top)
    return picture


def _strip_width(strip: Strip) -> int:
    return (len(strip.frames) + strip.asides) * (THUMBNAIL + GAP) - GAP + strip.asides * ASIDE_GAP


def _paste_strip(picture: Image.Image, strip: Strip, top: int) -> None:
    left = NUMBER_WIDTH
    if strip.before is not None:
        picture.paste(_thumbnail(strip.before), (left, top))
        left += THUMBNAIL + GAP + ASIDE_GAP
    for frame in strip.frames:
        picture.paste(_thumbnail(frame), (left, top))
        left += THUMBNAIL + GAP
    if strip.after is not None:
        picture.paste(_thumbnail(strip.after), (left + ASIDE_GAP, top))


def _thumbnail(frame: Frames) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(frame)).resize(
        (THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS
    )
