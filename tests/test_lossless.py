"""Lossless clips: every pixel comes back."""

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempprop.errors import InputError
from tempprop.lossless import read_frames, write_lossless


@settings(max_examples=25, deadline=None)
@given(
    num_frames=st.integers(1, 3),
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_is_written_comes_back_to_the_bit(tmp_path_factory, num_frames, height, width, seed):
    shape = (num_frames, height, width, 3)
    frames = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    write_lossless(frames, path, fps=8.0)
    assert np.array_equal(read_frames(path), frames)


def test_every_color_comes_back(tmp_path):
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(4, 52, -1, 3)
    write_lossless(colors, tmp_path / "colors.mkv", fps=8.0)
    assert np.array_equal(read_frames(tmp_path / "colors.mkv"), colors)


def test_a_clip_says_how_fast_it_plays_and_replaces_the_one_before(tmp_path):
    path = tmp_path / "clip.mkv"
    for level in (10, 200):
        write_lossless(np.full((3, 16, 16, 3), level, np.uint8), path, fps=24000 / 1001)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "ffv1"
        assert float(stream.average_rate) == pytest.approx(24000 / 1001)
    assert (read_frames(path) == 200).all()
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mkv"]


def test_what_is_no_film_is_refused(tmp_path):
    (tmp_path / "text.mkv").write_text("no film")
    for name in ("text.mkv", "missing.mkv"):
        with pytest.raises(InputError, match=name):
            read_frames(tmp_path / name)
