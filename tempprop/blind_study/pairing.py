"""Clips of two methods, paired by name."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tempprop.evaluation.clip_files import ClipFile


@dataclass(frozen=True)
class Pair:
    """The same clip by both methods.

    Attributes:
        name: What both call it.
        a: Of the first method.
        b: Of the second method.
    """

    name: str
    a: ClipFile
    b: ClipFile

    @property
    def prompt(self) -> str | None:
        """What both clips show; None where it is not known, or not the same."""
        prompts = {clip.prompt for clip in (self.a, self.b) if clip.prompt is not None}
        return prompts.pop() if len(prompts) == 1 else None


@dataclass(frozen=True)
class Pairing:
    """What two methods have in common.

    Attributes:
        pairs: Clips that both have, by name.
        only_a: Names of those that only the first has.
        only_b: Names of those that only the second has.
    """

    pairs: tuple[Pair, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def pair_clips(a: Sequence[ClipFile], b: Sequence[ClipFile]) -> Pairing:
    """Pair the clips of two methods by name.

    Args:
        a: Clips of the first method; each name occurs once.
        b: Clips of the second method.
    """
    by_name = {clip.name: clip for clip in b}
    names = {clip.name for clip in a}
    return Pairing(
        pairs=tuple(
            Pair(clip.name, clip, by_name[clip.name]) for clip in a if clip.name in by_name
        ),
        only_a=tuple(clip.name for clip in a if clip.name not in by_name),
        only_b=tuple(clip.name for clip in b if clip.name not in names),
    )


def choose_pairs(pairs: Sequence[Pair], count: int | None, seed: int) -> list[Pair]:
    """Take some of the pairs at random, as they were ordered; all of them where count is None."""
    if count is None or count >= len(pairs):
        return list(pairs)
    chosen = sorted(random.Random(seed).sample(range(len(pairs)), count))
    return [pairs[number] for number in chosen]
