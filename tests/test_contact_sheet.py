import numpy as np
import pytest
from PIL import Image, ImageFont

from tempprop.contact_sheet import (
    BACKGROUND,
    MARGIN,
    MOST_CLIPS,
    ClipOnSheet,
    evenly_spaced,
    sample_frames,
    wrap,
    write_contact_sheet,
)
from tempprop.encode import encode_clip
from tempprop.errors import EncodeError
from tempprop.spec import EncoderConfig


def gray(num_frames=10, height=32, width=32):
    """Make a clip whose frames are told apart by their gray."""
    levels = np.linspace(20, 230, num_frames).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (num_frames, height, width, 3)).copy()


def test_first_and_last_frame_are_shown():
    assert evenly_spaced(10, 4) == [0, 3, 6, 9]
    assert evenly_spaced(3, 8) == [0, 1, 2]
    assert evenly_spaced(1, 8) == [0]


def test_media_files_and_arrays_give_the_same_frames(tmp_path):
    frames = gray()
    clip = encode_clip(
        [frames],
        tmp_path,
        "clip",
        fps=8.0,
        num_frames=10,
        width=32,
        height=32,
        encoder=EncoderConfig(crf=1),
    )
    decoded, given = sample_frames(clip.path, 4), sample_frames(frames, 4)
    assert len(decoded) == 4
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(decoded, given, strict=True)) <= 3


def test_nothing_reaches_into_the_margins(tmp_path):
    clips = [
        ClipOnSheet("word " * 500, gray(), "n" * 128),
        ClipOnSheet("w" * 2000, gray(2, 64, 32)),
        ClipOnSheet("", gray(1, 16, 128)),
        ClipOnSheet("two\nlines", gray(4, 320, 64), "note"),
    ]
    path = tmp_path / "sheet.png"
    write_contact_sheet(clips, path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        sheet = np.asarray(image)
    frame = np.ones(sheet.shape[:2], bool)
    frame[MARGIN:-MARGIN, MARGIN:-MARGIN] = False
    assert (sheet[frame] == BACKGROUND).all()
    assert (sheet[~frame] != BACKGROUND).any()
    assert [found.name for found in tmp_path.iterdir()] == ["sheet.png"]


def test_very_many_clips_are_counted_instead(tmp_path):
    few, many = tmp_path / "few.png", tmp_path / "many.png"
    clip = ClipOnSheet("a", gray(1, 8, 64))
    write_contact_sheet([clip] * MOST_CLIPS, few)
    write_contact_sheet([clip] * (MOST_CLIPS + 1000), many)
    with Image.open(few) as first, Image.open(many) as second:
        assert 0 < second.height - first.height < 100


def test_lines_fit_and_long_texts_end_in_an_ellipsis():
    font = ImageFont.load_default(20)
    lines = wrap("the quick brown fox jumps over the lazy dog " * 5, font, 200, 2)
    assert len(lines) == 2
    assert lines[1].endswith("…")
    assert all(font.getlength(line) <= 200 for line in lines)
    assert wrap("short", font, 200, 2) == ["short"]
    assert wrap("", font, 200, 2) == [""]


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"no media")
    with pytest.raises(EncodeError, match=r"broken\.mp4"):
        write_contact_sheet([ClipOnSheet("a", path)], tmp_path / "sheet.png")


def test_no_clips_make_no_sheet(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        write_contact_sheet([], tmp_path / "sheet.png")
