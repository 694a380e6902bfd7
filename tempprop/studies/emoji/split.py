"""What the model learns from, and what it never sees.

A text-to-image model cannot draw an emoji that it never saw by its name. So two things are held
out:

- *Windows.* Of every animation that is long enough, one clip of `CLIP_FRAMES` frames at `FPS`
  becomes a reference. Nothing that the animation shows while it lasts is learned from, nor are the
  `MARGIN` frames on either side. The model knows what the emoji looks like from other moments of
  the same animation. Where a movement repeats, those look alike: a window keeps the very frames
  away, and not every pose.
- *Kinds.* A share of the emoji is not learned from at all, in any of their forms (`man running`
  goes with `woman running`). Of their clips the model has seen nothing, whatever repeats; it cannot
  be asked for them by name, but they show what real clips are like that it does not know.

What is learned from are single frames in random order: no order and no time comes in.
"""

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

FPS = 12
"""Frames a second of the reference clips, half of what the animations have."""

CLIP_FRAMES = 16
"""Frames of a reference clip, as the networks that judge videos take them: 1.33 s."""

MARGIN = 4
"""Frames of the animation on either side of a window that are not learned from: about 0.17 s."""

LEAST_LEARNED = 24
"""Frames, about a second, that have to be left to learn from; else there is no window."""

UNSEEN_SHARE = 1 / 12
"""Share of the kinds that nothing is learned from."""


@dataclass(frozen=True)
class Window:
    """What of an animation is a reference clip.

    Attributes:
        shown: Number of the animation's frame that each frame of the clip shows; in order, and
            twice in a row where one is shown for long.
        held_out: The frames that are not learned from: those, all between them, and the margin.
    """

    shown: tuple[int, ...]
    held_out: range


def shown_from(durations: Sequence[int], start: int, fps: float, count: int) -> tuple[int, ...]:
    """Say which frames a clip shows that begins in the middle of one of them.

    Beginning in the middle keeps the moments of the clip away from the borders of frames, where
    durations in whole milliseconds would decide.

    Args:
        durations: Milliseconds of every frame of the animation.
        start: Number of the frame that the clip begins with.
        fps: Frames a second of the clip.
        count: Frames of the clip.

    Returns:
        Numbers of frames; fewer than `count` where the animation ends before.
    """
    ends = list(accumulate(durations))
    middle = ends[start] - durations[start] / 2
    moments = [middle + 1000 * number / fps for number in range(count)]
    return tuple(bisect_right(ends, moment) for moment in moments if moment < ends[-1])


def windows_of(durations: Sequence[int], least_learned: int = LEAST_LEARNED) -> list[Window]:
    """Give every possible window of an animation.

    Args:
        durations: Milliseconds of every frame.
        least_learned: Frames that have to be left.
    """
    clips = (shown_from(durations, start, FPS, CLIP_FRAMES) for start in range(len(durations)))
    whole = (shown for shown in clips if len(shown) == CLIP_FRAMES)
    windows = [Window(shown, _around(shown, len(durations))) for shown in whole]
    return [w for w in windows if len(durations) - len(w.held_out) >= least_learned]


def _around(shown: Sequence[int], frames: int) -> range:
    return range(max(shown[0] - MARGIN, 0), min(shown[-1] + MARGIN + 1, frames))


def window_of(code: str, durations: Sequence[int], *, unseen: bool) -> Window | None:
    """Choose the window of an animation by chance.

    Args:
        code: The animation; equal ones have equal windows.
        durations: Milliseconds of every frame.
        unseen: Whether nothing of the animation is learned from, so that nothing need be left.

    Returns:
        The window; None for an animation that is too short.
    """
    windows = windows_of(durations, least_learned=0 if unseen else LEAST_LEARNED)
    return random.Random(f"window {code}").choice(windows) if windows else None


def is_unseen(kind: str) -> bool:
    """Tell whether nothing is learned from a kind of emoji."""
    return random.Random(f"unseen {kind}").random() < UNSEEN_SHARE


def learned_frames(frames: int, window: Window | None, *, unseen: bool) -> list[int]:
    """Number the frames of an animation that are learned from.

    Args:
        frames: How many it has.
        window: Its reference clip.
        unseen: Whether it is not learned from at all.
    """
    if unseen:
        return []
    held_out = window.held_out if window is not None else range(0)
    return [number for number in range(frames) if number not in held_out]
