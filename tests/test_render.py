from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import LCMScheduler
from rendering import ROUNDING, STRONG, clip_spec, largest_difference, loaded, render
from tiny_pipelines import flux, stable_diffusion

from tempprop.errors import NonFiniteLatentsError, RenderError
from tempprop.render import render_clips
from tempprop.spec import Motion


@pytest.fixture(scope="module")
def model():
    return loaded(stable_diffusion())


@pytest.mark.parametrize("keeps", ["noise", "sample"])
@pytest.mark.parametrize("build", [stable_diffusion, flux])
def test_what_the_coupling_keeps(build, keeps):
    """Both ways of coupling change what is not frame 0, in grids of pixels and in tokens."""
    model = loaded(build())
    free = render(model, clip_spec())["clip"]
    coupled = render(model, clip_spec(**STRONG, propagation_keeps=keeps))["clip"]
    assert np.array_equal(coupled[0], free[0])
    assert not np.array_equal(coupled[1], free[1])


@pytest.mark.parametrize("frames_per_batch", [1, 4])
def test_chunked_equals_unchunked(model, frames_per_batch):
    spec = clip_spec(**STRONG)
    whole = render(model, spec)["clip"]
    chunked = render(model, spec, frames_per_batch=frames_per_batch)["clip"]
    assert whole.shape == (5, 32, 32, 3)
    assert largest_difference(whole, chunked) <= ROUNDING


def test_clips_that_take_turns_are_the_same_clips(model):
    """A batch of four holds two frames of each, and each goes on from its own state."""
    specs = [clip_spec("one", **STRONG), clip_spec("two", seed=12, num_frames=3, **STRONG)]
    chunks = list(render_clips(model, specs, frames_per_batch=4, frames_in_turn=2))
    assert [(chunk.clip_id, chunk.first_frame) for chunk in chunks] == [
        *[("one", 0), ("two", 0)],
        *[("one", 2), ("two", 2)],
        ("one", 4),
    ]
    for spec in specs:
        (alone,) = render(model, spec).values()
        turns = np.concatenate([c.frames for c in chunks if c.clip_id == spec.clip_id])
        assert largest_difference(turns, alone) <= ROUNDING


def test_turns_of_no_frames_are_refused(model):
    with pytest.raises(ValueError, match="frames_in_turn is 0"):
        list(render_clips(model, [clip_spec()], frames_in_turn=0))


MOVING = {**STRONG, "motion": Motion(zoom=1.05, translation_x="0:(0), 3:(6)", angle=3)}


@pytest.mark.parametrize("frames_per_batch", [1, 2])
def test_a_moving_camera_is_chunk_exact(model, frames_per_batch):
    spec = clip_spec(**MOVING, propagation_low_pass=0.7)
    whole = render(model, spec)["clip"]
    chunked = render(model, spec, frames_per_batch=frames_per_batch)["clip"]
    assert largest_difference(whole, chunked) <= ROUNDING


def test_a_moving_camera_changes_later_frames_and_leaves_frame_zero_alone(model):
    at_rest, moving = (render(model, clip_spec(**values))["clip"] for values in (STRONG, MOVING))
    assert np.array_equal(moving[0], at_rest[0])
    for moved, stood in zip(moving[1:], at_rest[1:], strict=True):
        assert largest_difference(moved, stood) > ROUNDING


@pytest.mark.parametrize(("x", "y"), [(4, 0), (-4, 0), (0, 4)])
def test_the_picture_goes_where_the_camera_sends_it(model, x, y):
    """Strongly coupled, frame 1 resembles frame 0 shifted as asked more than any other way."""
    strong = {"propagation_strength": 1.0, "propagation_end": 1.0, "propagation_keeps": "noise"}
    motion = Motion(translation_x=x, translation_y=y)
    spec = clip_spec(**strong, noise_correlation=1.0, motion=motion, num_frames=2)
    before, after = render(model, spec)["clip"].astype(float)
    inner = slice(8, -8)

    def difference(right, down):
        moved = np.roll(before, (down, right), axis=(0, 1))
        return np.abs(moved - after)[inner, inner].mean()

    shifts = [(right, down) for right in (-4, 0, 4) for down in (-4, 0, 4)]
    assert min(shifts, key=lambda shift: difference(*shift)) == (x, y)


