"""What a study shows, and under which names: tokens that tell nothing, and balanced sides.

The page turns the two sides of a trial for each rater, by a number that the rater's name gives. The
trials of a block, two of the same kind, are turned together, and list their sides in opposite
order. So whatever the page draws, of each block one trial shows the first role on the left, and
the other on the right: every rater sees each method on the left half of the time, though the page
does not know which method is which.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tempprop.blind_study.documents import ROLES, Kind, Role, Trial

TRIALS_PER_BLOCK = 2
PAIRS_PER_CHECK = 8
FEWEST_CHECKS = 2


@dataclass(frozen=True)
class Comparison:
    """One trial of a study, before it has tokens.

    Attributes:
        kind: What is compared.
        pair: Number of the pair of clips that it is made of.
        method: Whose clip of the pair, where both sides are the same clip; None for both.
    """

    kind: Kind
    pair: int
    method: Role | None = None


def comparisons(
    num_pairs: int, num_checks: int, num_identical: int, secret: bytes
) -> list[Comparison]:
    """Decide what is compared: every pair, and some clips with themselves.

    The clips for the latter are drawn without repetition as long as there are any, from each
    method in turn.

    Args:
        num_pairs: How many pairs of clips there are.
        num_checks: How many clips are shown beside a spoiled copy.
        num_identical: How many clips are shown beside themselves.
        secret: Of the study.

    Returns:
        The trials of each kind together, in an order that the secret gives.
    """
    draw = random.Random(secret)
    order = draw.sample(range(num_pairs), num_pairs)
    counts: tuple[tuple[Kind, int], ...] = (("check", num_checks), ("identical", num_identical))
    kinds = [kind for kind, count in counts for _ in range(count)]
    others = [
        Comparison(kind, order[-1 - number % num_pairs], ROLES["pair"][number % 2])
        for number, kind in enumerate(kinds)
    ]
    return [*(Comparison("pair", number) for number in order), *others]


def num_checks_for(num_pairs: int) -> int:
    """Say how many checks a study of so many pairs should have."""
    return max(FEWEST_CHECKS, round(num_pairs / PAIRS_PER_CHECK))


def trials_of(planned: Sequence[Comparison], names: Sequence[str], secret: bytes) -> list[Trial]:
    """Give trials their tokens, and list their sides so that each block is balanced.

    Args:
        planned: What is compared.
        names: Of the pairs of clips.
        secret: Of the study.

    Returns:
        The trials in the same order; sorted by their tokens, they tell nothing.
    """
    before: Counter[Kind] = Counter()
    trials = []
    for number, comparison in enumerate(planned):
        block, second = divmod(before[comparison.kind], TRIALS_PER_BLOCK)
        before[comparison.kind] += 1
        block_token = _token(secret, comparison.kind, block)
        turned = int(_token(secret, block_token, "turned"), 16) % 2
        roles = ROLES[comparison.kind][:: -1 if turned != second else 1]
        trials.append(
            Trial(
                trial=_token(secret, number),
                kind=comparison.kind,
                clip=names[comparison.pair],
                sides={_token(secret, number, side): role for side, role in enumerate(roles)},
                block=block_token,
            )
        )
    return trials


def secret_of(seed: int, digests: Sequence[str]) -> bytes:
    """Derive what all randomness of a study comes from.

    The page holds nothing that it could be computed from: the clips in it are copies.

    Args:
        seed: The user's.
        digests: Of the clips' files and of everything else that the study is made of.
    """
    return hashlib.sha256("\n".join([str(seed), *digests]).encode()).digest()


def study_id_of(secret: bytes) -> str:
    """Name a study."""
    return _digest(secret, "study", 8)


def _token(secret: bytes, *parts: object) -> str:
    return _digest(secret, " ".join(map(str, parts)), 6)


def _digest(secret: bytes, text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(), key=secret, digest_size=size).hexdigest()
