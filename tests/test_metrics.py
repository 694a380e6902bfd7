"""What Prometheus finds on a node while a batch is rendered, and a dashboard that asks for it."""

import json
import re
import threading
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
import ray
from object_storage import free_port
from processes import wait_until
from test_farm import config_of, planned

from cluster.dispatch import dispatch
from cluster.events import Committed
from cluster.layout import WorkerFactory, WorkerLayout
from cluster.metrics import COUNTERS, GAUGES
from tempprop.clip_queue import queue_of

DASHBOARD = Path(__file__).parent.parent / "cluster" / "grafana.json"
EXPORTED = {f"ray_{name}_total" for name in COUNTERS} | {f"ray_{name}" for name in GAUGES}


def test_the_dashboard_asks_for_what_there_is():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"ray_tempprop_\w+", target["expr"])
    }
    assert asked == EXPORTED
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.slow
def test_a_batch_is_seen_by_prometheus(tmp_path):
    port = free_port()
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100_000_000,
        log_to_driver=False,
        _metrics_export_port=port,
    )

    def scraped():
        with closing(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics")) as answer:
            text = answer.read().decode()
        lines = re.findall(r"^(ray_tempprop_\w+)\{(.*?)\} (\S+)$", text, re.MULTILINE)
        return {(name, _tag(tags)): float(value) for name, tags, value in lines}

    expected = {
        ("ray_tempprop_clips_total", "committed"): 4,
        ("ray_tempprop_clips_total", "dead letter"): 1,
        ("ray_tempprop_failed_attempts_total", "unknown"): 2,
        ("ray_tempprop_frames_total", None): 8,
        ("ray_tempprop_clips_waiting", None): 0,
    }
    try:
        config = config_of(seconds=0.2)
        clips = [planned(config, f"clip-{n}") for n in range(4)]
        clips.append(planned(config, "bad", fault="error"))
        factory = WorkerFactory(WorkerLayout(1, 0, 1), str(tmp_path), config, "run-1")
        events = list(dispatch(queue_of(clips), factory, threading.Event()))
        assert sum(isinstance(event, Committed) for event in events) == 4
        # They are exported every few seconds, the last ones after the end.
        wait_until(lambda: expected.items() <= scraped().items(), 60)
        found = scraped()
    finally:
        ray.shutdown()
    assert found["ray_tempprop_stage_seconds_total", "denoise"] >= 0.8
    names = {name for name, _ in found}
    assert EXPORTED - names == {"ray_tempprop_quarantined_workers_total"}, "nothing was broken"


def _tag(tags):
    found = dict(re.findall(r'(\w+)="(.*?)"', tags))
    return next((found[name] for name in ("state", "kind", "stage") if name in found), None)
