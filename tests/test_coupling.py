import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rendering import strengths
from tiny_pipelines import flux

from tempprop.coupling import (
    CoupledEstimates,
    anchor_statistics,
    channel_statistics,
    couple_frame,
    couple_frames,
    ending_weight,
    low_pass,
    match_statistics,
    strength_at,
)
from tempprop.families import latent_layout
from tempprop.motion import camera_maps, views
from tempprop.spec import Motion


def _before(previous, anchor):
    """What a frame sees while frame 0 is the only anchor."""
    return CoupledEstimates(previous, anchor, anchor, anchor)


def test_strength_falls_to_zero_at_the_end():
    s = strengths(propagation_strength=0.8, propagation_end=0.5)
    values = [strength_at(s, step, 10) for step in range(10)]
    assert values[0] == 0.8
    assert values[:5] == sorted(values[:5], reverse=True)
    assert values[5:] == [0.0] * 5
    assert strength_at(strengths(propagation_strength=1.0, propagation_end=0.0), 0, 10) == 0


def test_full_strength_copies_the_reference():
    frame, previous, anchor = torch.randn(3, 4, 8, 8)
    before = _before(previous, anchor)
    copied, strength = couple_frame(frame, before, 1.0, strengths())
    assert torch.allclose(copied, previous, atol=1e-6)
    assert strength == 1.0
    both, _ = couple_frame(frame, before, 1.0, strengths(anchor_weight=0.25))
    assert torch.allclose(both, 0.75 * previous + 0.25 * anchor, atol=1e-6)


def test_coupling_is_a_first_order_low_pass_in_time():
    """With lambda constant, the response to a step is 1 - lambda^(f + 1)."""
    clean = torch.ones(6, 1, 1, 1)
    zero = torch.zeros(1, 1, 1)
    coupled, _, _ = couple_frames(clean, _before(zero, zero), 0.7, strengths())
    expected = torch.tensor([1 - 0.7 ** (f + 1) for f in range(6)])
    assert torch.allclose(coupled.flatten(), expected)


def _distance(one, other):
    return float((one - other).square().mean().sqrt())


@settings(max_examples=50, deadline=None)
@given(
    strength=st.floats(0.01, 1),
    floor=st.floats(0.001, 1),
    apart=st.floats(0, 2),
    scale=st.sampled_from([1e-3, 1.0, 50.0]),
    is_packed=st.booleans(),
)
def test_a_frame_keeps_its_floor_whatever_the_scale_of_the_latents(
    packed, strength, floor, apart, scale, is_packed
):
    """The distance to the reference is (1 - lambda) d, or the floor, or d where that is less."""
    own, other = scale * torch.randn(2, 4, 8, 12)
    previous = own + apart * other
    distance, least = _distance(own, previous), floor * float(own.std(correction=0))
    layout = packed if is_packed else None
    latents = packed.from_grid(torch.stack([own, previous])) if is_packed else (own, previous)
    before = _before(latents[1], latents[1])
    guarded = strengths(motion_floor=floor)
    coupled, applied = couple_frame(latents[0], before, strength, guarded, layout)
    expected = min(distance, max(least, (1 - strength) * distance))
    assert _distance(coupled, latents[1]) == pytest.approx(expected, rel=1e-3, abs=1e-5 * scale)
    assert 0 <= float(applied) <= np.float32(strength)


@settings(max_examples=50, deadline=None)
@given(strength=st.floats(0, 0.99), cut=st.integers(1, 5))
def test_a_floor_that_is_kept_anyway_changes_no_bit_and_is_not_reported(strength, cut):
    clean = torch.randn(6, 4, 8, 8)
    free, _, _ = couple_frames(clean, None, strength, strengths())
    guarded, _, lowered = couple_frames(clean, None, strength, strengths(motion_floor=1e-6))
    assert torch.equal(guarded, free)
    assert int(lowered) == 0