def test_a_camera_that_does_not_move_yet_is_at_rest_to_the_bit(model):
    later = Motion(zoom="4:(1), 5:(1.5)", angle="4:(0), 9:(3)")
    at_rest, moving = (
        render(model, clip_spec(**STRONG, motion=motion))["clip"] for motion in (Motion(), later)
    )
    assert np.array_equal(moving, at_rest)


def seam(frames):
    """The step from the last frame to the first, over the median of the steps between."""
    steps = np.abs(np.roll(frames, -1, axis=0).astype(float) - frames).mean(axis=(1, 2, 3))
    return steps[-1] / np.median(steps[:-1])


@pytest.mark.parametrize("motion", [Motion(), Motion(zoom=1.05)])
def test_a_loop_has_no_seam_and_is_chunk_exact(model, motion):
    spec = clip_spec(**STRONG | {"propagation_end": 1.0}, num_frames=12, motion=motion, loop=True)
    frames = render(model, spec)["clip"]
    chunked = render(model, spec, frames_per_batch=5)["clip"]
    assert largest_difference(frames, chunked) <= ROUNDING
    if motion == Motion():
        assert seam(frames) <= 1.2


KEYFRAMES = {**MOVING, "num_frames": 11, "keyframe_interval": 4, "anchor_weight": 0.5}


@pytest.mark.parametrize("build", [stable_diffusion, flux])
@pytest.mark.parametrize("frames_per_batch", [1, 2, 3, 5])
def test_keyframes_are_chunk_exact_wherever_the_clip_is_cut(build, frames_per_batch):
    model, spec = loaded(build()), clip_spec(**KEYFRAMES)
    whole = render(model, spec)["clip"]
    chunked = render(model, spec, frames_per_batch=frames_per_batch)["clip"]
    assert largest_difference(whole, chunked) <= ROUNDING


def test_keyframes_count_from_the_frame_after_the_first_of_them(model):
    """Frame 4 becomes an anchor; what is drawn to it comes after it."""
    renewed, lone = (
        render(model, clip_spec(**KEYFRAMES | {"keyframe_interval": k}))["clip"] for k in (4, 0)
    )
    assert np.array_equal(renewed[:5], lone[:5])
    for frame, other in zip(renewed[5:], lone[5:], strict=True):
        assert largest_difference(frame, other) > ROUNDING


@pytest.mark.parametrize("loop", [False, True])
def test_an_interval_as_long_as_the_clip_changes_no_bit(model, loop):
    lone, renewed = (
        clip_spec(**MOVING, loop=loop, keyframe_interval=interval) for interval in (0, 5)
    )
    assert np.array_equal(render(model, lone)["clip"], render(model, renewed)["clip"])


@pytest.mark.parametrize("motion", [Motion(), Motion(zoom=1.05)])
def test_a_loop_with_keyframes_has_no_seam_and_is_chunk_exact(model, motion):
    circle = {"propagation_end": 1.0, "num_frames": 12, "loop": True, "keyframe_interval": 4}
    spec = clip_spec(**STRONG | circle, motion=motion)
    frames = render(model, spec)["clip"]
    chunked = render(model, spec, frames_per_batch=5)["clip"]
    assert largest_difference(frames, chunked) <= ROUNDING
    if motion == Motion():
        assert seam(frames) <= 1.2


def test_neighbors_in_the_batch_do_not_matter(model):
    one, other = clip_spec("one", **STRONG), clip_spec("other", seed=12, **STRONG)
    together = render(model, other, one, frames_per_batch=4)
    assert largest_difference(together["one"], render(model, one)["one"]) <= ROUNDING
    assert largest_difference(together["other"], render(model, other)["other"]) <= ROUNDING


def test_full_coupling_with_full_noise_correlation_is_a_frozen_clip(model):
    full = {"noise_correlation": 1.0, "propagation_strength": 1.0, "propagation_end": 1.0}
    clip = render(model, clip_spec(**full, motion_floor=0.0))["clip"]
    assert largest_difference(clip, np.broadcast_to(clip[0], clip.shape)) <= ROUNDING


FROZEN = {
    "propagation_strength": 1.0,
    "propagation_end": 1.0,
    "propagation_keeps": "noise",
    "color_coherence": 1.0,
    "num_inference_steps": 1,
}


