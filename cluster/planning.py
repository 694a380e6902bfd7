"""What it takes to plan a batch of any size: time and memory, without a cluster.

``python -m cluster.planning --clips 1000000`` writes a manifest of so many rows, commits records of
its first clips, and then does what a batch does before the first clip is rendered. Memory is the
peak of what is resident of this process alone, and is told as its growth since before the first
stage: Python, and the libraries that are imported by then, do not count.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer

from cluster.rehearsal import made_up_result, write_made_up_manifest
from tempprop.clip_queue import open_queue
from tempprop.config import load_config
from tempprop.manifest import read_clips
from tempprop.plan import Plan, plan_batch
from tempprop.planned_clip import PlannedClip
from tempprop.preflight import check_batch, identify
from tempprop.spec import RenderConfig, clip_key
from tempprop.store import commit, committed_keys, open_store
from tempprop.studies.peak_memory import forget_peak, peak_bytes

CONFIG = "mini"
"""The embedded model, which needs no download."""

HOST = torch.device("cpu")
"""Whose memory is watched. `ru_maxrss` of getrusage will not do, since a process inherits the peak
of the one that started it."""

app = typer.Typer()


@dataclass(frozen=True)
class Stage:
    """One step on the way from rows to the first clip.

    Attributes:
        name: What was done.
        seconds: How long it took, by the clock on the wall.
        growth: Bytes by which the peak of the resident memory has grown since before the first
            stage. A stage that stays below the peak of those before it leaves this as it was.
    """

    name: str
    seconds: float
    growth: int


class Stages:
    """The stages as they go by, with the peak of the memory watched since the first."""

    def __init__(self) -> None:
        self.ended: list[Stage] = []
        forget_peak(HOST)
        self._peak_before = peak_bytes(HOST)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what a `with` block does."""
        started = time.monotonic()
        yield
        seconds = time.monotonic() - started
        self.ended.append(Stage(name, seconds, peak_bytes(HOST) - self._peak_before))


def measure_planning(
    clips: int, committed: int, directory: Path
) -> tuple[list[Stage], Plan, PlannedClip | None]:
    """Go from rows to the first clip of the queue, and measure each stage.

    Args:
        clips: Rows of the manifest.
        committed: How many of them, from the first on, are in the output already.
        directory: Where manifest, output and queue are written.

    Returns:
        The stages in their order, the plan, and the clip that a worker would get first.
    """
    config = load_config(CONFIG, [])
    store = open_store(str(directory / "out"))
    stages = Stages()
    with stages.stage("write the manifest"):
        manifest = write_made_up_manifest(clips, directory / "clips.parquet")
    with stages.stage("commit records"):
        for clip in _first_clips(manifest, config, committed):
            commit(store, made_up_result(clip, config))
    with stages.stage("validate"):
        check_batch(manifest, store.uri, config)
    with stages.stage("plan"):
        plan = plan_batch(
            manifest,
            config,
            committed_keys=committed_keys(store),
            identify=partial(identify, config),
            queue_path=directory / "queue.parquet",
        )
    with ExitStack() as stack:
        with stages.stage("queue"):
            queue = stack.enter_context(open_queue(plan))
        with stages.stage("take the first clip"):
            first = queue.take((), Counter())
    return stages.ended, plan, first


def _first_clips(manifest: str, config: RenderConfig, count: int) -> Iterator[PlannedClip]:
    for spec in read_clips(manifest, config, limit=count):
        identity = identify(config, spec.model, spec.loras)
        yield PlannedClip(clip_key(spec, config, identity), spec, identity)


@app.command()
def planning(
    clips: Annotated[int, typer.Option(min=1, help="Rows of the manifest.")] = 1_000_000,
    committed: Annotated[int, typer.Option(min=1, help="Clips that are there already.")] = 1000,
) -> None:
    """Measure validating, planning and queueing a manifest."""
    with tempfile.TemporaryDirectory(prefix="tempprop-planning-") as directory:
        stages, plan, first = measure_planning(clips, committed, Path(directory))
    for stage in stages:
        _print_line(stage.name, stage.seconds, stage.growth)
    _print_line("in total", sum(stage.seconds for stage in stages), stages[-1].growth)
    print(
        f"{plan.total:,} clips, {plan.committed:,} committed before, {plan.pending:,} queued, "
        f"the first of them {first.spec.clip_id if first else 'none'}"
    )


def _print_line(name: str, seconds: float, growth: int) -> None:
    print(f"{name:<20} {seconds:8.2f} s   peak grown by {growth / 1e6:6,.0f} MB")


if __name__ == "__main__":
    app()
