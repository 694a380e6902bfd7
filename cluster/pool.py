"""The workers of a run: started, watched, replaced, and set aside where they are broken."""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError

from cluster.events import Event, Quarantined, WorkerLog
from cluster.failures import NOT_THE_WORKER, back_off_seconds
from cluster.jobs import Job
from cluster.layout import MOST_CLIPS_PER_WORKER, WorkerFactory
from cluster.process_tree import ProcessOnNode, end_process_tree_on_its_node
from cluster.worker import Introduction, WorkerReport
from tempprop.planned_clip import PlannedClip, Weights, clip_cost
from tempprop.spec import Attempt, WorkerConfig

CLIPS_PER_WORKER = 2
BATCHES_PER_WORKER = 2
FAILED_STARTS = 3
LOOK_AGAIN_SECONDS = 10.0
"""How often the cluster is asked how many workers fit on it."""
LEAST_SHARE_OF_FAILURES = 0.05
"""Of the clips that end on a worker: one that fails fewer has bad luck, and is not broken."""
LAST_WORDS_SECONDS = 5.0


@dataclass
class Worker:
    """A worker as the dispatcher sees it.

    Attributes:
        name: For messages and records.
        actor: Ray's handle.
        starting: Reference of its introduction; None once it has introduced itself.
        who: What it said; None before.
        process: Where it runs; None before its first answer, which it gives while it is starting.
        reached_at: When it gave that.
        jobs: What it was given, oldest first, with the time at which it was.
        ended_at: When a clip last came to an end on it.
        report: Reference of the report that was asked for; None when there is none.
        asked_at: When it was asked for it.
        clips: Progress from its last report.
        frames_per_batch: Frames that it denoises together, by its last report.
        models: Models that it has in memory, by its last report or by what it was given since.
        set_aside: Whether it gets no more clips.
        draining: Whether its machine is about to be taken away.
        started_at: When Ray was asked for it.
    """

    name: str
    actor: Any
    starting: Any
    who: Introduction | None = None
    process: ProcessOnNode | None = None
    reached_at: float = 0.0
    jobs: dict[Any, tuple[Job, float]] = field(default_factory=dict)
    ended_at: float = 0.0
    report: Any = None
    asked_at: float = 0.0
    clips: dict[str, float] = field(default_factory=dict)
    frames_per_batch: int = 0
    models: tuple[Weights, ...] = ()
    set_aside: bool = False
    draining: bool = False
    started_at: float = field(default_factory=time.monotonic)

    @property
    def up(self) -> bool:
        """Whether it is ready to render."""
        return self.who is not None

    @property
    def place(self) -> str:
        """What is to blame where it is broken: its GPU, or itself where it has none.

        Names of hosts are no names of machines: those of some clusters are all called the same.
        """
        if self.who is None or not self.who.gpu:
            return self.name
        return f"GPU {self.who.gpu} of {self.who.process.node_id}"

    @property
    def where(self) -> str:
        """The same for people."""
        if self.who is None or not self.who.gpu:
            return self.name
        return f"GPU {self.who.gpu} of {self.who.node}"

    @property
    def accelerator(self) -> str | None:
        """The type of its accelerator; None where it has none, or a nameless one."""
        return self.who.accelerator if self.who else None

    @property
    def held(self) -> list[Job]:
        """The clips that it has."""
        return [job for job, _ in self.jobs.values()]

    def reached(self, process: ProcessOnNode) -> None:
        """Note that it has answered."""
        if self.process is None:
            self.process, self.reached_at = process, time.monotonic()

    def busy_since(self) -> float:
        """Tell since when it has been at work without a clip coming to its end."""
        return max(self.ended_at, min(started for _, started in self.jobs.values()))

    def has_said_all(self) -> bool:
        """Tell whether it has reported since its last clip came to an end."""
        return self.report is None and self.asked_at > self.ended_at

    def has_room(self) -> bool:
        """Tell whether it takes one more clip.

        Two keep it busy: one denoises while the other is encoded. Short clips share batches, and of
        these it holds enough to fill the next batch while it denoises this one.
        """
        held = self.held
        if not self.up or self.set_aside or any(job.alone for job in held):
            return False
        frames = sum(job.clip.spec.num_frames for job in held)
        enough = frames >= BATCHES_PER_WORKER * self.frames_per_batch
        busy = len(held) >= CLIPS_PER_WORKER and enough
        return not busy and len(held) < MOST_CLIPS_PER_WORKER

    def awaited(self) -> list[Any]:
        """Give the references that will bring news of it."""
        references = [*self.jobs, self.starting, self.report]
        return [reference for reference in references if reference is not None]


def machine_is_gone(worker: Worker) -> bool:
    """Tell whether a worker has died with its whole machine, as far as Ray knows by now."""
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]
    return worker.process is not None and worker.process.node_id not in alive


