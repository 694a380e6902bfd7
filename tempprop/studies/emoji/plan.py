"""What becomes of every frame: a still to learn from, part of a reference clip, or neither."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tempprop.studies.emoji.annotations import Annotation, annotation_of, with_shared_tags
from tempprop.studies.emoji.backgrounds import background_for
from tempprop.studies.emoji.captions import captions_of, prompt_of
from tempprop.studies.emoji.dataset import ReferenceClip, Split, SplitAnimation, Still
from tempprop.studies.emoji.split import FPS, Window, is_unseen, learned_frames, window_of


@dataclass(frozen=True)
class Planned:
    """One animation, and what becomes of its frames.

    Attributes:
        annotation: What it shows.
        durations: Milliseconds of every frame.
        window: What of it is a reference clip; None for none.
        unseen: Whether nothing of it is learned from.
    """

    annotation: Annotation
    durations: tuple[int, ...]
    window: Window | None
    unseen: bool

    @property
    def learned(self) -> list[int]:
        """The frames that are learned from."""
        return learned_frames(len(self.durations), self.window, unseen=self.unseen)


Plan = Mapping[str, Planned]
"""By the code of the animation."""


def plan_of(durations: Mapping[str, tuple[int, ...]], table: Mapping[str, Annotation]) -> Plan:
    """Decide what becomes of every animation.

    Args:
        durations: Milliseconds of every frame of the animations, by code.
        table: What the emoji are called.

    Raises:
        InputError: An emoji has no name.
    """
    named = with_shared_tags(annotation_of(code, table) for code in durations)
    return {
        code: _planned(code, annotation, lasting)
        for (code, lasting), annotation in zip(durations.items(), named, strict=True)
    }


def _planned(code: str, annotation: Annotation, durations: tuple[int, ...]) -> Planned:
    unseen = is_unseen(annotation.kind)
    return Planned(annotation, durations, window_of(code, durations, unseen=unseen), unseen)


def stills_of(plan: Plan) -> list[Still]:
    """Describe every frame that is learned from, in random order, so that no order is learned."""
    stills = [
        _still(code, each.annotation, frame)
        for code, each in plan.items()
        for frame in each.learned
    ]
    random.Random("stills").shuffle(stills)
    return stills


def _still(code: str, annotation: Annotation, frame: int) -> Still:
    background = background_for("still", code, frame)
    captions = captions_of(annotation, background, frame)
    return Still(code=code, frame=frame, background=background, captions=captions)


def clips_of(plan: Plan) -> list[ReferenceClip]:
    """Describe the reference clips, in the order of the animations."""
    windows = {code: each.window for code, each in plan.items() if each.window is not None}
    return [
        _clip(code, plan[code], window, seed) for seed, (code, window) in enumerate(windows.items())
    ]


def _clip(code: str, each: Planned, window: Window, seed: int) -> ReferenceClip:
    background = background_for("reference", code)
    return ReferenceClip(
        clip_id=re.sub("[^a-z0-9]+", "-", f"{code}-{each.annotation.name}").strip("-"),
        code=code,
        prompt=prompt_of(each.annotation, background),
        seed=seed,
        background=background,
        shown=window.shown,
        unseen=each.unseen,
    )


def split_of(plan: Plan, clips: Sequence[ReferenceClip]) -> Split:
    """Put on record what is held out."""
    animations = tuple(_recorded(code, each) for code, each in plan.items())
    return Split(fps=FPS, animations=animations, clips=tuple(clips))


def _recorded(code: str, each: Planned) -> SplitAnimation:
    held_out = each.window.held_out if each.window is not None else None
    return SplitAnimation(
        code=code,
        name=each.annotation.name,
        frames=len(each.durations),
        milliseconds=sum(each.durations),
        held_out=(held_out.start, held_out.stop) if held_out is not None else None,
        unseen=each.unseen,
    )
