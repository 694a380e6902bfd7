"""Color bars, as fast and as faulty as they are told to be."""

import time

import numpy as np
import pytest

from tempprop.errors import ModelError, NonFiniteLatentsError, RenderError
from tempprop.spec import ClipSpec, LoRA
from tempprop.test_card import (
    FAULT_VARIABLE,
    draw_test_card,
    identify_test_card,
    is_test_card,
    seconds_of,
)


def spec_of(model="test-card", seed=1, **tags):
    return ClipSpec(
        clip_id="card",
        prompt="p",
        seed=seed,
        model=model,
        num_frames=3,
        width=56,
        height=16,
        tags=tags,
    )


def draw(spec, attempt=1, on_step=lambda share: None):
    (chunk,) = draw_test_card(spec, attempt, on_step)
    return chunk.frames


def test_seven_bars_move_by_a_pixel_a_frame():
    frames = draw(spec_of())
    assert frames.shape == (3, 16, 56, 3)
    assert len(np.unique(frames[0].reshape(-1, 3), axis=0)) == 7
    assert (frames == frames[:, :1]).all(), "bars are upright"
    assert (frames[1][:, :-1] == frames[0][:, 1:]).all()


def test_the_seed_decides_the_order_and_nothing_else():
    assert (draw(spec_of()) == draw(spec_of())).all()
    assert (draw(spec_of()) != draw(spec_of(seed=2))).any()


def test_it_takes_as_long_as_it_is_told_and_says_how_far_it_is():
    shares = []
    started = time.perf_counter()
    draw(spec_of("test-card?seconds=0.2"), on_step=shares.append)
    assert time.perf_counter() - started >= 0.2
    assert shares == sorted(shares)
    assert (shares[0], len(shares)) == (0.0, 20)


def test_the_name_is_checked():
    assert is_test_card("test-card?seconds=5")
    assert not is_test_card("test-cards")
    assert seconds_of("test-card") == 0
    for wrong in ("test-card?seconds=x", "test-card?seconds=-1", "test-card?speed=1"):
        with pytest.raises(ModelError, match="is no test card"):
            identify_test_card(wrong)
    with pytest.raises(ModelError, match="takes no LoRAs"):
        identify_test_card("test-card", (LoRA(path="x"),))


def test_how_long_it_takes_does_not_change_what_it_is():
    assert (
        identify_test_card("test-card").digest == identify_test_card("test-card?seconds=5").digest
    )


@pytest.mark.parametrize(
    ("fault", "error"),
    [("error", RenderError), ("memory", MemoryError), ("nan", NonFiniteLatentsError)],
)
def test_it_fails_as_it_is_told(fault, error):
    with pytest.raises(error):
        draw(spec_of(fault=fault))


def test_it_fails_as_often_as_it_is_told():
    spec = spec_of(fault="error", fault_attempts="2")
    for attempt in (1, 2):
        with pytest.raises(RenderError):
            draw(spec, attempt)
    assert len(draw(spec, attempt=3)) == 3


def test_a_broken_gpu_fails_with_everything(monkeypatch):
    monkeypatch.setenv(FAULT_VARIABLE, "nan@1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    draw(spec_of())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(NonFiniteLatentsError):
        draw(spec_of())