class Pace:
    """How fast the clips of each model come to an end.

    Args:
        config: How much slower a worker may be before it is taken for hung.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._slowest: dict[Weights, float] = {}

    def note(self, job: Job, seconds: float) -> None:
        """Learn from a clip that came to its end."""
        rate = seconds / clip_cost(job.clip.spec)
        self._slowest[job.weights] = max(rate, self._slowest.get(job.weights, 0.0))

    def allowed_seconds(self, jobs: list[Job]) -> float:
        """Tell how long a worker that holds these clips may go without finishing one.

        Clips that share a batch end together, so that all of them count.
        """
        if any(job.weights not in self._slowest for job in jobs):
            return self._config.first_clip_timeout_seconds
        expected = sum(self._slowest[job.weights] * clip_cost(job.clip.spec) for job in jobs)
        factor, least = self._config.clip_timeout_factor, self._config.clip_timeout_seconds
        return max(least, factor * expected)


class WorkerPool:
    """The workers of one run.

    Args:
        factory: Starts workers.
    """

    def __init__(self, factory: WorkerFactory) -> None:
        self._factory = factory
        self._config = factory.config.workers
        self.workers: list[Worker] = []
        self.pace = Pace(self._config)
        self._started = 0
        self._failed_starts = 0
        self._failed_start_at = 0.0
        self._start_again_at = 0.0
        self._last_up = time.monotonic()
        self._looked_at = time.monotonic()
        self._last_trouble = ""
        self._failures: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        self._ended: Counter[str] = Counter()
        self._quarantined: dict[str, str] = {}

    def keep(self, upcoming: PlannedClip | None, clips_left: int) -> None:
        """Start workers until there are as many as wanted, and end those that are not.

        Those set aside do not count. Machines that join the cluster in the middle of a run get
        workers, and when the queue runs dry, idle workers give their GPUs back.

        Args:
            upcoming: The clip that a new worker is likely to render first.
            clips_left: Clips that no worker has.
        """
        now = time.monotonic()
        if now - self._looked_at > LOOK_AGAIN_SECONDS:
            self._looked_at, self._factory = now, self._factory.now()
        for worker in [each for each in self.workers if each.set_aside and not each.jobs]:
            if worker.draining and worker.has_said_all():
                self._dismiss(worker)
            elif not (worker.who and worker.who.gpu):
                self.forget(worker, "it was set aside")
        active = [worker for worker in self.workers if not worker.set_aside]
        if any(worker.up for worker in active):
            self._last_up = now
        idle = [worker for worker in active if not worker.jobs]
        for worker in idle[clips_left:]:
            if not worker.up or worker.has_said_all():
                self._dismiss(worker)
        wanted = min(self._factory.layout.num_workers - len(active), clips_left - len(idle))
        for _ in range(wanted if now >= self._start_again_at else 0):
            self._started += 1
            name = f"worker-{self._started}"
            actor = self._factory.start(name, upcoming)
            self.workers.append(Worker(name, actor, actor.load.remote(upcoming)))

    def lost_all(self) -> str | None:
        """Say why the run cannot go on, where it has been without any worker for too long."""
        if self.takers():
            return None
        waited = time.monotonic() - self._last_up
        if self._failed_starts >= FAILED_STARTS:
            return f"{self._failed_starts} workers in a row did not start: {self._last_trouble}"
        if waited <= self._config.capacity_timeout_seconds:
            return None
        why = f". The last trouble was: {self._last_trouble}" if self._last_trouble else ""
        gpus = self._factory.layout.num_gpus
        return (
            f"no worker came up within {waited:.0f} s: the cluster has no room for a worker "
            f"{f'with {gpus:g} GPUs' if gpus else 'without a GPU'}, or cannot start it{why}"
        )

    def busy(self) -> Counter[Weights]:
        """Count the workers that are at work with each model."""
        return Counter(
            weights
            for worker in self.workers
            if not worker.set_aside
            for weights in worker.models[:1]
        )

    def takers(self) -> list[Worker]:
        """Give the workers that take clips: they are up, and not set aside."""
        return [worker for worker in self.workers if worker.up and not worker.set_aside]

    def places_beside(self, worker: Worker) -> frozenset[str]:
        """Name the places of the other workers that take clips."""
        return frozenset(other.place for other in self.takers() if other is not worker)

    def introduce(self, worker: Worker, who: Introduction) -> Iterator[Event]:
        """Take a worker's introduction."""
        worker.starting, worker.who = None, who
        worker.reached(who.process)
        reason = who.fault or self._quarantined.get(worker.place)
        if reason is None:
            self._failed_starts = 0
            return
        if not who.gpu:
            self._note_failed_start(worker, reason)
        yield from self._set_aside(worker, reason)

    def ask_for_reports(self) -> None:
        """Ask every worker how far it is, also those that are starting."""
        for worker in self.workers:
            if worker.report is None:
                worker.report = worker.actor.report.remote()
                worker.asked_at = time.monotonic()

    def take_report(self, worker: Worker, report: WorkerReport) -> Iterator[Event]:
        """Take a worker's report."""
        worker.report = None
        worker.reached(report.process)
        worker.clips = report.progress
        worker.frames_per_batch = report.frames_per_batch
        worker.models = report.models or worker.models
        if report.draining:
            yield from self.drain(worker)
        for level, line in report.log:
            yield WorkerLog(worker.name, level, line)

    def drain(self, worker: Worker) -> Iterator[Event]:
        """Give a worker no more clips, and end it when it has handed over those that it has."""
        if not worker.draining:
            worker.set_aside = worker.draining = True
            notice = "its machine is about to be taken away: its clips go on elsewhere"
            yield WorkerLog(worker.name, logging.WARNING, notice)

    def hung(self) -> Iterator[tuple[Worker, str]]:
        """Name the workers that do not answer, or are at work for too long, and say so."""
        now = time.monotonic()
        for worker in list(self.workers):
            if worker.process is None:
                # It may still wait for a machine that has room for it.
                continue
            silent, starting = now - worker.asked_at, now - worker.reached_at
            if worker.report is not None and silent > self._config.heartbeat_seconds:
                yield worker, f"it has not answered for {silent:.0f} s"
            elif not worker.up and starting > self._config.first_clip_timeout_seconds:
                yield worker, f"it has been loading its model for {starting:.0f} s"
            elif worker.jobs:
                at_work = now - worker.busy_since()
                allowed = self.pace.allowed_seconds(worker.held)
                if at_work > allowed:
                    yield (
                        worker,
                        f"it has finished no clip for {at_work:.0f} s, and {allowed:.0f} s are "
                        "more than enough for those that it has",
                    )

    def ended(
        self, worker: Worker, job: Job, started: float, *, committed: bool
    ) -> Iterator[Event]:
        """Note that a clip came to its end on a worker, well or not.

        What it failed on before is under suspicion where it succeeds elsewhere.
        """
        now = time.monotonic()
        if committed:
            self.pace.note(job, now - max(worker.ended_at, started))
        worker.ended_at = now
        self._ended[worker.place] += 1
        if not committed:
            return
        for attempt, place in zip(job.attempts, job.places, strict=True):
            if attempt.kind not in NOT_THE_WORKER and place != worker.place:
                yield from self._suspect(place, attempt, job)

    def forget(self, worker: Worker, what: str) -> None:
        """Take a worker that died off the list, and make sure that nothing of it is left."""
        self.workers.remove(worker)
        if not worker.up:
            self._note_failed_start(worker, what)
        ray.kill(worker.actor)
        if worker.process is not None:
            with suppress(RayError, ValueError):
                end_process_tree_on_its_node(worker.process)

    def last_words(self) -> Iterator[Event]:
        """Fetch what the workers have logged since their last report."""
        speakers = {}
        for worker in self.workers:
            if worker.up:
                speakers[worker.actor.report.remote()] = worker
                if worker.report is not None:
                    speakers[worker.report] = worker
        if not speakers:
            return
        done, _ = ray.wait(list(speakers), num_returns=len(speakers), timeout=LAST_WORDS_SECONDS)
        for reference in done:
            with suppress(RayError):
                yield from self.take_report(speakers[reference], ray.get(reference))

    def end(self) -> None:
        """End all worker processes."""
        for worker in self.workers:
            ray.kill(worker.actor)

    def _dismiss(self, worker: Worker) -> None:
        """End a worker for which there is nothing to do."""
        self.workers.remove(worker)
        ray.kill(worker.actor)

    def _note_failed_start(self, worker: Worker, what: str) -> None:
        self._last_trouble = what
        if worker.started_at < self._failed_start_at:
            # It was starting beside one that failed: a blow to all of them is one failure.
            return
        self._failed_start_at = time.monotonic()
        self._failed_starts += 1
        self._start_again_at = time.monotonic() + back_off_seconds(self._failed_starts)

    def _suspect(self, place: str, attempt: Attempt, job: Job) -> Iterator[Event]:
        """Count a failure of a place that the clip is not to blame for."""
        # A worker that dies takes all of its clips along, which is one failure and not many.
        dead = attempt.kind in {"worker death", "poisoned process"}
        self._failures[place].add((attempt.worker, "" if dead else job.clip.key))
        failures = len(self._failures[place])
        few = failures < LEAST_SHARE_OF_FAILURES * self._ended[place]
        if failures < self._config.quarantine_after or few:
            return
        reason = f"{failures} clips failed there that succeeded elsewhere, the last with: "
        for worker in [each for each in self.workers if each.place == place]:
            if not worker.set_aside:
                yield from self._set_aside(worker, reason + attempt.message)

    def _set_aside(self, worker: Worker, reason: str) -> Iterator[Event]:
        """Give a worker no more clips.

        One that sits on a GPU goes on to sit there, idle, so that no other is started on that GPU.
        """
        yield Quarantined(worker.name, worker.where, reason)
        worker.set_aside = True
        self._quarantined[worker.place] = reason
        self._last_trouble = f"{worker.where}: {reason}"
        worker.actor.let_go.remote()
