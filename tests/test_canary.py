"""The canary comes out as it is known to, and a picture that is wrong is told."""

import numpy as np
from PIL import Image

from tempprop.canary import KNOWN, TOLERANCE, canary_fault, difference_to_known


def known():
    with Image.open(KNOWN) as picture:
        return np.asarray(picture.convert("RGB"))


def test_this_machine_renders_the_canary():
    assert canary_fault() is None


def test_rounding_is_put_up_with_and_no_more():
    rounded = np.clip(known().astype(int) + 1, 0, 255).astype(np.uint8)
    assert difference_to_known(rounded) is None
    shifted = np.roll(known(), 2, axis=1)
    assert "the canary clip came out wrong" in difference_to_known(shifted)
    assert TOLERANCE < 5


def test_a_canary_that_cannot_be_rendered_is_told(monkeypatch):
    def broken(name):
        raise RuntimeError("CUDA error: no kernel image is available")

    monkeypatch.setattr("tempprop.canary.load_pipeline", broken)
    assert canary_fault() == (
        "the canary clip failed: RuntimeError: CUDA error: no kernel image is available"
    )
