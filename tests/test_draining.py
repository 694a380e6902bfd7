"""Machines that are about to be taken away: their clips go on elsewhere from where they were."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from clips import planned, tiny_config
from processes import wait_until, workers_of
from ray_clusters import add_machine, ray_cluster

from cluster.dispatch import dispatch
from cluster.events import Committed, Progress, Retried
from cluster.layout import WorkerFactory, WorkerLayout
from tempprop.clip_queue import queue_of
from tempprop.store import open_store, read_result
from tempprop.unfinished import unfinished_keys

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(300)]

FRAMES = 32


@pytest.fixture(scope="module")
def cluster():
    """A head without GPUs, and a machine with one."""
    with ray_cluster({"num_gpus": 1}) as cluster:
        yield cluster


def well_begun(event):
    return isinstance(event, Progress) and event.clips.get("long", 0) > 0.35


@pytest.fixture
def rendered(tiny_checkpoint, tmp_path):
    """Renders one long clip, and does something when a third of it is done, and afterwards."""

    def render(action, afterwards=lambda: None):
        config = tiny_config(tiny_checkpoint, steps=60, frames_per_batch=4)
        clip = planned(config, "long", num_frames=FRAMES)
        factory = WorkerFactory(WorkerLayout(1, 1, 1), str(tmp_path), config, "run-1")
        events = []
        # Beside the dispatcher, which asks the worker meanwhile whether it has to go.
        beside = threading.Thread(target=action)
        for event in dispatch(queue_of([clip]), factory, threading.Event()):
            events.append(event)
            if not beside.ident and well_begun(event):
                beside.start()
            if isinstance(event, Retried):
                afterwards()
        beside.join()
        store = open_store(str(tmp_path))
        assert unfinished_keys(store) == set()
        return events, read_result(store, clip.key)

    return render


def assert_it_went_on(events, record):
    assert len([event for event in events if isinstance(event, Committed)]) == 1
    (retried,) = [event for event in events if isinstance(event, Retried)]
    assert retried.attempt.kind == "preempted"
    kept = int(retried.attempt.message.rpartition("; ")[2].split()[0])
    assert FRAMES / 8 <= kept < FRAMES
    assert record.failed_attempts == (retried.attempt,)
    assert record.media.num_frames == FRAMES
    after = events.index(retried)
    shares = [e.clips["long"] for e in events[after:] if isinstance(e, Progress) and e.clips]
    # Where little was left, it was rendered between two reports.
    assert min(shares, default=1.0) >= kept / FRAMES, "no frame is rendered twice"


def test_a_worker_that_gets_sigterm_hands_its_clip_over(cluster, rendered):
    def terminate():
        (worker,) = workers_of(os.getpid())
        os.kill(worker.pid, signal.SIGTERM)

    assert_it_went_on(*rendered(terminate))


def test_a_machine_that_ray_drains_hands_its_clip_over(cluster, rendered):
    (machine,) = cluster.worker_nodes

    def drain():
        subprocess.run(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "drain-node"),
                *("--address", cluster.address, "--node-id", machine.node_id),
                *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"),
                *("--deadline-remaining-seconds", "60"),
            ],
            check=True,
            capture_output=True,
        )

    events, record = rendered(drain, lambda: add_machine(cluster))
    assert_it_went_on(events, record)
    wait_until(lambda: not workers_of(os.getpid()), 60)
