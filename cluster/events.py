"""What the dispatcher tells while a batch is rendered."""

from dataclasses import dataclass

from tempprop.spec import Attempt, ClipFailure, ClipResult


@dataclass(frozen=True)
class Committed:
    """A clip is in the store."""

    result: ClipResult


@dataclass(frozen=True)
class GivenUp:
    """A clip is a dead letter; whoever consumes the events writes it down."""

    failure: ClipFailure


@dataclass(frozen=True)
class Retried:
    """An attempt failed, and the clip will be tried again."""

    clip_id: str
    attempt: Attempt


@dataclass(frozen=True)
class WorkerLog:
    """A line that a worker logged, or that is about it."""

    worker: str
    level: int
    line: str


@dataclass(frozen=True)
class Quarantined:
    """A worker, or the GPU that it sits on, gets no more clips in this run."""

    worker: str
    place: str
    reason: str


@dataclass(frozen=True)
class GaveOut:
    """The run ends although clips are left: there is no worker, or nothing can be committed."""

    reason: str


@dataclass(frozen=True)
class Progress:
    """How far the clips in work are.

    Attributes:
        clips: Share done, 0 to 1, by clip_id.
        workers: Workers that are up.
        waiting: Clips that no worker has.
        in_work: Clips that workers have.
    """

    clips: dict[str, float]
    workers: int
    waiting: int = 0
    in_work: int = 0


Event = Committed | GivenUp | Retried | WorkerLog | Quarantined | GaveOut | Progress
