"""Models that need an accelerator of a certain type, on a cluster with several types."""

import threading
import time
from collections import defaultdict

import pytest
from pydantic import ValidationError
from ray_clusters import ray_cluster
from test_farm import committed, config_of, of, planned

from cluster.dispatch import Dispatcher, dispatch
from cluster.events import Committed, GaveOut
from cluster.layout import WorkerFactory, WorkerLayout, worker_layout
from cluster.pool import Worker
from cluster.process_tree import ProcessOnNode
from cluster.worker import Introduction
from tempprop.clip_queue import queue_of
from tempprop.config import load_config
from tempprop.spec import RenderConfig

SMALL, LARGE = "test-card?seconds=0.4", "test-card?seconds=0.2"


@pytest.fixture(scope="module")
def cluster():
    """One machine with an H100, and one with two L4."""
    machines = [
        {"num_gpus": gpus, "resources": {f"accelerator_type:{accelerator}": 1}}
        for accelerator, gpus in (("H100", 1), ("L4", 2))
    ]
    with ray_cluster(*machines) as cluster:
        yield cluster


def run(out, resources, clips=6, **workers):
    config = config_of(**workers).model_copy(update={"resources": resources})
    batch = [
        planned(config.model_copy(update={"model": model}), f"{name}-{n}")
        for name, model in (("small", SMALL), ("large", LARGE))
        for n in range(clips)
    ]
    factory = WorkerFactory(worker_layout(config), str(out), config, "run-1")
    return list(dispatch(queue_of(batch), factory, threading.Event()))


def workers_by_model(events):
    names = defaultdict(set)
    for event in of(events, Committed):
        names[event.result.clip_id.partition("-")[0]].add(event.result.hardware["worker"])
    return names


@pytest.mark.slow
def test_clips_go_where_they_can_be_rendered(cluster, tmp_path):
    events = run(tmp_path, {LARGE: "H100"})
    assert len(committed(events)) == 12
    names = workers_by_model(events)
    (h100,) = names["large"]
    assert names["small"] - {h100}, "the others render meanwhile"


@pytest.mark.slow
def test_one_worker_comes_up_where_its_clips_can_be_rendered(cluster, tmp_path):
    events = run(tmp_path, {LARGE: "L4", SMALL: "L4"}, clips=2, num_workers=1)
    assert len(committed(events)) == 4


@pytest.mark.slow
def test_a_run_whose_accelerator_is_not_there_renders_the_rest_and_ends_in_order(cluster, tmp_path):
    events = run(tmp_path, {LARGE: "B200"}, clips=2, capacity_timeout_seconds=15.0)
    assert committed(events) == ["small-0", "small-1"]
    (gave_out,) = of(events, GaveOut)
    assert "2 clips wait for an accelerator of the type B200" in gave_out.reason
    assert "`resources`" in gave_out.reason


def test_a_configuration_says_which_model_needs_which_accelerator(tmp_path):
    file = tmp_path / "night.yaml"
    file.write_text("model: mini\nresources:\n  black-forest-labs/FLUX.1-dev: H100\n")
    assert load_config(str(file)).resources == {"black-forest-labs/FLUX.1-dev": "H100"}
    with pytest.raises(ValidationError, match="pattern"):
        RenderConfig(resources={"mini": "two H100"})


def test_a_machine_that_gets_no_more_clips_is_not_waited_for(tmp_path):
    """The only H100 is set aside, and the L4 beside it has nothing to do."""
    config = config_of(capacity_timeout_seconds=1.0)
    config = config.model_copy(update={"resources": {config.model: "H100"}})
    factory = WorkerFactory(WorkerLayout(2, 1, 1), str(tmp_path), config, "run-1")
    dispatcher = Dispatcher(queue_of([planned(config, "clip")]), factory)
    for accelerator, set_aside in (("H100", True), ("L4", False)):
        process = ProcessOnNode(accelerator, 1, 0.0)
        who = Introduction(process, "node", gpu="0", accelerator=accelerator)
        worker = Worker(accelerator, None, None, who, set_aside=set_aside)
        dispatcher.pool.workers.append(worker)
    assert dispatcher.cannot_go_on() is None
    time.sleep(1.1)
    assert "1 clips wait for an accelerator of the type H100" in dispatcher.cannot_go_on()