def test_the_motion_floor_keeps_a_fully_coupled_clip_alive_and_says_so(model):
    frozen, alive = (clip_spec(**FROZEN, motion_floor=floor) for floor in (0.0, 0.1))
    clip = render(model, frozen)["clip"]
    assert largest_difference(clip, np.broadcast_to(clip[0], clip.shape)) <= ROUNDING
    chunks = list(render_clips(model, [alive], frames_per_batch=2))
    frames = np.concatenate([chunk.frames for chunk in chunks])
    for frame, after in pairwise(frames):
        assert largest_difference(frame, after) > ROUNDING
    assert [chunk.frame_steps for chunk in chunks] == [2, 2, 1]
    assert [chunk.frame_steps_lowered for chunk in chunks] == [1, 2, 1]


def test_stochastic_schedulers_are_chunk_exact_too():
    model = loaded(stable_diffusion(LCMScheduler(beta_schedule="scaled_linear")))
    spec = clip_spec(num_inference_steps=4, **STRONG)
    whole, chunked = render(model, spec), render(model, spec, frames_per_batch=2)
    assert largest_difference(whole["clip"], chunked["clip"]) <= ROUNDING


def test_seed_and_prompt_matter(model):
    base = render(model, clip_spec())["clip"]
    for change in ({"seed": 12}, {"prompt": "zzz 99"}, {"negative_prompt": "qqq"}):
        assert not np.array_equal(render(model, clip_spec(**change))["clip"], base)


def test_progress_is_the_share_done_of_each_clip(model):
    seen = []
    render(
        model, clip_spec("a"), clip_spec("b", num_frames=2), frames_per_batch=4, on_step=seen.append
    )
    assert [shares.get("a") for shares in seen[:3]] == [
        0,
        pytest.approx(4 / 15),
        pytest.approx(8 / 15),
    ]
    assert [shares.get("a") for shares in seen[3:]] == pytest.approx([12 / 15, 13 / 15, 14 / 15])
    assert all("b" not in shares for shares in seen[:3])
    assert [shares["b"] for shares in seen[3:]] == pytest.approx([0, 1 / 3, 2 / 3])


def test_clips_fill_the_room_that_others_leave(model):
    """A clip that comes late joins the batch in which there is room, and is not changed by it."""
    late = [clip_spec("late", **STRONG, seed=3), clip_spec("latest", num_frames=2)]
    waiting = iter(late)
    seen = []
    together = render(
        model,
        clip_spec("first", **STRONG),
        frames_per_batch=4,
        more=lambda: next(waiting, None),
        on_step=lambda shares: seen.append(tuple(shares)),
    )
    assert seen[::3] == [("first",), ("first", "late"), ("late", "latest")]
    for spec in late:
        assert (
            largest_difference(together[spec.clip_id], render(model, spec)[spec.clip_id])
            <= ROUNDING
        )


def test_clips_that_cannot_share_a_batch_are_refused(model):
    with pytest.raises(ValueError, match="agree in model, size"):
        render(model, clip_spec("a"), clip_spec("b", num_inference_steps=4))


def test_overflow_names_clip_frame_and_step():
    pipeline = stable_diffusion()
    pipeline.unet.conv_out.weight.data.fill_(torch.inf)
    with pytest.raises(NonFiniteLatentsError, match=r"clip 'clip'.*frame 0.*step 0"):
        render(loaded(pipeline), clip_spec())


def test_a_decoder_that_overflows_names_clip_and_frame():
    pipeline = stable_diffusion()
    pipeline.vae.decoder.conv_out.bias.data.fill_(torch.nan)
    with pytest.raises(RenderError, match=r"clip 'clip': frame 0 decodes"):
        render(loaded(pipeline), clip_spec(), frames_per_batch=2)


def test_a_call_that_cannot_be_meant_is_refused(model):
    for size in (0, "auto"):
        with pytest.raises(ValueError, match=f"frames_per_batch is {size!r}.*measured_frames"):
            render(model, clip_spec(), frames_per_batch=size)
    with pytest.raises(ValueError, match="the same clip_id"):
        render(model, clip_spec(), clip_spec(seed=3))
    state = next(render_clips(model, [clip_spec()], frames_per_batch=4)).state
    with pytest.raises(ValueError, match="not asked for: other"):
        render(model, clip_spec(), states={"other": state})
    with pytest.raises(ValueError, match=r"clip 'clip' has 3 frames, and its state .* frame 4"):
        render(model, clip_spec(num_frames=3), states={"clip": state})