def test_identical_frames_stay_identical_whatever_the_floor():
    """The guard lowers the coupling; it makes nothing up where there is nothing but equality."""
    clean = torch.randn(1, 4, 8, 8).expand(3, -1, -1, -1)
    coupled, _, lowered = couple_frames(clean, None, 0.9, strengths(motion_floor=0.1))
    assert torch.equal(coupled, clean)
    assert int(lowered) == 2


def test_low_pass_keeps_constants_and_removes_checkerboards():
    constant = torch.full((2, 16, 16), 3.0)
    assert torch.allclose(low_pass(constant, 1.5), constant, atol=1e-5)
    checkerboard = (torch.arange(16)[:, None] + torch.arange(16)[None]) % 2 * 2.0 - 1
    assert low_pass(checkerboard[None], 1.5)[:, 6:10, 6:10].abs().max() < 1e-3
    assert low_pass(constant, 0) is constant


def test_low_pass_coupling_leaves_fine_detail_alone():
    checkerboard = (torch.arange(16)[:, None] + torch.arange(16)[None]) % 2 * 2.0 - 1
    zero = torch.zeros(1, 16, 16)
    coupled, _ = couple_frame(
        checkerboard[None],
        _before(zero, zero),
        1.0,
        strengths(propagation_low_pass=1.5),
    )
    assert torch.allclose(coupled[:, 6:10, 6:10], checkerboard[None, 6:10, 6:10], atol=1e-3)


@pytest.fixture(scope="module")
def packed():
    """The layout of Flux, for latents of 8x12 pixels."""
    return latent_layout(flux(), 16, 24)


def _views(motion, num_frames, shape=(8, 12), interval=0):
    maps = camera_maps(motion, 0, num_frames, shape[::-1], interval)
    return views(maps, shape, torch.device("cpu"))


MOVING = Motion(zoom=1.1, angle=5, translation_x=0.7, translation_y="0:(0), 3:(-2)")


def test_the_low_pass_of_packed_latents_is_that_of_their_grid(packed):
    frame, previous, anchor = latents = torch.randn(3, 4, 8, 12)
    coarse = strengths(propagation_low_pass=1.5, anchor_weight=0.3)
    tokens, *before = packed.from_grid(latents)
    coupled, _ = couple_frame(tokens, _before(*before), 0.8, coarse, packed)
    expected, _ = couple_frame(frame, _before(previous, anchor), 0.8, coarse)
    assert torch.equal(packed.to_grid(coupled[None])[0], expected)


def test_packed_latents_see_what_their_grid_sees(packed):
    latents, strong = torch.randn(4, 4, 8, 12), strengths(anchor_weight=0.3)
    seen_by = _views(MOVING, 4)
    coupled, _, _ = couple_frames(packed.from_grid(latents), None, 0.9, strong, packed, seen_by)
    expected, _, _ = couple_frames(latents, None, 0.9, strong, None, seen_by)
    assert torch.equal(packed.to_grid(coupled), expected)


@pytest.mark.parametrize(("x", "y"), [(1, 0), (-2, 0), (0, 3), (2, -1)])
def test_full_strength_moves_the_picture_by_what_was_asked_for(x, y):
    """Each pixel is that of the frame in which it came into the picture, carried along since."""
    clean = torch.randn(5, 3, 8, 12)
    seen_by = _views(Motion(translation_x=x, translation_y=y), 5)
    coupled, _, _ = couple_frames(clean, None, 1.0, strengths(), None, seen_by)
    for frame in range(5):
        for row in range(8):
            for column in range(12):
                age = 0
                while age < frame and (
                    0 <= row - (age + 1) * y < 8 and 0 <= column - (age + 1) * x < 12
                ):
                    age += 1
                source = clean[frame - age, :, row - age * y, column - age * x]
                assert torch.allclose(coupled[frame, :, row, column], source, atol=1e-4)


