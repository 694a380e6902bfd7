"""The pictures that show the embedded model."""

import numpy as np
import pytest
import torch
from PIL import Image

from tempprop.mini import unknown_words
from tempprop.mini.pictures import COLUMNS, curve, grid_prompts, smoothed, tile
from tempprop.mini.things import THINGS


def test_the_grid_asks_for_every_thing_in_words_that_the_model_knows():
    prompts = grid_prompts()
    assert len(prompts) == len(set(prompts)) == len(THINGS) * len(COLUMNS)
    assert not any(unknown_words(prompt) for prompt in prompts)
    for number, thing in enumerate(THINGS):
        row = prompts[number * len(COLUMNS) : (number + 1) * len(COLUMNS)]
        assert all(thing in prompt for prompt in row)


def test_tiles_lie_row_by_row():
    pictures = np.stack([np.full((8, 8, 3), 50 * index, dtype=np.uint8) for index in range(5)])
    sheet = np.asarray(tile(pictures, columns=3))
    assert sheet.shape == (28, 40, 3)
    assert (sheet[4:12, 16:24] == 50).all()
    assert (sheet[16:24, 4:12] == 150).all()


def test_smoothing_leaves_a_constant_and_its_first_value():
    assert smoothed([3.0] * 5) == pytest.approx([3.0] * 5)
    assert smoothed([7.0, 0.0])[0] == pytest.approx(7.0)
    assert smoothed([1.0, 0.0], keep=0.5) == pytest.approx([1.0, 1 / 3])


def test_the_curve_is_drawn_from_the_checkpoints(tmp_path):
    points = [{"step": 20 * n, "seconds": 10.0 * n, "loss": 1 / n} for n in range(1, 9)]
    for name, figure in (("vae", "error"), ("denoiser", "velocity")):
        named = [{**point, figure: point["loss"]} for point in points]
        torch.save({"step": 160, "curve": named}, tmp_path / f"{name}.pt")
    curve(work=tmp_path, out=tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.width > 800
    (tmp_path / "denoiser.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"denoiser\.pt"):
        curve(work=tmp_path, out=tmp_path / "curve.png")
