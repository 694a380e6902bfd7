"""Nights to be disturbed: test cards on three machines with two GPUs each, here as processes."""

import hashlib
import json
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import av
import psutil
import pytest
from processes import workers_of
from ray.cluster_utils import Cluster
from ray_clusters import add_machine, ray_cluster
from test_farm import config_of, planned

from cluster.dispatch import dispatch
from cluster.events import Committed, GivenUp, Progress, Retried
from cluster.layout import WorkerFactory, worker_layout
from tempprop.catalog import read_catalog, write_catalog
from tempprop.clip_queue import queue_of
from tempprop.objects import list_names
from tempprop.store import iter_failures, iter_results, open_store

MACHINES, GPUS = 3, 2
CLIPS = 24
TABLE = "TEMPPROP_CHAOS_TABLE"
"""Names a file to which each test adds a line about its fault, see `chaos_table.py`."""


@contextmanager
def three_machines() -> Iterator[Cluster]:
    """A cluster, with a directory of its own for temporary files, which is in TMPDIR meanwhile."""
    # Ray has its sockets there too, and the name of a socket is short.
    with (
        tempfile.TemporaryDirectory(prefix="tp-") as scratch,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("TMPDIR", scratch)
        with ray_cluster(*[{"num_gpus": GPUS}] * MACHINES) as cluster:
            yield cluster


def remove_machine(cluster: Cluster, index: int = 0) -> None:
    machines = sorted(cluster.worker_nodes, key=lambda machine: machine.node_id)
    cluster.remove_node(machines[index % len(machines)], allow_graceful=False)


def restore(cluster: Cluster) -> None:
    """Put back the machines that a test has taken away, and take away those that it added."""
    while len(cluster.worker_nodes) < MACHINES:
        add_machine(cluster, GPUS)
    while len(cluster.worker_nodes) > MACHINES:
        remove_machine(cluster)
    cluster.wait_for_nodes()


class Night:
    """A batch of test cards on the cluster.

    Args:
        out: Output directory.
        seconds: What a clip takes.
        deaths: Workers that a clip may outlive.
        clips: How many.
        workers: Settings of `WorkerConfig`.

    Attributes:
        events: What the dispatcher has told.
        struck_at: When faults struck, by `time.monotonic`.
    """

    def __init__(
        self,
        out: Path | str,
        seconds: float = 0.3,
        deaths: int = 2,
        clips: int = CLIPS,
        **workers: object,
    ) -> None:
        config = config_of(seconds=seconds, **workers)
        retries = config.retries.model_copy(update={"max_worker_deaths": deaths + 1})
        # Large enough that encoding takes a while.
        clip = config.clip.model_copy(update={"num_frames": 96, "width": 128, "height": 128})
        self.config = config.model_copy(update={"clip": clip, "retries": retries})
        self.out = Path(out)
        self.clips = [planned(self.config, f"clip-{n:02}") for n in range(clips)]
        self.events: list[object] = []
        self.struck_at: list[float] = []
        self._ended_at: dict[str, float] = {}

    def add(self, clip_id: str, **tags: str) -> None:
        self.clips.append(planned(self.config, clip_id, **tags))

    def run(self, react: Callable[["Night", object], None] = lambda night, event: None) -> "Night":
        """Render the clips; `react` is called for each event."""
        factory = WorkerFactory(worker_layout(self.config), str(self.out), self.config, "night")
        for event in dispatch(queue_of(self.clips), factory, threading.Event()):
            self.events.append(event)
            if isinstance(event, Committed):
                self._ended_at[event.result.clip_id] = time.monotonic()
            elif isinstance(event, GivenUp):
                self._ended_at[event.failure.clip_id] = time.monotonic()
            react(self, event)
        return self

    def struck(self) -> None:
        """Note that a fault strikes now."""
        self.struck_at.append(time.monotonic())

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    def check(self, fault: str, dead: Mapping[str, str] = {}) -> None:
        """Hold what was promised against what is in the output.

        Args:
            fault: What was done, for the table.
            dead: Clips that have to be dead letters, with the kind of the last error.
        """
        ended = Counter(event.result.clip_id for event in self.of(Committed))
        assert ended == {c.spec.clip_id: 1 for c in self.clips if c.spec.clip_id not in dead}
        given_up = {event.failure.clip_id: event.failure for event in self.of(GivenUp)}
        assert {name: failure.attempts[-1].kind for name, failure in given_up.items()} == dict(dead)
        records = check_output(self.out, set(ended))
        wait_for_no_workers()
        interrupted = {event.clip_id for event in self.of(Retried)}
        ends = [self._ended_at[clip] for clip in interrupted | set(dead)]
        add_to_table(
            fault,
            len(self.struck_at) or len(dead),
            lost=len(self.clips) - len(given_up) - len(records),
            duplicated=sum(ended.values()) - len(records),
            seconds=max(ends) - self.struck_at[-1] if ends and self.struck_at else None,
        )


def check_output(out: Path, clip_ids: set[str]) -> set[str]:
    """Make sure that the output holds these clips, each once and whole.

    Returns:
        The clip_ids of its records.
    """
    store = open_store(str(out))
    results = list(iter_results(store))
    assert sorted(result.clip_id for result in results) == sorted(clip_ids)
    for result in results:
        check_media(out / result.media.url, result.media.sha256, result.media.num_frames)
    # Who is killed in the middle of writing leaves a hidden file behind, which nobody reads.
    visible = {path.name for path in (out / "media").iterdir() if not path.name.startswith(".")}
    assert visible >= {Path(result.media.url).name for result in results}
    assert not [name for name in visible if name.endswith(".tmp")]
    assert list_names(store, "unfinished") == []
    if not list_names(store, "catalog"):
        write_catalog(store, "night", iter(results))
    catalogued = read_catalog(store, ["key"])["key"].to_pylist()
    assert sorted(catalogued) == sorted(result.key for result in results)
    assert not {failure.clip_id for failure in iter_failures(store)} & clip_ids
    return {result.clip_id for result in results}


def check_media(path: Path, sha256: str, num_frames: int) -> None:
    """Make sure that a media file is what its record says, and decodes to its end."""
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == num_frames


def add_to_table(
    fault: str, times: int, *, lost: int, duplicated: int, seconds: float | None
) -> None:
    if path := os.environ.get(TABLE):
        row = {"fault": fault, "times": times, "lost": lost, "duplicated": duplicated}
        with Path(path).open("a") as file:
            file.write(json.dumps(row | {"seconds": seconds}) + "\n")


def workers() -> list[psutil.Process]:
    """The render workers of this process's cluster."""
    return sorted(workers_of(os.getpid()), key=lambda process: process.pid)


def wait_for_no_workers(seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while workers() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not workers()


def at_work(event: object) -> bool:
    return isinstance(event, Progress) and len(event.clips) >= 3


def all_at_work(event: object) -> bool:
    """Every GPU has a clip that renders and one that waits: whoever is hit has something to lose."""
    return isinstance(event, Progress) and event.in_work >= 2 * MACHINES * GPUS


def once(
    action: Callable[[Night], None], condition: Callable[[object], bool] = at_work
) -> Callable[[Night, object], None]:
    """Do something the first time that a condition holds of an event."""

    def react(night: Night, event: object) -> None:
        if not night.struck_at and condition(event):
            night.struck()
            action(night)

    return react


@contextmanager
def hunting(hunt: Callable[[], bool]) -> Iterator[None]:
    """Call a function again and again in a thread of its own, until it returns True."""
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set() and not hunt():
            time.sleep(0.002)

    hunter = threading.Thread(target=go_on)
    hunter.start()
    try:
        yield
    finally:
        over.set()
        hunter.join()
