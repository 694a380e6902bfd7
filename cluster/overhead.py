"""How many clips a second the route takes when rendering takes no time.

``python -m cluster.overhead --clips 4000 --workers 2`` has workers that neither render nor encode:
they write a record about a media file that is there already. What is left is the work of the
dispatcher, of Ray, of the records and of the catalog.
"""

import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated

import ray
import typer

from cluster.dispatch import dispatch
from cluster.events import Committed
from cluster.layout import WorkerFactory, WorkerLayout
from cluster.session import ray_session
from cluster.worker import RenderWorker
from tempprop.catalog import write_catalog
from tempprop.clip_queue import ClipQueue, open_queue
from tempprop.manifest_writing import write_manifest
from tempprop.plan import plan_batch
from tempprop.planned_clip import PlannedClip
from tempprop.preflight import identify
from tempprop.spec import Attempt, ClipResult, Media, RenderConfig, StageSeconds, WorkerConfig
from tempprop.store import commit, committed_keys, iter_results, open_store

app = typer.Typer()

MEDIA = Media(
    url="media/none.mp4",
    poster_url="media/none.jpg",
    sha256="0" * 64,
    bytes=0,
    codec="h264",
    width=128,
    height=128,
    fps=8.0,
    num_frames=16,
    duration_seconds=2.0,
)
"""What all the records point to: nothing is uploaded."""


class IdleWorker(RenderWorker):
    """A worker that renders nothing, and commits a record all the same."""

    def _produce(self, clip: PlannedClip, failed_attempts: tuple[Attempt, ...]) -> ClipResult:
        result = self._result(
            clip,
            failed_attempts,
            MEDIA,
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
    with tempfile.TemporaryDirectory(prefix="tempprop-overhead-") as directory, ray_session(None):
        out = str(Path(directory) / "out")
        manifest = str(Path(directory) / "clips.parquet")
        write_manifest(({"clip_id": f"clip-{n}", "prompt": "p"} for n in range(clips)), manifest)
        plan = plan_batch(
            manifest,
            config,
            committed_keys=set(),
            identify=lambda model, loras: identify(config, model, loras),
            queue_path=Path(directory) / "queue.parquet",
        )
        factory = WorkerFactory(
            WorkerLayout(workers, 0, 1), out, config, "overhead", actor=IdleWorkerActor
        )
        with open_queue(plan) as queue:
            seconds = _time_of_dispatch(queue, factory)
        store = open_store(out)
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