def test_the_anchor_is_seen_through_all_motion_so_far():
    """With the anchor's weight at 1, every frame is frame 0, moved, and itself where it is not."""
    clean = torch.randn(4, 3, 8, 12)
    seen_by = _views(Motion(translation_x=2), 4)
    coupled, _, _ = couple_frames(clean, None, 1.0, strengths(anchor_weight=1.0), None, seen_by)
    assert torch.allclose(coupled[3, :, :, 6:], clean[0, :, :, :6], atol=1e-4)
    # What came in with frame 1 is carried by the previous frame, where frame 0 does not reach.
    assert torch.allclose(coupled[3, :, :, 4:6], clean[1, :, :, :2], atol=1e-4)
    assert torch.allclose(coupled[3, :, :, :2], clean[3, :, :, :2], atol=1e-4)


def test_nothing_is_coupled_where_there_is_nothing_to_couple_to():
    clean = torch.randn(2, 3, 8, 12)
    far = _views(Motion(translation_x=100), 2)
    coupled, _, _ = couple_frames(clean, None, 1.0, strengths(anchor_weight=0.5), None, far)
    assert torch.equal(coupled, clean)


def test_the_border_is_not_drawn_out_by_a_slow_camera():
    """A third of a pixel a frame: after nine frames, three columns are the frames' own."""
    clean = torch.zeros(10, 1, 8, 12)
    clean[0] = 1.0
    seen_by = _views(Motion(translation_x=1 / 3), 10)
    coupled, _, _ = couple_frames(clean, None, 1.0, strengths(), None, seen_by)
    assert coupled[9, 0].sum() == pytest.approx(8 * (12 - 3), rel=0.02)
    assert coupled[9, 0, :, 0].max() < 0.1


def test_a_camera_at_rest_couples_as_no_camera_does_to_the_bit():
    clean, strong = (
        torch.randn(4, 3, 8, 12),
        strengths(anchor_weight=0.2, color_coherence=0.3),
    )
    at_rest, _, _ = couple_frames(clean, None, 0.9, strong, None, _views(Motion(), 4))
    without, _, _ = couple_frames(clean, None, 0.9, strong)
    assert torch.equal(at_rest, without)


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(1, 5), low_pass_sigma=st.sampled_from([0.0, 0.8]))
def test_a_moving_camera_is_chunk_exact(cut, low_pass_sigma):
    clean, seen_by = torch.randn(6, 3, 8, 12), _views(MOVING, 6)
    strong = strengths(anchor_weight=0.2, color_coherence=0.3, propagation_low_pass=low_pass_sigma)
    whole, last, _ = couple_frames(clean, None, 0.9, strong, None, seen_by)
    head, carry, _ = couple_frames(clean[:cut], None, 0.9, strong, None, seen_by[:cut])
    tail, end, _ = couple_frames(clean[cut:], carry, 0.9, strong, None, seen_by[cut:], cut)
    assert torch.equal(torch.cat([head, tail]), whole)
    assert torch.equal(end.previous, last.previous)
    assert torch.equal(whole[0], clean[0])


@settings(max_examples=25, deadline=None)
@given(shift=st.floats(-3, 3), scale=st.floats(0.2, 4), packed=st.booleans())
def test_statistics_are_taken_over(shift, scale, packed):
    shape = (64, 4) if packed else (4, 8, 8)
    reference = torch.randn(shape)
    matched = match_statistics(reference * scale + shift, channel_statistics(reference))
    assert torch.allclose(matched, reference, atol=1e-3)


def test_color_coherence_is_partial():
    anchor = torch.randn(4, 8, 8)
    frame = torch.randn(4, 8, 8) * 2 + 1
    before = _before(anchor, anchor)
    half, _ = couple_frame(frame, before, 0.0, strengths(color_coherence=0.5))
    full, _ = couple_frame(frame, before, 0.0, strengths(color_coherence=1.0))
    assert torch.allclose(half, (frame + full) / 2, atol=1e-5)


