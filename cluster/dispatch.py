"""The pull-dispatcher: every worker has at most one clip that renders and one that waits.

Retries belong to the dispatcher alone, by the kind of the error, see `cluster.failures`. After the
death of a worker each of the clips that it held goes alone to the next one, so that a clip that
kills its workers is found out without taking others along.
"""

import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from cluster.events import Committed, Event, GaveOut, GivenUp, Progress, Retried, WorkerLog
from cluster.failures import FailedAttempt, head_of, is_spent, kind_of_death
from cluster.jobs import Backlog, Job
from cluster.layout import WorkerFactory
from cluster.metrics import FarmMetrics
from cluster.pool import Worker, WorkerPool, machine_is_gone
from tempprop.clip_queue import ClipQueue
from tempprop.errors import InputError, StoreError
from tempprop.spec import Attempt, ClipFailure, ClipResult, ErrorKind

POLL_SECONDS = 0.5
STOP_SECONDS = 15.0


class WorkerHungError(Exception):
    """A worker does not answer, or is at work on a clip for too long."""


def dispatch(queue: ClipQueue, factory: WorkerFactory, stop: threading.Event) -> Iterator[Event]:
    """Render a queue of clips on the cluster.

    Memory does not grow with the queue: a clip is taken from it when a worker has room.

    Args:
        queue: The clips.
        factory: Starts workers; as many as its layout says are kept alive.
        stop: When it is set, no more clips are started, and those in work are given up.

    Yields:
        What happens, as it happens. Each clip ends in one `Committed` or `GivenUp`, unless the
        run is stopped or `GaveOut` says why it ends early.

    Raises:
        InputError: The model of the first clips cannot be used on a worker.
        StoreError: No clip can be committed any more.
    """
    metrics = FarmMetrics()
    try:
        for event in _dispatched(Dispatcher(queue, factory), stop):
            metrics.note(event)
            yield event
    finally:
        metrics.end()


def _dispatched(dispatcher: "Dispatcher", stop: threading.Event) -> Iterator[Event]:
    try:
        while dispatcher.has_work() and not stop.is_set():
            dispatcher.keep_workers()
            dispatcher.hand_out()
            yield from dispatcher.wait()
            yield from dispatcher.end_hung_workers()
            if (reason := dispatcher.cannot_go_on()) is not None:
                yield GaveOut(reason)
                yield from dispatcher.give_up()
                break
        if stop.is_set():
            yield from dispatcher.give_up()
        yield from dispatcher.pool.last_words()
    finally:
        dispatcher.pool.end()


