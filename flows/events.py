"""What a batch tells whoever watches it from the same process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Self

from cluster.events import Event as DispatchEvent
from tempprop.plan import Plan
from tempprop.spec import ClipFailure


@dataclass(frozen=True)
class Planned:
    """It is known what there is to do."""

    run_id: str
    plan: Plan
    workers: int | None


@dataclass(frozen=True)
class BatchSummary:
    """How a batch ended: the content of `runs/<run_id>/summary.json`.

    Attributes:
        run_id: The run.
        manifest: The manifest, without credentials.
        out: The output, without credentials.
        total: Clips asked for.
        committed_before: Clips that were in the store already.
        committed: Clips that this run committed.
        failed: Clips that this run gave up.
        failed_clip_ids: The first of them.
        not_rendered: Clips that are left because the run was stopped or could not go on.
        interrupted: Whether it was stopped.
        gave_out: Why it could not go on; None where it could.
        quarantined: Workers and GPUs that were found broken.
        frames: Frames that this run committed.
        seconds: Wall-clock time from the first stage to the last.
        catalog_url: Catalog file that this run wrote, below the output root.
        contact_sheet_url: Contact sheet that this run wrote, below the output root.
        started_at: UTC, ISO 8601.
    """

    run_id: str
    manifest: str
    out: str
    total: int
    committed_before: int
    committed: int
    failed: int
    failed_clip_ids: list[str]
    not_rendered: int
    interrupted: bool
    gave_out: str | None
    quarantined: list[str]
    frames: int
    seconds: float
    catalog_url: str | None
    contact_sheet_url: str | None
    started_at: str


@dataclass(frozen=True)
class Ended:
    """The batch ended, and its summary is written."""

    summary: BatchSummary


@dataclass(frozen=True)
class Stopping:
    """Somebody asked to stop; clips that are nearly done are still committed."""


Event = Planned | Stopping | Ended | DispatchEvent
Observer = Callable[[Event], None]


def _ignore(event: Event) -> None:
    """Watch nothing."""


# Prefect sends a flow's parameters to its server, so a callback cannot be one of them.
_observer: ContextVar[Observer] = ContextVar("observer", default=_ignore)


@contextmanager
def observed_by(observer: Observer) -> Iterator[None]:
    """Let a function see the events of the batches that run in a `with` block."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def emit(event: Event) -> None:
    """Tell whoever watches."""
    _observer.get()(event)


@dataclass(frozen=True)
class DeadLetter:
    """A clip that was given up, as it is shown on the page of a run.

    Attributes:
        clip_id: Name of the clip in its manifest.
        error: Name of the last exception class.
        attempts: How often it was tried.
        message: Last message.
    """

    clip_id: str
    error: str
    attempts: int
    message: str

    @classmethod
    def of(cls, failure: ClipFailure) -> Self:
        """Shorten a failure to what fits in a row."""
        return cls(failure.clip_id, failure.error_class, len(failure.attempts), failure.message)


@dataclass
class Tally:
    """Counts of a batch in the making.

    Attributes:
        committed: Clips committed so far.
        failed: Clips given up so far.
        frames: Frames of the committed clips.
        failures: The first clips given up.
        shown: Keys of the first clips committed, for the contact sheet.
        stopped: Whether somebody asked to stop while there was something left to do.
        gave_out: Why the run could not go on; None where it could.
        quarantined: Workers and GPUs that were found broken.
    """

    committed: int = 0
    failed: int = 0
    frames: int = 0
    failures: list[DeadLetter] = field(default_factory=list)
    shown: set[str] = field(default_factory=set)
    stopped: bool = False
    gave_out: str | None = None
    quarantined: list[str] = field(default_factory=list)
