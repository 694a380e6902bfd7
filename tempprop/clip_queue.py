"""The clips that wait, as a queue for each priority, model and size.

A worker that holds a model goes on with the clips of that model as long as there are any of the
highest priority; a worker that holds none of them goes where there is most left to do for each
worker that is already there. So a model is loaded seldom, and nobody is idle at the end.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from tempprop.plan import Plan
from tempprop.planned_clip import PlannedClip, Weights, clip_cost
from tempprop.spec import ClipSpec, ModelIdentity

DUCKDB_MEMORY = "512MB"
"""Above this the sort of the queue spills to disk."""

ROWS_IN_MEMORY = 1024
"""Rows of each group that are read at a time."""


@dataclass
class ClipGroup:
    """Clips of one priority, model and size, the costliest first.

    Attributes:
        priority: Of all of them.
        weights: Of all of them.
        clips_left: How many have not been taken.
        cost_left: Their cost, see `tempprop.plan.clip_cost`.
        open: Starts to read them, when the first is wanted.
    """

    priority: int
    weights: Weights
    clips_left: int
    cost_left: int
    open: Callable[[], Iterator[PlannedClip]]
    _reader: Iterator[PlannedClip] | None = field(default=None, init=False)
    _next: PlannedClip | None = field(default=None, init=False)

    def peek(self) -> PlannedClip:
        """Look at the first clip that is left; there has to be one."""
        if self._reader is None:
            self._reader = self.open()
        if self._next is None:
            self._next = next(self._reader)
        return self._next

    def take(self) -> PlannedClip:
        """Take the first clip that is left; there has to be one."""
        clip, self._next = self.peek(), None
        self.clips_left -= 1
        self.cost_left -= clip_cost(clip.spec)
        return clip


class ClipQueue:
    """Clips that nobody has taken yet. Not for several threads at a time.

    Args:
        groups: In the order in which they are preferred where all else is equal.
    """

    def __init__(self, groups: Iterable[ClipGroup]) -> None:
        self._groups = [group for group in groups if group.clips_left]

    def __len__(self) -> int:
        """Count the clips that are left."""
        return sum(group.clips_left for group in self._groups)

    def peek(self, held: Sequence[Weights], busy: Counter[Weights]) -> PlannedClip | None:
        """Look at the clip that `take` would give."""
        group = self._choose(held, busy)
        return group.peek() if group is not None else None

    def take(
        self,
        held: Sequence[Weights],
        busy: Counter[Weights],
        suits: Callable[[Weights], int] = lambda weights: 1,
    ) -> PlannedClip | None:
        """Take the next clip for a worker.

        Args:
            held: Models that the worker has in memory, the one used last first.
            busy: How many workers are at work with each model.
            suits: How well the worker suits a model: 0 for not at all, and where it suits several,
                those that it suits best come first.

        Returns:
            The clip; None where there is none for this worker.
        """
        group = self._choose(held, busy, suits)
        if group is None:
            return None
        clip = group.take()
        if not group.clips_left:
            self._groups.remove(group)
        return clip

    def _choose(
        self,
        held: Sequence[Weights],
        busy: Counter[Weights],
        suits: Callable[[Weights], int] = lambda weights: 1,
    ) -> ClipGroup | None:
        allowed = [group for group in self._groups if suits(group.weights)]
        best = max(((group.priority, suits(group.weights)) for group in allowed), default=None)
        candidates = [group for group in allowed if (group.priority, suits(group.weights)) == best]
        for weights in held:
            for group in candidates:
                if group.weights == weights:
                    return group
        if not candidates:
            return None
        left: Counter[Weights] = Counter()
        for group in candidates:
            left[group.weights] += group.cost_left
        return max(candidates, key=lambda group: left[group.weights] / (1 + busy[group.weights]))


def queue_of(clips: Iterable[PlannedClip]) -> ClipQueue:
    """Make a queue of a few clips, in the order of `open_queue`."""

    def group_of(clip: PlannedClip) -> tuple[object, ...]:
        spec = clip.spec
        loras = [(lora.path, lora.weight) for lora in spec.loras]
        return (-spec.priority, spec.model, loras, spec.width, spec.height)

    ordered = sorted(clips, key=lambda clip: (group_of(clip), -clip_cost(clip.spec)))
    return ClipQueue(_group_of(list(members)) for _, members in groupby(ordered, group_of))


def _group_of(clips: list[PlannedClip]) -> ClipGroup:
    first = clips[0]
    cost = sum(clip_cost(clip.spec) for clip in clips)
    return ClipGroup(first.spec.priority, first.weights, len(clips), cost, lambda: iter(clips))


@contextmanager
def open_queue(plan: Plan) -> Iterator[ClipQueue]:
    """Sort the pending clips of a plan on disk, and read them as they are wanted.

    Higher priority comes first. Then come clips of the same weights and of the same size together,
    so that workers seldom change models and batches fill up; then the costliest, so that no long
    clip is left alone at the end; then the order of the manifest.

    Args:
        plan: What `tempprop.plan.plan_batch` returned; its file must still be there.

    Yields:
        The queue, which holds a few rows of each group in memory.
    """
    with tempfile.TemporaryDirectory(dir=plan.queue_path.parent) as directory:
        path = Path(directory) / "sorted.parquet"
        yield ClipQueue(list(_sorted_groups(plan.queue_path, path)))


def _sorted_groups(unsorted: Path, path: Path) -> Iterator[ClipGroup]:
    spill = str(path.parent)
    with duckdb.connect(
        # Several threads would each hold row groups of their own.
        config={"memory_limit": DUCKDB_MEMORY, "temp_directory": spill, "threads": 1}
    ) as connection:
        connection.read_parquet(str(unsorted)).create_view("queue")
        connection.sql(
            """
            SELECT * FROM queue
            ORDER BY priority DESC, "group", width, height, cost DESC, position
            """
        ).write_parquet(str(path), row_group_size=ROWS_IN_MEMORY)
        groups = connection.sql(
            """
            SELECT priority, count(*), sum(cost)::BIGINT FROM queue
            GROUP BY priority, "group", width, height
            ORDER BY priority DESC, "group", width, height
            """
        ).fetchall()
    first = 0
    for priority, count, cost in groups:
        reader = _Rows(path, first, count)
        weights = next(iter(reader)).weights
        yield ClipGroup(priority, weights, count, cost, reader.__iter__)
        first += count


@dataclass(frozen=True)
class _Rows:
    """So many rows of the sorted queue, from one on."""

    path: Path
    first: int
    count: int

    def __iter__(self) -> Iterator[PlannedClip]:
        columns = ["key", "spec_json", "identity_json", "init_image_sha256"]
        with pq.ParquetFile(self.path) as file:
            start = 0
            for index in range(file.num_row_groups):
                rows = file.metadata.row_group(index).num_rows
                low = max(self.first, start)
                high = min(self.first + self.count, start + rows)
                if low < high:
                    table = file.read_row_group(index, columns).slice(low - start, high - low)
                    yield from map(_planned, table.to_pylist())
                start += rows


def _planned(row: dict[str, str]) -> PlannedClip:
    spec = ClipSpec.model_validate_json(row["spec_json"])
    return PlannedClip(row["key"], spec, _identity(row["identity_json"]), row["init_image_sha256"])


@cache
def _identity(text: str) -> ModelIdentity:
    return ModelIdentity.model_validate_json(text)
