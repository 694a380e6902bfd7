"""Workers on a machine that says it has two GPUs: each is pinned to its own."""

import threading

import pytest
import ray
from clips import planned, tiny_config
from processes import wait_until

from cluster.dispatch import dispatch
from cluster.events import Committed
from cluster.layout import WorkerFactory, worker_layout
from cluster.session import ray_session
from tempprop.clip_queue import queue_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two_gpus():
    with ray_session(None, num_gpus=2):
        yield


def test_every_gpu_gets_a_worker(two_gpus, tiny_checkpoint):
    layout = worker_layout(tiny_config(tiny_checkpoint))
    assert (layout.num_workers, layout.num_gpus) == (2, 1)


def test_small_models_share_a_gpu(two_gpus, tiny_checkpoint):
    config = tiny_config(tiny_checkpoint)
    half = config.workers.model_copy(update={"num_gpus": 0.5})
    layout = worker_layout(config.model_copy(update={"workers": half}))
    assert (layout.num_workers, layout.num_gpus) == (4, 0.5)


def test_workers_on_gpus_render(two_gpus, tiny_checkpoint, tmp_path):
    config = tiny_config(tiny_checkpoint)
    clips = [planned(config, f"clip-{n}") for n in range(4)]
    factory = WorkerFactory(worker_layout(config), str(tmp_path), config, "run-1")
    results = [
        event.result
        for event in dispatch(queue_of(clips), factory, threading.Event())
        if isinstance(event, Committed)
    ]
    assert len(results) == 4
    wait_until(lambda: ray.available_resources().get("GPU") == 2)