class Dispatcher:
    """The state of one run: the workers, and the clips that none of them has.

    Args:
        queue: The clips.
        factory: Starts workers.
    """

    def __init__(self, queue: ClipQueue, factory: WorkerFactory) -> None:
        self._factory = factory
        self._retries = factory.config.retries
        self._backlog = Backlog(queue, factory.config.resources)
        self.pool = WorkerPool(factory)
        self._last_report = 0.0
        self._stopping = False
        self._idle_since = time.monotonic()
        """Since when no worker has had anything to do, although clips are left."""
        self._failing_since: float | None = None
        """Since when nothing could be committed, because of the storage."""
        self._failing_with = ""

    def has_work(self) -> bool:
        """Whether a clip is queued, waits for its next try, or is in work."""
        return bool(self._backlog) or any(worker.jobs for worker in self.pool.workers)

    def keep_workers(self) -> None:
        """Start as many workers as there is something to do for, and end the others."""
        self.pool.keep(self._backlog.peek(self.pool.busy()), len(self._backlog))
        if any(worker.jobs or not worker.up for worker in self.pool.workers):
            self._idle_since = time.monotonic()

    def hand_out(self) -> None:
        """Give clips to the workers that have room."""
        for worker in self.pool.workers:
            while worker.has_room() and (job := self._job_for(worker)) is not None:
                reference = worker.actor.render.remote(job.clip, job.attempts)
                worker.jobs[reference] = (job, time.monotonic())
                others = tuple(model for model in worker.models if model != job.weights)
                worker.models = (job.weights, *others)

    def wait(self) -> Iterator[Event]:
        """Wait a little for news, and say what they are."""
        by_reference = {
            reference: worker for worker in self.pool.workers for reference in worker.awaited()
        }
        if by_reference:
            references = list(by_reference)
            done, left = ray.wait(references, num_returns=1, timeout=POLL_SECONDS)
            if done and left:
                more, _ = ray.wait(left, num_returns=len(left), timeout=0)
                done = [*done, *more]
        else:
            # Every clip that is left waits for its next try.
            done = []
            time.sleep(POLL_SECONDS)
        for reference in done:
            # The worker may have been buried by what it said before.
            if by_reference[reference] in self.pool.workers:
                yield from self._settle(by_reference[reference], reference)
        if time.monotonic() - self._last_report > POLL_SECONDS:
            self._last_report = time.monotonic()
            self.pool.ask_for_reports()
            yield self._progress()

    def end_hung_workers(self) -> Iterator[Event]:
        """End the workers that do not answer, or are at work for too long."""
        for worker, reason in self.pool.hung():
            yield from self._bury(worker, "worker death", WorkerHungError(reason))

    def cannot_go_on(self) -> str | None:
        """Say why the run has to end although clips are left; None where it has not."""
        if self._failing_since is not None:
            waited = time.monotonic() - self._failing_since
            if waited > self._factory.config.workers.capacity_timeout_seconds:
                return f"nothing could be committed for {waited:.0f} s: {self._failing_with}"
        return self._nobody_suits() or self.pool.lost_all()

    def give_up(self) -> Iterator[Event]:
        """Stop the clips in work; those that are being encoded or uploaded are still committed."""
        self._stopping = True
        for worker in self.pool.workers:
            if worker.up:
                worker.actor.stop.remote()
        deadline = time.monotonic() + STOP_SECONDS
        while any(worker.jobs for worker in self.pool.workers) and time.monotonic() < deadline:
            yield from self.wait()

    def _nobody_suits(self) -> str | None:
        """Say which accelerators are missing, where all workers have been idle for too long."""
        waited = time.monotonic() - self._idle_since
        if waited <= self._factory.config.workers.capacity_timeout_seconds:
            return None
        there = {worker.accelerator for worker in self.pool.takers()}
        missing = sorted({*self._factory.config.resources.values()} - there)
        if not missing or not there:
            return None
        return (
            f"{len(self._backlog)} clips wait for an accelerator of the type "
            f"{' or '.join(missing)}, and for {waited:.0f} s no worker has had one. Correct "
            "`resources` in the configuration, or add such machines"
        )

    def _job_for(self, worker: Worker) -> Job | None:
        """Choose the next clip for a worker that has room, or None if there is none."""
        return self._backlog.take(
            place=worker.place,
            accelerator=worker.accelerator,
            empty=not worker.jobs,
            held=worker.models,
            busy=self.pool.busy(),
            others=self.pool.places_beside(worker),
            now=time.monotonic(),
            # While nothing can be stored, a few clips find out when it can again.
            only_again=self._failing_since is not None,
        )

    def _settle(self, worker: Worker, reference: Any) -> Iterator[Event]:
        """Take one answer of a worker."""
        try:
            answer = ray.get(reference)
        except RayTaskError as error:
            # The worker lives; its own code raised what it should have returned.
            answer = error
        except RayError as error:
            yield from self._bury(worker, kind_of_death(error), error)
            return
        if reference == worker.starting:
            if isinstance(answer, BaseException):
                yield from self._bury(worker, "unknown", answer)
            elif answer.problem is not None:
                raise InputError(f"{worker.name}: {answer.problem}")
            else:
                yield from self.pool.introduce(worker, answer)
        elif reference == worker.report:
            yield from self.pool.take_report(worker, answer)
        else:
            job, started = worker.jobs.pop(reference)
            yield from self._take_result(worker, job, answer, started)

    def _take_result(
        self, worker: Worker, job: Job, answer: Any, started: float
    ) -> Iterator[Event]:
        committed = isinstance(answer, ClipResult)
        yield from self.pool.ended(worker, job, started, committed=committed)
        if committed:
            self._failing_since = None
            yield Committed(answer)
            return
        if not isinstance(answer, FailedAttempt):
            answer = _unexpected(answer, time.monotonic() - started)
        if answer.kind == "interrupted" and self._stopping:
            return
        if answer.kind == "output":
            raise StoreError(answer.message)
        if answer.kind == "infrastructure":
            self._failing_with = head_of(answer.message)
            self._failing_since = self._failing_since or time.monotonic()
        kind: ErrorKind = "preempted" if answer.kind == "interrupted" else answer.kind
        if kind == "preempted":
            yield from self.pool.drain(worker)
        attempt = _attempt(worker, kind, answer.error_class, answer.message, answer.seconds)
        yield from self._try_again(job.after(attempt, worker.place, time.monotonic()), answer)
        if answer.kind == "poisoned process":
            error = RuntimeError("its GPU stopped working")
            yield from self._bury(worker, "poisoned process", error)

    def _bury(self, worker: Worker, kind: ErrorKind, cause: BaseException) -> Iterator[Event]:
        """Forget a worker that died, and save the clips that it held."""
        if kind == "worker death" and machine_is_gone(worker):
            kind = "infrastructure"
        what = head_of(str(cause)) or type(cause).__name__
        yield WorkerLog(worker.name, logging.WARNING, f"the worker is gone: {what}")
        self.pool.forget(worker, what)
        now = time.monotonic()
        for job, started in worker.jobs.values():
            attempt = _attempt(worker, kind, type(cause).__name__, what, now - started)
            yield from self._try_again(job.after(attempt, worker.place, now), None)

    def _try_again(self, job: Job, failed: FailedAttempt | None) -> Iterator[Event]:
        """Keep a clip for its next try, or give it up."""
        if is_spent(job.attempts, self._retries):
            yield GivenUp(self._failure(job, failed.traceback if failed is not None else ""))
        else:
            self._backlog.again(job)
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

    def _progress(self) -> Progress:
        up = self.pool.takers()
        clips = {clip: share for worker in up for clip, share in worker.clips.items()}
        in_work = sum(len(worker.jobs) for worker in self.pool.workers)
        return Progress(clips, len(up), len(self._backlog), in_work)


def _attempt(
    worker: Worker, kind: ErrorKind, error_class: str, message: str, seconds: float
) -> Attempt:
    return Attempt(
        kind=kind,
        error_class=error_class,
        message=head_of(message),
        worker=worker.name,
        node=worker.who.node if worker.who is not None else "",
        gpu=worker.who.gpu if worker.who is not None else "",
        seconds=seconds,
    )


def _unexpected(error: BaseException, seconds: float) -> FailedAttempt:
    return FailedAttempt(
        kind="unknown",
        error_class=type(error).__name__,
        message=str(error).strip().splitlines()[-1],
        traceback=str(error),
        seconds=seconds,
    )
