"""How well the embedded model's autoencoder returns what it is given, and what the figure means."""

import re

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tempprop.mini.reconstruct import decibels, measure

GRAY = np.full((2, 8, 8, 3), 128, np.uint8)


@given(st.integers(1, 127))
def test_an_even_error_has_the_decibels_of_its_size(levels):
    assert decibels(GRAY, GRAY + np.uint8(levels)) == pytest.approx(20 * np.log10(255 / levels))


def test_every_picture_counts_alike_however_bad_it_is():
    returned = GRAY + np.array([1, 100], np.uint8)[:, None, None, None]
    assert decibels(GRAY, returned) == pytest.approx(20 * np.log10(255 / 10))


def test_held_out_stills_come_back_nearly_as_they_were():
    app = typer.Typer()
    app.command()(measure)
    output = CliRunner().invoke(app, ["--count", "30"]).stdout
    (found,) = re.findall(r"^30 held-out stills: (\d+\.\d) dB$", output, re.MULTILINE)
    assert float(found) > 34
