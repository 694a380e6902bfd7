"""What went wrong with a clip, sorted by what has to be done about it.

    input              it stays, whoever tries again: a dead letter at once
    out of memory      once more, alone on its worker
    poisoned process   nothing works in that process any more: the worker is replaced
    worker death       the clip may be to blame: it goes alone to the next worker
    infrastructure     a machine or the storage was lost: again, and the clip is not to blame
    preempted          its machine was about to be taken away: it goes on elsewhere, at once
    unknown            again, on another worker where there is one

Every kind but `preempted` has a limit of its own, and a clip that reaches one is given up.
"""

import errno
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError

from tempprop.errors import (
    DiskFullError,
    InputError,
    Interrupted,
    ModelError,
    StoreError,
    StoreInputError,
    is_out_of_memory,
)
from tempprop.spec import Attempt, ErrorKind, RetryConfig
from tempprop.storage_faults import DISK_FULL

BACK_OFF_SECONDS = 0.5
LONGEST_BACK_OFF_SECONDS = 60.0
MESSAGE_CHARACTERS = 1000

NOT_THE_WORKER = frozenset[ErrorKind]({"input", "infrastructure", "preempted"})
"""Failures that say nothing about the worker on which they happened."""

ALONE = frozenset[ErrorKind]({"worker death", "poisoned process", "out of memory"})
"""Failures after which a clip shares its worker with no other, which might suffer with it."""


@dataclass(frozen=True)
class FailedAttempt:
    """A clip that a worker could not render, as a value: exceptions do not always travel.

    Attributes:
        kind: What has to be done about it. `interrupted`: nothing, since the run is being stopped;
            `output`: the run ends, since no clip can be committed any more.
        error_class: Name of the exception class.
        message: Its message.
        traceback: Where it was raised.
        seconds: How long the attempt took.
    """

    kind: ErrorKind | Literal["interrupted", "output"]
    error_class: str
    message: str
    traceback: str
    seconds: float


def kind_of_error(error: BaseException) -> ErrorKind | Literal["interrupted", "output"]:
    """Sort what was raised while a clip was rendered, encoded and committed."""
    lost_disk = getattr(error, "errno", None) in DISK_FULL | {errno.EIO}
    # A model that the driver has found in order is missing or broken on this machine alone.
    wrong_input = isinstance(error, InputError) and not isinstance(error, ModelError)
    verdicts: list[tuple[bool, ErrorKind | Literal["interrupted", "output"]]] = [
        (isinstance(error, Interrupted), "interrupted"),
        (isinstance(error, StoreInputError), "output"),
        (isinstance(error, StoreError | DiskFullError) or lost_disk, "infrastructure"),
        (wrong_input, "input"),
        (is_out_of_memory(error), "out of memory"),
        ("CUDA error" in str(error), "poisoned process"),
    ]
    return next((kind for applies, kind in verdicts if applies), "unknown")


def kind_of_death(cause: BaseException) -> ErrorKind:
    """Sort what Ray says about a worker that is gone."""
    if isinstance(cause, OutOfMemoryError):
        return "out of memory"
    lost_node = isinstance(cause, NodeDiedError) or "node has died" in str(cause)
    preempted = isinstance(cause, RayActorError) and cause.preempted
    return "infrastructure" if lost_node or preempted else "worker death"


def is_spent(attempts: Sequence[Attempt], retries: RetryConfig) -> bool:
    """Tell whether a clip has failed as often as it may."""
    counts = Counter(attempt.kind for attempt in attempts)
    deaths = counts["worker death"] + counts["poisoned process"]
    return (
        counts["input"] > 0
        or counts["unknown"] >= retries.max_attempts
        or counts["out of memory"] >= retries.max_out_of_memory
        or counts["infrastructure"] >= retries.max_infrastructure
        or deaths >= retries.max_worker_deaths
    )


def back_off_seconds(failures: int) -> float:
    """Choose how long a clip waits for its next try, twice as long each time.

    Jitter keeps clips that failed together from coming back together.
    """
    longest = min(BACK_OFF_SECONDS * 2.0**failures, LONGEST_BACK_OFF_SECONDS)
    return longest * random.uniform(0.5, 1.0)


def head_of(text: str) -> str:
    """Shorten a message to one line that fits into a record."""
    return " ".join(text.split())[:MESSAGE_CHARACTERS]
