"""How many clips a second the route takes when rendering takes no time.

``python -m cluster.overhead --clips 4000 --workers 2`` has workers that neither render nor encode:
they write a record about a media file that is there already. What is left is the work of the
dispatcher, of Ray, of the records and of the catalog.
"""

import threading
import time
from typing import Annotated

import ray
import typer

from cluster.dispatch import dispatch
from cluster.events import Committed
from cluster.layout import WorkerFactory, WorkerLayout
from cluster.rehearsal import MEDIA, rehearsal
from cluster.session import ray_session
from cluster.worker import RenderWorker
from tempprop.catalog import write_catalog
from tempprop.clip_queue import ClipQueue
from tempprop.planned_clip import PlannedClip
from tempprop.spec import Attempt, ClipResult, RenderConfig, StageSeconds, WorkerConfig
from tempprop.store import commit, committed_keys, iter_results, open_store

app = typer.Typer()


class IdleWorker(RenderWorker):
    """A worker that renders nothing, and commits a record all the same."""

    def _produce(self, clip: PlannedClip, failed_attempts: tuple[Attempt, ...]) -> ClipResult:
        result = self._result(
            clip,
            failed_attempts,
            MEDIA,
            provenance=None,
            quality={},
            seconds=StageSeconds(),
            frames_per_batch=1,
        )
        return commit(self._store, result)


IdleWorkerActor = ray.remote(IdleWorker)


@app.command()
def overhead(
    clips: Annotated[int, typer.Option(min=1, help="How many.")] = 4000,
    workers: Annotated[int, typer.Option(min=1, help="Processes that write records.")] = 2,
) -> None:
    """Measure the route without rendering, with an output on a local disk."""
    workers_config = WorkerConfig(num_workers=workers, canary=False)
    config = RenderConfig(model="test-card", workers=workers_config)
    with rehearsal(clips, config) as batch, ray_session(None):
        factory = WorkerFactory(
            WorkerLayout(workers, 0, 1), batch.out, config, "overhead", actor=IdleWorkerActor
        )
        seconds = _time_of_dispatch(batch.queue, factory)
        store = open_store(batch.out)
        started = time.monotonic()
        write_catalog(store, "overhead", iter_results(store, committed_keys(store)))
        cataloguing = time.monotonic() - started
    print(
        f"{clips} clips by {workers} workers: {clips / (seconds + cataloguing):.0f} clips/s "
        f"(dispatch and records {clips / seconds:.0f}/s, catalog {clips / cataloguing:.0f}/s)"
    )


def _time_of_dispatch(queue: ClipQueue, factory: WorkerFactory) -> float:
    """Time from the first record to the last: workers take seconds to start."""
    first = last = 0.0
    for event in dispatch(queue, factory, threading.Event()):
        if isinstance(event, Committed):
            last = time.monotonic()
            first = first or last
    return last - first


if __name__ == "__main__":
    app()
