"""The clips of a run, with what has happened to each of them so far."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cluster.failures import ALONE, back_off_seconds
from tempprop.clip_queue import ClipQueue
from tempprop.planned_clip import PlannedClip, Weights
from tempprop.spec import Attempt


@dataclass(frozen=True)
class Job:
    """A planned clip and what has happened to it so far.

    Attributes:
        clip: What to render.
        attempts: Tries that did not work out.
        places: Where each of them was, as `Worker.place` names it.
        not_before: Time, by `time.monotonic`, until which it waits for its next try.
    """

    clip: PlannedClip
    attempts: tuple[Attempt, ...] = ()
    places: tuple[str, ...] = ()
    not_before: float = 0.0

    @property
    def weights(self) -> Weights:
        """The model and the LoRAs that it needs."""
        return self.clip.weights

    @property
    def alone(self) -> bool:
        """Whether it may take others along, and so shares its worker with no other."""
        return any(attempt.kind in ALONE for attempt in self.attempts)

    def after(self, attempt: Attempt, place: str, now: float) -> "Job":
        """Add a try that did not work out."""
        wait = 0.0 if attempt.kind == "preempted" else back_off_seconds(len(self.attempts))
        return replace(
            self,
            attempts=(*self.attempts, attempt),
            places=(*self.places, place),
            not_before=now + wait,
        )


class Backlog:
    """The clips that nobody renders: those never tried, and those to try again.

    Args:
        queue: Clips that were never tried.
        resources: The type of accelerator that the clips of some models need.
    """

    def __init__(self, queue: ClipQueue, resources: Mapping[str, str] | None = None) -> None:
        self._queue = queue
        self._resources = resources or {}
        self._again: list[Job] = []

    def __len__(self) -> int:
        """Count them."""
        return len(self._queue) + len(self._again)

    def peek(self, busy: Counter[Weights]) -> PlannedClip | None:
        """Look at a clip that a new worker is likely to render first."""
        return self._again[0].clip if self._again else self._queue.peek((), busy)

    def again(self, job: Job) -> None:
        """Keep a clip until it is tried again."""
        self._again.append(job)

    def take(
        self,
        *,
        place: str,
        accelerator: str | None = None,
        empty: bool,
        held: Sequence[Weights],
        busy: Counter[Weights],
        others: frozenset[str],
        now: float,
        only_again: bool = False,
    ) -> Job | None:
        """Take the next clip for a worker that has room.

        Args:
            place: Where the worker is.
            accelerator: The type of its accelerator; None where it has none, or a nameless one.
            empty: Whether it holds no clip.
            held: Models that it has in memory, the one used last first.
            busy: How many workers are at work with each model.
            others: Where the other workers are: a clip that failed here waits for one of them,
                unless it has failed there as well.
            now: The time, by `time.monotonic`.
            only_again: Whether clips that were never tried have to wait.

        Returns:
            The clip; None where there is none for this worker now.
        """

        def suits(weights: Weights) -> int:
            model, _ = weights
            needed = self._resources.get(model)
            return 1 if needed is None else 2 if needed == accelerator else 0

        def may_have(job: Job) -> bool:
            elsewhere = place in job.places and bool(others.difference(job.places))
            ready = job.not_before <= now and bool(suits(job.weights))
            return ready and not elsewhere and (empty or not job.alone)

        ready = [job for job in self._again if may_have(job)]
        if ready:
            job = min(ready, key=lambda job: (-job.clip.spec.priority, job.weights not in held))
            self._again.remove(job)
            return job
        clip = None if only_again else self._queue.take(held, busy, suits)
        return Job(clip) if clip is not None else None
