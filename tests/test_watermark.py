"""The visible watermark: where it stands, that it can be read, and what it changes."""

import json
import string
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from test_farm import config_of, planned

from cluster.worker import RenderWorker
from tempprop.config import load_config
from tempprop.errors import InputError
from tempprop.media_frames import iter_frames
from tempprop.preflight import check_watermark
from tempprop.spec import ClipResult, EncoderConfig, WatermarkConfig
from tempprop.watermark import draw_watermark

WIDTH, HEIGHT = 320, 180


def gray(value, num_frames=2):
    return np.full((num_frames, HEIGHT, WIDTH, 3), value, np.uint8)


def where(before, after):
    """The box of the pixels that changed: left, top, right, bottom."""
    rows, columns = np.nonzero(np.any(before[0] != after[0], axis=-1))
    return columns.min(), rows.min(), columns.max(), rows.max()


@pytest.mark.parametrize("corner", ["top-left", "top-right", "bottom-left", "bottom-right"])
def test_it_stands_in_its_corner_on_every_frame_alike(corner):
    before = gray(90)
    after = draw_watermark(before, WatermarkConfig(text="AI generated", corner=corner))
    assert np.array_equal(after[0], after[1])
    assert np.all(before == 90), "the frames that came in are left alone"
    left, top, right, bottom = where(before, after)
    assert (right < WIDTH / 2) == corner.endswith("left")
    assert (bottom < HEIGHT / 2) == corner.startswith("top")
    margin = round(0.03 * HEIGHT)
    distances = (left, top, WIDTH - 1 - right, HEIGHT - 1 - bottom)
    assert sorted(distances)[1] <= margin + 4


@pytest.mark.parametrize("value", [0, 90, 128, 200, 255])
def test_a_text_can_be_read_before_anything(value):
    after = draw_watermark(gray(value), WatermarkConfig(text="AI", height=0.1, opacity=0.9))
    assert int(after.max()) - int(after.min()) > 60


def test_opacity_mixes_a_picture_with_the_frame(tmp_path):
    path = tmp_path / "logo.png"
    Image.new("RGBA", (40, 20), (255, 0, 0, 255)).save(path)
    config = WatermarkConfig(image=str(path), opacity=0.25, height=0.2, margin=0.1)
    after = draw_watermark(gray(100), config)
    left, top, right, bottom = where(gray(100), after)
    assert (right - left + 1, bottom - top + 1) == (72, 36)
    assert (WIDTH - 1 - right, HEIGHT - 1 - bottom) == (18, 18)
    assert after[0, top + 10, left + 10].tolist() == [139, 75, 75]


@settings(max_examples=20, deadline=None)
@given(
    text=st.text(string.printable.strip() + " ", min_size=1, max_size=200),
    height=st.floats(0.01, 1),
    margin=st.floats(0, 0.4),
    size=st.tuples(st.integers(8, 64), st.integers(8, 64)),
)
def test_any_text_fits_on_any_clip(text, height, margin, size):
    frames = np.zeros((1, *size, 3), np.uint8)
    config = WatermarkConfig(text=text, height=height, margin=margin)
    assert draw_watermark(frames, config).shape == frames.shape


@pytest.mark.parametrize(
    ("text", "missing"),
    [("生成 by AI", ": 生成."), ("Généré par IA", ": é."), ("a\u200bb", ": \u200b.")],
)
def test_letters_that_would_be_boxes_are_found_before_anything_starts(text, missing):
    with pytest.raises(InputError, match="letters that the font of Pillow does not") as caught:
        check_watermark(WatermarkConfig(text=text))
    assert missing in str(caught.value)


def test_a_watermark_that_cannot_be_drawn_is_found_before_anything_starts(tmp_path):
    path = tmp_path / "logo.png"
    path.write_text("no picture")
    with pytest.raises(InputError, match="is no picture"):
        check_watermark(load_config("mini", [f"watermark.image={path}"]).watermark)
    check_watermark(WatermarkConfig(text="AI generated"))
    check_watermark(None)


