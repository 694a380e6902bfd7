"""Which frames a clip is anchored to, so that it neither drifts away nor hangs on to its beginning.

With a `keyframe_interval` of K, frames 0, K, 2K, ... become anchors A_0, A_1, A_2, ... as soon as
they are there. Between frames jK and (j + 1)K the anchor moves in a straight line from A_{j-1} to
A_j: frame jK + m has m/K of A_j. Thus frame jK is itself drawn to A_{j-1} alone, which is where the
line before it ended, and no frame is ever anchored to one that comes after it: a clip of any length
needs no more than two anchors at a time. Up to frame K, and throughout with an interval of 0, the
anchor is frame 0.
"""


def anchor_frames(frame: int, interval: int) -> tuple[int, int]:
    """Name the anchors between which a frame lies on the line, both of them before it.

    Args:
        frame: Number of the frame, from 0.
        interval: K, or 0.

    Returns:
        Numbers of the outgoing and of the incoming anchor; the same while there is only one.
    """
    if interval == 0 or frame == 0:
        return 0, 0
    incoming = (frame - 1) // interval * interval
    return max(0, incoming - interval), incoming


def incoming_share(frame: int, interval: int) -> float:
    """Give the share of the incoming anchor, against the outgoing one, in what anchors a frame.

    Args:
        frame: Number of the frame, from 0.
        interval: K, or 0.

    Returns:
        Above 0, at most 1; 1 while there is only one anchor.
    """
    outgoing, incoming = anchor_frames(frame, interval)
    return 1.0 if outgoing == incoming else (frame - incoming) / interval


def renews_anchor(frame: int, interval: int) -> bool:
    """Tell whether a frame after frame 0 becomes an anchor."""
    return interval > 0 and frame % interval == 0