ANCHORED = {"anchor_weight": 1.0, "keyframe_interval": 4}


def test_between_two_anchors_fully_coupled_frames_lie_on_the_line():
    """Frame 4 + m is m/4 of the way from A_0 to A_1; A_2 is then A_1, where all further stay."""
    (previous, old, new), clean = torch.randn(3, 4, 8, 8), torch.randn(7, 4, 8, 8)
    before = CoupledEstimates(previous, old, old, new)
    coupled, after, _ = couple_frames(clean, before, 1.0, strengths(**ANCHORED), first_frame=5)
    line = [torch.lerp(old, new, share) for share in (0.25, 0.5, 0.75, 1.0)]
    assert torch.allclose(coupled, torch.stack([*line, new, new, new]), atol=1e-5)
    assert torch.equal(after.first, old)
    assert torch.equal(after.outgoing, new)
    assert torch.equal(after.incoming, coupled[3])


def test_anchors_follow_the_clip_as_an_average_of_its_keyframes():
    """A_j = lambda * A_{j-1} + (1 - lambda) * x: after a jump at frame 1, A_j = 1 - lambda^j."""
    strength, clean = 0.7, torch.ones(13, 1, 1, 1)
    clean[0] = 0
    coupled, _, _ = couple_frames(clean, None, strength, strengths(**ANCHORED))
    anchors = [1 - strength**number for number in range(4)]
    assert torch.allclose(coupled[::4].flatten(), torch.tensor(anchors), atol=1e-6)
    for frame in range(5, 13):
        number, share = (frame - 1) // 4, ((frame - 1) % 4 + 1) / 4
        line = (1 - share) * anchors[number - 1] + share * anchors[number]
        expected = strength * line + 1 - strength
        assert float(coupled[frame]) == pytest.approx(expected, abs=1e-6)


def test_colors_go_from_the_statistics_of_one_anchor_to_those_of_the_other():
    """Two opposite anchors have no contrast in the middle; what is led to their statistics has."""
    old, frame = torch.randn(2, 4, 8, 8)
    new = 2 - old
    before = CoupledEstimates(old, old, old, new)
    between = strengths(keyframe_interval=4, color_coherence=1.0)
    colored, _ = couple_frame(frame, before, 0.0, between, number=6)
    found, ends = channel_statistics(colored), [channel_statistics(end) for end in (old, new)]
    assert torch.allclose(found.mean, (ends[0].mean + ends[1].mean) / 2, atol=1e-5)
    assert torch.allclose(found.deviation, ends[0].deviation, atol=1e-3)
    assert torch.lerp(old, new, 0.5).std() < 1e-6


def test_the_colors_of_a_loop_with_anchors_lead_back_to_frame_0():
    first, old, new = torch.randn(3, 4, 8, 8) * torch.tensor([1.0, 2, 3])[:, None, None, None]
    loop = strengths(loop=True, num_frames=12, keyframe_interval=4)
    estimates = CoupledEstimates(new, first, old, new)
    found = anchor_statistics(estimates, loop, 11)
    anchor, end = (3 / 4, ending_weight(loop, 11))
    deviations = [channel_statistics(latent).deviation for latent in (old, new, first)]
    between = torch.lerp(deviations[0], deviations[1], anchor)
    assert torch.allclose(found.deviation, torch.lerp(between, deviations[2], end))


def test_each_anchor_is_seen_through_the_motion_since_it():
    """In frame 6, A_0 lies six columns further to the right, A_1 of frame 4 only two."""
    (previous, old, new), clean = torch.randn(3, 4, 8, 12), torch.randn(2, 4, 8, 12)
    maps = camera_maps(Motion(translation_x=1), 5, 2, (12, 8), 4)
    coupled, _, _ = couple_frames(
        clean,
        CoupledEstimates(previous, old, old, new),
        1.0,
        strengths(**ANCHORED),
        None,
        views(maps, (8, 12), torch.device("cpu")),
        first_frame=5,
    )
    half = (old[:, :, :6] + new[:, :, 4:10]) / 2
    assert torch.allclose(coupled[1, :, :, 6:], half, atol=1e-4)