def test_a_clip_with_a_watermark_is_another_clip_and_its_record_says_so(tmp_path):
    mark = WatermarkConfig(text="AI generated", height=0.3)
    config = config_of().model_copy(update={"encoder": EncoderConfig(profile="ffv1")})
    marked = config.model_copy(update={"watermark": mark})
    clips = [planned(each, "clip") for each in (config, marked)]
    assert clips[0].key != clips[1].key
    films = []
    for each, clip in zip((config, marked), clips, strict=True):
        result = RenderWorker("worker-1", str(tmp_path), each, "run-1", 1).render(clip)
        assert isinstance(result, ClipResult), result
        films.append(np.stack(list(iter_frames(tmp_path / result.media.url))))
    assert np.array_equal(draw_watermark(films[0], mark), films[1])
    record = json.loads((tmp_path / f"records/{clips[1].key}.json").read_text())
    assert record["watermark"]["text"] == "AI generated"


def test_the_picture_counts_by_its_content_and_not_by_its_path(tmp_path):
    keys = []
    for name, color in (("a.png", "red"), ("b.png", "red"), ("a.png", "blue")):
        Image.new("RGB", (8, 8), color).save(tmp_path / name)
        config = load_config("mini", [f"watermark.image={tmp_path / name}"])
        assert len(config.watermark.image_sha256) == 64
        keys.append(
            planned(config_of().model_copy(update={"watermark": config.watermark}), "c").key
        )
    assert keys[0] == keys[1] != keys[2]


def test_a_picture_that_has_changed_or_is_none_is_an_error_of_the_input(tmp_path):
    path = tmp_path / "logo.png"
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_config("mini", [f"watermark.image={path}"])
    path.write_text("no picture")
    config = load_config("mini", [f"watermark.image={path}"])
    with pytest.raises(InputError, match="is no picture"):
        draw_watermark(gray(0), config.watermark)
    Image.new("RGB", (8, 8)).save(path)
    with pytest.raises(InputError, match="another than when the run was planned"):
        draw_watermark(gray(1), config.watermark)


FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"


def test_a_font_brings_letters_that_pillows_does_not_have(tmp_path):
    text = "Généré par IA"
    check_watermark(
        load_config("mini", [f"watermark.text={text}", f"watermark.font={FONT}"]).watermark
    )
    plain = draw_watermark(gray(90), WatermarkConfig(text="AI"))
    assert not np.array_equal(
        plain, draw_watermark(gray(90), WatermarkConfig(text="AI", font=str(FONT)))
    )
    with pytest.raises(InputError, match=f"the font {FONT} does not have: 生成"):
        check_watermark(WatermarkConfig(text="生成", font=str(FONT)))


def test_a_font_counts_by_its_content_and_has_to_be_one(tmp_path):
    path, copy = tmp_path / "a.ttf", tmp_path / "b.ttf"
    path.write_bytes(FONT.read_bytes())
    copy.write_bytes(FONT.read_bytes())
    marks = [
        load_config("mini", ["watermark.text=AI", *([f"watermark.font={font}"] if font else [])])
        for font in (path, copy, None)
    ]
    keys = [
        planned(config_of().model_copy(update={"watermark": each.watermark}), "c").key
        for each in marks
    ]
    assert keys[0] == keys[1] != keys[2]
    path.write_text("no font")
    with pytest.raises(InputError, match="another than when the run was planned"):
        draw_watermark(gray(2), marks[0].watermark)
    with pytest.raises(InputError, match="is no font"):
        check_watermark(
            load_config("mini", ["watermark.text=AI", f"watermark.font={path}"]).watermark
        )


def test_a_text_or_a_picture_and_not_both():
    for values in ({}, {"text": "a", "image": "b.png"}):
        with pytest.raises(ValidationError, match="one of both"):
            WatermarkConfig(**values)
    with pytest.raises(ValidationError, match="a font is for a text"):
        WatermarkConfig(image="b.png", font="a.ttf")
