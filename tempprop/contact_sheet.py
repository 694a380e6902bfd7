"""A contact sheet: one picture that shows what a night has rendered, a row a clip."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tempprop.errors import ClipError, EncodeError
from tempprop.frames import Frames
from tempprop.media_frames import iter_frames
from tempprop.whole_files import draft_of

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

BACKGROUND = (22, 23, 27)
CAPTION_COLOR = (232, 233, 237)
QUIET_COLOR = (140, 143, 152)
LINE_COLOR = (44, 46, 53)

FRAMES_PER_CLIP = 8
MOST_CLIPS = 40
MARGIN = 40
GAP = 8
ROW_GAP = 26
THUMBNAIL_WIDTH = 168
TALLEST_THUMBNAIL = 300
CAPTION_SIZE = 20
NOTE_SIZE = 16
CAPTION_LINES = 2
CAPTION_TO_FRAMES = 10
CORNER = 6
LINE_HEIGHT = 27
ELLIPSIS = "…"


@dataclass(frozen=True)
class ClipOnSheet:
    """One row of a contact sheet.

    Attributes:
        caption: What the clip shows, usually its prompt.
        media: All frames, `(frames, height, width, 3)`, uint8, RGB; or the path of a media file.
        note: A short quiet line beside the caption, for example the clip_id.
    """

    caption: str
    media: Frames | Path
    note: str = ""


def write_contact_sheet(
    clips: Sequence[ClipOnSheet], path: Path, frames_per_clip: int = FRAMES_PER_CLIP
) -> None:
    """Draw evenly spaced frames of each clip below its caption, as a PNG.

    Args:
        clips: What to show; of very many, the first are shown and the rest counted.
        path: The PNG to write.
        frames_per_clip: How many frames a row has at most.

    Raises:
        EncodeError: A media file does not decode.
        ValueError: There are no clips.
    """
    if not clips:
        raise ValueError("a contact sheet needs at least one clip")
    width = 2 * MARGIN + frames_per_clip * (THUMBNAIL_WIDTH + GAP) - GAP
    rows = [_row(clip, width, frames_per_clip) for clip in clips[:MOST_CLIPS]]
    hidden = len(clips) - len(rows)
    rows += [_footer(f"and {hidden:,} more", width)] if hidden else []
    height = 2 * MARGIN + sum(row.height for row in rows) + ROW_GAP * (len(rows) - 1)
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    top = MARGIN
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + ROW_GAP
    with draft_of(path) as draft:
        sheet.save(draft, format="PNG", optimize=True)


def sample_frames(media: Frames | Path, count: int) -> list[Frames]:
    """Take evenly spaced frames of a clip, the first and the last among them.

    Args:
        media: All frames, or the path of a media file, which is decoded once.
        count: How many at most; a shorter clip gives all that it has.

    Returns:
        Frames of shape `(height, width, 3)`, uint8, RGB.

    Raises:
        EncodeError: The media file does not decode.
    """
    if isinstance(media, np.ndarray):
        return [media[number] for number in evenly_spaced(len(media), count)]
    try:
        wanted = set(evenly_spaced(sum(1 for _ in iter_frames(media)), count))
        return [frame for number, frame in enumerate(iter_frames(media)) if number in wanted]
    except ClipError as error:
        raise EncodeError(f"{media.name}: {error}") from error


def evenly_spaced(length: int, count: int) -> list[int]:
    """Choose numbers from 0 to length - 1, evenly, without repetition."""
    chosen = np.linspace(0, length - 1, min(count, length)).round().astype(int)
    return [int(number) for number in chosen]


def _row(clip: ClipOnSheet, width: int, frames_per_clip: int) -> Image.Image:
    """Draw one clip as a strip of the sheet's width: the caption, and the frames below it."""
    thumbnails = [_thumbnail(frame) for frame in sample_frames(clip.media, frames_per_clip)]
    caption = _caption(clip, width)
    strip = Image.new("RGB", (width, caption.height + thumbnails[0].height), BACKGROUND)
    strip.paste(caption, (0, 0))
    for number, thumbnail in enumerate(thumbnails):
        centered = (THUMBNAIL_WIDTH - thumbnail.width) // 2
        left = MARGIN + number * (THUMBNAIL_WIDTH + GAP) + centered
        strip.paste(thumbnail, (left, caption.height), _rounded(thumbnail.size))
    return strip


def _caption(clip: ClipOnSheet, width: int) -> Image.Image:
    inner = width - 2 * MARGIN
    caption_font, note_font = (
        ImageFont.load_default(CAPTION_SIZE),
        ImageFont.load_default(NOTE_SIZE),
    )
    note = "".join(wrap(clip.note, note_font, inner // 4, 1))
    note_width = round(note_font.getlength(note)) + 4 * GAP if note else 0
    lines = wrap(clip.caption, caption_font, inner - note_width, CAPTION_LINES)
    strip = Image.new("RGB", (width, LINE_HEIGHT * len(lines) + CAPTION_TO_FRAMES), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        draw.text((MARGIN, number * LINE_HEIGHT), line, CAPTION_COLOR, caption_font)
    draw.text((width - MARGIN, 3), note, QUIET_COLOR, note_font, anchor="ra")
    return strip


def _footer(text: str, width: int) -> Image.Image:
    strip = Image.new("RGB", (width, 3 * LINE_HEIGHT // 2), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    draw.line((MARGIN, 0, width - MARGIN, 0), LINE_COLOR)
    font = ImageFont.load_default(NOTE_SIZE)
    draw.text((width // 2, strip.height), text, QUIET_COLOR, font, anchor="md")
    return strip


def wrap(text: str, font: Font, width: int, most_lines: int) -> list[str]:
    """Break a text into lines that fit, and end it with an ellipsis where it is too long.

    Args:
        text: Any text; line breaks in it count as blanks.
        font: What it is drawn in.
        width: Room for a line in pixels.
        most_lines: How many lines there may be.

    Returns:
        The lines; one empty line for an empty text.
    """
    lines: list[str] = []
    rest = text.split()
    while rest and len(lines) < most_lines:
        last = len(lines) == most_lines - 1
        taken = _words_that_fit(rest, font, width)
        if last and taken < len(rest):
            return [*lines, _shorten(" ".join(rest), font, width)]
        if taken == 0:
            return [*lines, _shorten(rest[0], font, width)]
        lines.append(" ".join(rest[:taken]))
        rest = rest[taken:]
    return lines or [""]


def _words_that_fit(words: list[str], font: Font, width: int) -> int:
    return _most(len(words), lambda count: font.getlength(" ".join(words[:count])) <= width)


def _shorten(text: str, font: Font, width: int) -> str:
    kept = _most(len(text), lambda count: font.getlength(f"{text[:count]}{ELLIPSIS}") <= width)
    whole_words = text[: kept + 1].rpartition(" ")[0] or text[:kept]
    return f"{whole_words.rstrip(' ,.;')}{ELLIPSIS}"


def _most(length: int, fits: Callable[[int], bool]) -> int:
    """Find the largest count up to the length that fits, 0 where none does."""
    return bisect_left(range(1, length + 1), True, key=lambda count: not fits(count))


def _thumbnail(frame: Frames) -> Image.Image:
    height, width = frame.shape[:2]
    scale = min(THUMBNAIL_WIDTH / width, TALLEST_THUMBNAIL / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)


def _rounded(size: tuple[int, int]) -> Image.Image:
    """Draw a mask with soft round corners."""
    mask = Image.new("L", (4 * size[0], 4 * size[1]), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, *mask.size), 4 * CORNER, fill=255)
    return mask.resize(size, Image.Resampling.LANCZOS)