def test_an_interval_of_one_anchors_every_frame_to_the_frame_before():
    clean, renewed = (
        torch.randn(5, 3, 8, 12),
        strengths(anchor_weight=0.4, keyframe_interval=1),
    )
    coupled, _, _ = couple_frames(clean, None, 0.9, renewed)
    unanchored, _, _ = couple_frames(clean, None, 0.9, strengths())
    assert torch.allclose(coupled, unanchored, atol=1e-5)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("interval", [6, 100])
def test_anchors_beyond_the_end_change_no_bit(interval, loop):
    clean, values = torch.randn(6, 3, 8, 12), {"anchor_weight": 0.3, "color_coherence": 0.3}
    one, many = (
        strengths(**values, loop=loop, num_frames=6, keyframe_interval=k) for k in (0, interval)
    )
    expected, _, _ = couple_frames(clean, None, 0.9, one, None, _views(MOVING, 6))
    seen_by = _views(MOVING, 6, interval=interval)
    coupled, _, _ = couple_frames(clean, None, 0.9, many, None, seen_by)
    assert torch.equal(coupled, expected)


def test_a_single_anchor_takes_no_memory_of_its_own():
    _, after, _ = couple_frames(torch.randn(6, 3, 8, 12), None, 0.9, strengths())
    assert after.first is after.outgoing is after.incoming


def test_what_is_carried_does_not_keep_its_batch():
    """An uncoupled frame would be a view of the estimates of all the frames beside it."""
    _, after, _ = couple_frames(torch.randn(6, 3, 8, 12), None, 0.0, strengths())
    for latent in (after.previous, after.first):
        assert latent.untyped_storage().nbytes() == 3 * 8 * 12 * 4


@settings(max_examples=40, deadline=None)
@given(
    interval=st.integers(0, 12),
    size=st.integers(1, 11),
    moving=st.booleans(),
    is_packed=st.booleans(),
    loop=st.booleans(),
)
def test_anchors_are_chunk_exact(packed, interval, size, moving, is_packed, loop):
    clean = torch.randn(11, 4, 8, 12)
    strong = strengths(
        anchor_weight=0.4,
        color_coherence=0.3,
        keyframe_interval=interval,
        motion_floor=0.2,
        loop=loop,
        num_frames=11,
    )
    layout = packed if is_packed else None
    latents = packed.from_grid(clean) if is_packed else clean
    seen_by = _views(MOVING, 11, interval=interval) if moving else None
    whole, last, _ = couple_frames(latents, None, 0.9, strong, layout, seen_by)
    before, chunks = None, []
    for first in range(0, 11, size):
        run = slice(first, first + size)
        seen_in_run = seen_by[run] if seen_by is not None else None
        coupled, before, _ = couple_frames(
            latents[run], before, 0.9, strong, layout, seen_in_run, first
        )
        chunks.append(coupled)
    assert torch.equal(torch.cat(chunks), whole)
    for one, other in zip(vars(before).values(), vars(last).values(), strict=True):
        assert torch.equal(one, other)


def test_the_last_frame_of_a_loop_lies_between_its_neighbors():
    loop = strengths(loop=True, num_frames=9, anchor_weight=0.0, color_coherence=0.0)
    previous, first, own = torch.randn(3, 4, 6, 6)
    ends = [ending_weight(loop, frame) for frame in range(1, 9)]
    assert ends == sorted(ends)
    assert ends[-1] == pytest.approx(2 / 3)
    coupled, _ = couple_frame(own, _before(previous, first), 1.0, loop, number=8)
    assert torch.allclose(coupled, previous / 3 + first * 2 / 3, atol=1e-6)


def test_without_a_loop_nothing_leads_back():
    assert ending_weight(strengths(num_frames=9), 8) == 0.0
