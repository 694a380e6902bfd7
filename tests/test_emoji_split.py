"""The split: what is held out is never learned from, and clips keep time."""

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempprop.studies.emoji.split import (
    CLIP_FRAMES,
    FPS,
    LEAST_LEARNED,
    MARGIN,
    UNSEEN_SHARE,
    is_unseen,
    learned_frames,
    shown_from,
    window_of,
)

# By their length first: lists are short by themselves, and short animations have no windows.
durations = st.integers(1, 120).flatmap(
    lambda frames: st.lists(st.integers(1, 120), min_size=frames, max_size=frames)
)
codes = st.text("0123456789abcdef-", min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(durations, codes, st.booleans())
def test_what_is_held_out_is_not_learned_from(durations, code, unseen):
    window = window_of(code, durations, unseen=unseen)
    learned = learned_frames(len(durations), window, unseen=unseen)
    if unseen:
        assert learned == []
    elif window is None:
        assert learned == list(range(len(durations)))
    else:
        assert len(learned) >= LEAST_LEARNED
    if window is not None:
        first, last = window.shown[0], window.shown[-1]
        near = range(max(first - MARGIN, 0), min(last + MARGIN, len(durations) - 1) + 1)
        assert set(learned) & set(near) == set()
        assert not unseen or set(window.held_out) == set(near)
        assert unseen or sorted([*learned, *near]) == list(range(len(durations)))


@settings(deadline=None, max_examples=60)
@given(durations, st.data(), st.sampled_from([8, 12, 24, 30]), st.integers(1, 20))
def test_a_clip_shows_the_frame_of_each_moment(durations, data, fps, count):
    start = data.draw(st.integers(0, len(durations) - 1))
    shown = shown_from(durations, start, fps, count)
    borders = [0, *accumulate(durations)]
    begin = borders[start] + durations[start] / 2
    assert shown[0] == start
    for number, frame in enumerate(shown):
        assert borders[frame] <= begin + 1000 * number / fps < borders[frame + 1]
    ended = begin + 1000 * len(shown) / fps >= borders[-1]
    assert len(shown) == count or ended


@pytest.mark.parametrize("start", range(24))
def test_rounded_milliseconds_do_not_skip_or_repeat_a_frame(start):
    """At 24 frames a second, 12 are every other one, however 41.67 ms are rounded."""
    ends = [round(1000 * (number + 1) / 24) for number in range(72)]
    rounded = [end - begin for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
    for lasting in (rounded, [42] * 72):
        shown = shown_from(lasting, start, FPS, CLIP_FRAMES)
        assert shown == tuple(range(start, start + 2 * CLIP_FRAMES, 2))


def test_a_frame_that_lasts_is_shown_again():
    assert shown_from([42, 252, 42], 0, 12, 4) == (0, 1, 1, 1)


@settings(deadline=None, max_examples=60)
@given(durations, codes)
def test_equal_animations_have_equal_windows(durations, code):
    assert window_of(code, durations, unseen=False) == window_of(code, durations, unseen=False)


def test_windows_lie_anywhere():
    starts = {window_of(f"{n}", [42] * 72, unseen=False).shown[0] for n in range(400)}
    assert min(starts) == 0
    assert max(starts) == 72 - 2 * CLIP_FRAMES + 1
    assert len(starts) > 35


@pytest.mark.parametrize(("frames", "fits"), [(62, False), (63, True)])
def test_an_animation_that_would_have_too_little_left_has_no_window_within(frames, fits):
    """31 frames and twice the margin are held out, and 24 stay: from 63 frames on, anywhere."""
    assert 2 * CLIP_FRAMES - 1 + 2 * MARGIN + LEAST_LEARNED == 63
    starts = {window_of(f"{n}", [42] * frames, unseen=False).shown[0] for n in range(300)}
    middle = (frames - 2 * CLIP_FRAMES + 1) // 2
    assert (middle in starts) == fits


def test_a_share_of_the_kinds_is_unseen():
    kinds = [f"kind {number}" for number in range(4000)]
    share = sum(map(is_unseen, kinds)) / len(kinds)
    assert share == pytest.approx(UNSEEN_SHARE, abs=0.015)
    assert is_unseen("butterfly")
    assert not is_unseen("running")
