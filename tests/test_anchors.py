import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempprop.anchors import anchor_frames, incoming_share, renews_anchor

intervals, frames = st.integers(1, 1000), st.integers(0, 100_000)


def test_the_table_of_an_interval_of_three():
    lines = [(*anchor_frames(frame, 3), incoming_share(frame, 3)) for frame in range(10)]
    first, second, third = (0, 0, 1.0), (0, 3), (3, 6)
    thirds = (1 / 3, 2 / 3, 1.0)
    assert lines == [
        *(first,) * 4,
        *((*second, share) for share in thirds),
        *((*third, share) for share in thirds),
    ]


@given(frames)
def test_without_an_interval_frame_0_is_the_only_anchor(frame):
    assert anchor_frames(frame, 0) == (0, 0)
    assert incoming_share(frame, 0) == 1
    assert not renews_anchor(frame, 0)


@given(frames.filter(bool), intervals)
def test_anchors_lie_before_the_frames_that_they_anchor(frame, interval):
    outgoing, incoming = anchor_frames(frame, interval)
    assert 0 <= outgoing <= incoming < frame <= incoming + interval
    assert outgoing in (incoming, incoming - interval)
    assert renews_anchor(outgoing, interval)
    assert renews_anchor(incoming, interval)


@given(frames.filter(bool), intervals)
def test_the_line_is_walked_in_even_steps_and_has_no_jump(frame, interval):
    """The anchor's place on the axis of frames moves by one frame a frame, at anchors too."""

    def place(number):
        outgoing, incoming = anchor_frames(number, interval)
        return outgoing + (incoming - outgoing) * incoming_share(number, interval)

    step = 1 if frame >= interval else 0
    assert place(frame + 1) - place(frame) == pytest.approx(step, abs=1e-6)
