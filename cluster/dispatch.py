"""The pull-dispatcher: every worker has at most one clip that renders and one that waits.

Retries belong to the dispatcher alone. A clip's own errors use up its attempts; the death of a
worker does not, but the clip that was with it is suspected, and goes alone to the next worker, so
that a clip that kills its workers is found out without taking others along.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import ray
from ray.exceptions import NodeDiedError, RayError, RayTaskError

from cluster.pool import MOST_CLIPS_PER_WORKER, WorkerFactory
from cluster.worker import FailedAttempt, WorkerReport
from tempprop.errors import InputError, StoreError, TempPropError
from tempprop.plan import PlannedClip
from tempprop.spec import Attempt, ClipFailure, ClipResult

CLIPS_PER_WORKER = 2
BATCHES_PER_WORKER = 2
POLL_SECONDS = 0.5
WORKER_START_SECONDS = 600.0
FAILED_STARTS = 3
STOP_SECONDS = 15.0
LAST_WORDS_SECONDS = 5.0
MESSAGE_CHARACTERS = 1000
BACK_OFF_SECONDS = 0.5

logger = logging.getLogger("tempprop.dispatch")


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
    """A line that a worker logged."""

    worker: str
    level: int
    line: str


@dataclass(frozen=True)
class Progress:
    """How far the clips in work are.

    Attributes:
        clips: Share done, 0 to 1, by clip_id.
        workers: Workers that are up.
    """

    clips: dict[str, float]
    workers: int


Event = Committed | GivenUp | Retried | WorkerLog | Progress


@dataclass(frozen=True)
class Job:
    """A planned clip and what has happened to it so far.

    Attributes:
        clip: What to render.
        attempts: Tries that did not work out.
        charged: How many of them count against the clip.
        deaths: Workers that died while they held it.
        not_before: Time, by `time.monotonic`, until which it waits for its next try.
    """

    clip: PlannedClip
    attempts: tuple[Attempt, ...] = ()
    charged: int = 0
    deaths: int = 0
    not_before: float = 0.0

    @property
    def suspected(self) -> bool:
        """Whether a worker died while it held this clip."""
        return self.deaths > 0


@dataclass
class Worker:
    """A worker as the dispatcher sees it.

    Attributes:
        name: For messages and records.
        actor: Ray's handle.
        starting: Reference that resolves when the first clip's model is loaded; None afterwards.
        jobs: What it was given, oldest first, with the time at which it was.
        report: Reference of the report that was asked for; None when there is none.
        clips: Progress from its last report.
        frames_per_batch: Frames that it denoises together, by its last report.
    """

    name: str
    actor: Any
    starting: Any
    jobs: dict[Any, tuple[Job, float]] = field(default_factory=dict)
    report: Any = None
    clips: dict[str, float] = field(default_factory=dict)
    frames_per_batch: int = 0


def dispatch(
    queue: Iterator[PlannedClip], factory: WorkerFactory, stop: threading.Event
) -> Iterator[Event]:
    """Render a queue of clips on the cluster.

    Memory does not grow with the queue: a clip is taken from it when a worker has room.

    Args:
        queue: Clips in the order in which they are to start.
        factory: Starts workers; as many as its layout says are kept alive.
        stop: When it is set, no more clips are started, and those in work are given up.

    Yields:
        What happens, as it happens. Each clip ends in one `Committed` or `GivenUp`, unless the
        run is stopped.

    Raises:
        InputError: The model of the first clips cannot be used on a worker.
        StoreError: The store failed for good.
        TempPropError: No worker came up in time.
    """
    dispatcher = Dispatcher(queue, factory)
    try:
        while dispatcher.has_work() and not stop.is_set():
            dispatcher.keep_workers()
            dispatcher.hand_out()
            yield from dispatcher.wait()
        if stop.is_set():
            yield from dispatcher.give_up()
        yield from dispatcher.last_words()
    finally:
        dispatcher.end_workers()


class Dispatcher:
    """The state of one run: the workers, the clips they hold, and the clips to try again.

    Args:
        queue: Clips in the order in which they are to start.
        factory: Starts workers.
    """

    def __init__(self, queue: Iterator[PlannedClip], factory: WorkerFactory) -> None:
        self._queue = queue
        self._factory = factory
        self._next: PlannedClip | None = next(queue, None)
        self._again: deque[Job] = deque()
        self._workers: list[Worker] = []
        self._started_workers = 0
        self._failed_starts = 0
        self._last_alive = time.monotonic()
        self._last_report = 0.0

    def has_work(self) -> bool:
        """Whether a clip is queued, waits for its next try, or is in work."""
        in_work = any(worker.jobs for worker in self._workers)
        return self._next is not None or bool(self._again) or in_work

    def keep_workers(self) -> None:
        """Start workers until there are as many as wanted."""
        while len(self._workers) < self._factory.layout.num_workers:
            self._started_workers += 1
            actor = self._factory.start()
            name = f"worker-{self._started_workers}"
            self._workers.append(Worker(name, actor, actor.load.remote(self._upcoming())))
        if any(worker.starting is None for worker in self._workers):
            self._last_alive = time.monotonic()
        elif time.monotonic() - self._last_alive > WORKER_START_SECONDS:
            raise TempPropError(
                f"no worker came up within {WORKER_START_SECONDS:.0f} s. The cluster has no room "
                f"for a worker with {self._factory.layout.num_gpus} GPUs, or cannot start it"
            )

    def hand_out(self) -> None:
        """Give clips to the workers that have room."""
        for worker in self._workers:
            while worker.starting is None and (job := self._job_for(worker)) is not None:
                reference = worker.actor.render.remote(job.clip, len(job.attempts) + 1)
                worker.jobs[reference] = (job, time.monotonic())

    def wait(self) -> Iterator[Event]:
        """Wait a little for news, and say what they are."""
        references = [ref for worker in self._workers for ref in self._awaited(worker)]
        if references:
            done, _ = ray.wait(references, num_returns=1, timeout=POLL_SECONDS)
        else:
            # Every clip that is left waits for its next try.
            done = []
            time.sleep(POLL_SECONDS)
        for reference in done:
            worker = next(w for w in self._workers if reference in self._awaited(w))
            yield from self._settle(worker, reference)
        if time.monotonic() - self._last_report > POLL_SECONDS:
            self._last_report = time.monotonic()
            self._ask_for_reports()
            yield self._progress()

    def give_up(self) -> Iterator[Event]:
        """Stop the clips in work; those that are being encoded or uploaded are still committed."""
        for worker in self._workers:
            if worker.starting is None:
                worker.actor.stop.remote()
        deadline = time.monotonic() + STOP_SECONDS
        self._next = None
        while any(worker.jobs for worker in self._workers) and time.monotonic() < deadline:
            yield from self.wait()
            self._again.clear()

    def last_words(self) -> Iterator[Event]:
        """Fetch what the workers have logged since their last report."""
        speakers = {}
        for worker in self._workers:
            if worker.starting is None:
                speakers[worker.actor.report.remote()] = worker
                if worker.report is not None:
                    speakers[worker.report] = worker
        if not speakers:
            return
        done, _ = ray.wait(list(speakers), num_returns=len(speakers), timeout=LAST_WORDS_SECONDS)
        for reference in done:
            with suppress(RayError):
                yield from self._take_report(speakers[reference], ray.get(reference))

    def end_workers(self) -> None:
        """End all worker processes."""
        for worker in self._workers:
            ray.kill(worker.actor)

    def _job_for(self, worker: Worker) -> Job | None:
        """Choose the next clip for a worker, or None if it has no room or there is none."""
        held = [job for job, _ in worker.jobs.values()]
        if any(job.suspected for job in held) or not _has_room(worker, held):
            return None
        now = time.monotonic()
        for job in self._again:
            if job.not_before <= now and not (job.suspected and held):
                self._again.remove(job)
                return job
        if self._next is None:
            return None
        clip, self._next = self._next, next(self._queue, None)
        return Job(clip)

    def _awaited(self, worker: Worker) -> list[Any]:
        references = [*worker.jobs, worker.starting, worker.report]
        return [reference for reference in references if reference is not None]

    def _settle(self, worker: Worker, reference: Any) -> Iterator[Event]:
        """Take one answer of a worker."""
        try:
            answer = ray.get(reference)
        except RayTaskError as error:
            # The worker lives; its own code raised what it should have returned.
            answer = error
        except RayError as error:
            yield from self._bury(worker, error)
            return
        if reference == worker.starting:
            worker.starting = None
            self._failed_starts = 0
            if answer is not None:
                raise InputError(f"{worker.name}: {answer}")
        elif reference == worker.report:
            worker.report = None
            yield from self._take_report(worker, answer)
        else:
            job, started = worker.jobs.pop(reference)
            yield from self._take_result(worker, job, answer, started)

    def _take_report(self, worker: Worker, report: WorkerReport) -> Iterator[Event]:
        worker.clips = report.progress
        worker.frames_per_batch = report.frames_per_batch
        for level, line in report.log:
            yield WorkerLog(worker.name, level, line)

    def _take_result(
        self, worker: Worker, job: Job, answer: Any, started: float
    ) -> Iterator[Event]:
        if isinstance(answer, ClipResult):
            yield Committed(answer)
            return
        if not isinstance(answer, FailedAttempt):
            answer = _unexpected(answer, time.monotonic() - started)
        if answer.kind == "interrupted":
            return
        if answer.kind == "storage":
            raise StoreError(answer.message)
        attempt = Attempt(
            error_class=answer.error_class,
            message=answer.message[:MESSAGE_CHARACTERS],
            worker=worker.name,
            node=answer.node,
            seconds=answer.seconds,
        )
        job = replace(job, attempts=(*job.attempts, attempt), charged=job.charged + 1)
        spent = job.charged >= self._factory.config.retries.max_attempts
        if answer.kind == "input" or spent:
            yield GivenUp(self._failure(job, answer.traceback))
        else:
            yield from self._try_again(job)
        if answer.kind == "poisoned process":
            yield from self._bury(worker, RuntimeError("its GPU stopped working"))

    def _bury(self, worker: Worker, cause: BaseException) -> Iterator[Event]:
        """Forget a worker that died, and save the clips that it held."""
        self._workers.remove(worker)
        ray.kill(worker.actor)
        what = " ".join(str(cause).split())[:MESSAGE_CHARACTERS] or type(cause).__name__
        if worker.starting is not None:
            self._failed_starts += 1
            if self._failed_starts >= FAILED_STARTS:
                raise TempPropError(f"{FAILED_STARTS} workers in a row did not start: {what}")
        yield WorkerLog(worker.name, logging.WARNING, f"the worker died: {what}")
        for job, started in worker.jobs.values():
            attempt = Attempt(
                error_class=type(cause).__name__,
                message=what,
                worker=worker.name,
                seconds=time.monotonic() - started,
            )
            deaths = job.deaths + (0 if node_was_lost(cause) else 1)
            survivor = replace(job, attempts=(*job.attempts, attempt), deaths=deaths)
            if deaths >= self._factory.config.retries.max_worker_deaths:
                yield GivenUp(self._failure(survivor, ""))
            else:
                yield from self._try_again(survivor)

    def _upcoming(self) -> PlannedClip | None:
        """The clip that a new worker is likely to render first."""
        return self._again[0].clip if self._again else self._next

    def _try_again(self, job: Job) -> Iterator[Event]:
        # Jitter keeps clips that failed together from coming back together.
        pause = BACK_OFF_SECONDS * 2 ** len(job.attempts) * random.uniform(0.5, 1.0)
        self._again.append(replace(job, not_before=time.monotonic() + pause))
        yield Retried(job.clip.spec.clip_id, job.attempts[-1])

    def _failure(self, job: Job, traceback: str) -> ClipFailure:
        last = job.attempts[-1]
        return ClipFailure(
            key=job.clip.key,
            clip_id=job.clip.spec.clip_id,
            spec=job.clip.spec,
            error_class=last.error_class,
            message=last.message,
            traceback=traceback,
            attempts=job.attempts,
            run_id=self._factory.run_id,
            created_at=datetime.now(UTC),
        )

    def _ask_for_reports(self) -> None:
        for worker in self._workers:
            if worker.starting is None and worker.report is None:
                worker.report = worker.actor.report.remote()

    def _progress(self) -> Progress:
        up = [worker for worker in self._workers if worker.starting is None]
        clips = {clip: share for worker in up for clip, share in worker.clips.items()}
        return Progress(clips, len(up))


def _has_room(worker: Worker, held: Sequence[Job]) -> bool:
    """Tell whether a worker takes one more clip.

    Two keep it busy: one denoises while the other is encoded. Short clips share batches, and of
    these it holds enough to fill the next batch while it denoises this one.
    """
    frames = sum(job.clip.spec.num_frames for job in held)
    busy = len(held) >= CLIPS_PER_WORKER and frames >= BATCHES_PER_WORKER * worker.frames_per_batch
    return not busy and len(held) < MOST_CLIPS_PER_WORKER


def node_was_lost(error: BaseException) -> bool:
    """Tell the loss of a machine, which no clip is to blame for, from the death of a process."""
    return isinstance(error, NodeDiedError) or "node has died" in str(error)


def _unexpected(error: BaseException, seconds: float) -> FailedAttempt:
    return FailedAttempt(
        kind="unknown",
        error_class=type(error).__name__,
        message=str(error).strip().splitlines()[-1],
        traceback=str(error),
        node="",
        seconds=seconds,
    )
