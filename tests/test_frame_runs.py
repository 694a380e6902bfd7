"""Frames that attend to frames of earlier batches."""

import numpy as np
import pytest
import tiny_pipelines
from PIL import Image
from rendering import ROUNDING, STRONG, clip_spec, largest_difference, loaded, render

from tempprop.attention import SELF_ATTENTION
from tempprop.frame_runs import FrameRun, attention_sources
from tempprop.spec import Motion

KINDS = [next(iter(tiny_pipelines.FAMILIES[family].values())) for family in SELF_ATTENTION]

TRAITS = {"num_frames": 5, "width": 64, "height": 64, "num_inference_steps": 2}


@pytest.fixture(scope="module", params=KINDS, ids=lambda build: build.__name__)
def model(request):
    return loaded(request.param())


@pytest.mark.parametrize("attention", ["first", "first+prev"])
def test_attention_changes_later_frames_and_leaves_frame_zero_alone(model, attention):
    apart, together = (
        render(model, clip_spec(**TRAITS, attention=value))["clip"] for value in ("none", attention)
    )
    assert largest_difference(together[0], apart[0]) <= ROUNDING
    for frame in range(1, 5):
        assert not np.array_equal(together[frame], apart[frame])


@pytest.mark.parametrize("frames_per_batch", [1, 2])
def test_attention_to_frame_zero_is_exact_in_chunks(model, frames_per_batch):
    spec = clip_spec(**TRAITS, **STRONG, attention="first")
    whole = render(model, spec)["clip"]
    chunked = render(model, spec, frames_per_batch=frames_per_batch)["clip"]
    assert largest_difference(whole, chunked) <= ROUNDING


def test_clips_that_attend_share_batches(model):
    one, other = (clip_spec(name, **TRAITS, attention="first", seed=3) for name in ("one", "other"))
    together = render(model, other, one, frames_per_batch=3)
    for spec in (one, other):
        alone = render(model, spec)[spec.clip_id]
        assert largest_difference(together[spec.clip_id], alone) <= ROUNDING


def test_attention_to_the_previous_frame_is_nearly_exact_in_chunks():
    """The first two frames of a chunk are exact in the first layer only; the rest follows them."""
    model = loaded(tiny_pipelines.stable_diffusion())
    spec = clip_spec(**TRAITS | {"num_frames": 6}, **STRONG, attention="first+prev")
    whole, chunked = (render(model, spec, frames_per_batch=n)["clip"] for n in (6, 3))
    without = render(model, spec.model_copy(update={"attention": "none"}))["clip"]
    assert largest_difference(whole[:3], chunked[:3]) <= ROUNDING

    def difference(one, other):
        return np.abs(one.astype(float) - other).mean()

    assert difference(whole[3:], chunked[3:]) < 0.2 * difference(whole[3:], without[3:])


@pytest.mark.parametrize(
    "traits",
    [
        {"loop": True},
        {"motion": Motion(zoom=1.05)},
        {"loop": True, "motion": Motion(angle=3)},
        {"keyframe_interval": 2},
    ],
    ids=["loop", "camera", "moving loop", "keyframes"],
)
def test_it_is_exact_with_everything_else(traits):
    model = loaded(tiny_pipelines.stable_diffusion())
    spec = clip_spec(**TRAITS, **STRONG, attention="first", **traits)
    whole, chunked = (render(model, spec, frames_per_batch=n)["clip"] for n in (5, 2))
    assert largest_difference(whole, chunked) <= ROUNDING


@pytest.mark.parametrize("build", [tiny_pipelines.stable_diffusion, tiny_pipelines.flux])
def test_a_picture_is_attended_to_in_every_chunk(build, tmp_path):
    model, art = loaded(build()), tmp_path / "art.png"
    Image.effect_mandelbrot((64, 64), (-2, -1.5, 1, 1.5), 50).convert("RGB").save(art)
    spec = clip_spec(**TRAITS, **STRONG, attention="first", init_image=str(art))
    whole, chunked = (render(model, spec, frames_per_batch=n)["clip"] for n in (5, 2))
    assert largest_difference(whole, chunked) <= ROUNDING


def test_who_attends_to_whom():
    one, other = clip_spec("one"), clip_spec("other")
    runs = [FrameRun(one, 3, 2, None), FrameRun(other, 0, 2, None)]
    riding = [FrameRun(one, 0, 1, None), FrameRun(one, 2, 1, None)]
    assert attention_sources(runs, riding, "first+prev") == [
        (4, 5),
        (4, 0),
        (2, 2),
        (2, 2),
        (4, 4),
        (4, 5),
    ]
    assert attention_sources(runs, riding[:1], "first") == [(4,), (4,), (2,), (2,), (4,)]
    assert attention_sources(runs, [], "none") == []
