"""Drivers that are killed, told to stop, or not alone, on three machines with two GPUs each."""

import json
import os
import random
import signal
import time
from collections import Counter

import psutil
import pytest
from nights import add_to_table, check_output, three_machines
from prefect_server import prefect_server
from processes import rendering, wait_until

from tempprop.manifest_writing import write_manifest

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(500)]

CLIPS = 40
DEATHS = 10
LONGEST_LIFE_SECONDS = 16.0
"""A driver is up in about eight, and needs about as many for the clips."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster and a Prefect server: drivers that share them start in half the time."""
    with (
        three_machines() as cluster,
        prefect_server(tmp_path_factory.mktemp("prefect")) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("PREFECT_API_URL", server.url)
        yield cluster


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "clips.parquet"
    write_manifest(({"clip_id": f"clip-{n:02}", "prompt": "p"} for n in range(CLIPS)), str(path))
    return path


def driver(cluster, manifest, out, *settings):
    values = {
        "model": "test-card?seconds=0.5",
        "workers.canary": "false",
        "workers.torch_threads": 1,
        "clip.width": 64,
        "clip.height": 64,
        "clip.num_frames": 24,
    }
    overrides = [f"{key}={value}" for key, value in values.items()]
    parts = [part for override in (*overrides, *settings) for part in ("--set", override)]
    return rendering(manifest, out, "--ray-address", cluster.address, *parts)


def run_to_its_end(process, code=0):
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == code, stdout + stderr
    return stdout


def committed(out):
    return len(list(out.glob("records/*.json")))


def check(out, fault, times, seconds):
    names = {f"clip-{n:02}" for n in range(CLIPS)}
    records = check_output(out, names)
    summaries = [json.loads(path.read_text()) for path in out.glob("runs/*/summary.json")]
    duplicated = len(list(out.glob("records/*.json"))) - len(records)
    assert max(summary["total"] for summary in summaries) == CLIPS
    add_to_table(fault, times, lost=CLIPS - len(records), duplicated=duplicated, seconds=seconds)


def test_a_driver_is_killed_at_ten_random_instants(cluster, manifest, tmp_path):
    out, seed = tmp_path / "out", random.randrange(2**32)
    print("seed", seed)
    chance, killed, before = random.Random(seed), 0, 0
    for _ in range(DEATHS):
        with driver(cluster, manifest, out) as process:
            time.sleep(chance.uniform(1.0, LONGEST_LIFE_SECONDS))
            if process.poll() is None:
                process.kill()
                killed += 1
        assert committed(out) >= before, "nothing that was committed is lost"
        before = committed(out)
    started = time.monotonic()
    with driver(cluster, manifest, out) as process:
        run_to_its_end(process)
    check(out, "kill -9 of the driver", killed, time.monotonic() - started)


def test_two_drivers_at_once_commit_each_clip_once(cluster, manifest, tmp_path):
    out = tmp_path / "out"
    with (
        driver(cluster, manifest, out, "workers.num_workers=2") as one,
        driver(cluster, manifest, out, "workers.num_workers=2") as other,
    ):
        run_to_its_end(one)
        run_to_its_end(other)
    check(out, "two drivers at once", 1, None)
    media = Counter(path.name.split(".")[0] for path in out.glob("media/*.mp4"))
    assert set(media.values()) == {1}, "both have made the same bytes"


def test_a_driver_that_is_told_to_stop_ends_in_order(cluster, manifest, tmp_path):
    out = tmp_path / "out"
    with driver(cluster, manifest, out) as process:
        wait_until(lambda: committed(out) >= 3)
        # As schedulers do it: the whole process group gets the signal.
        os.killpg(process.pid, signal.SIGTERM)
        stdout = run_to_its_end(process, 130)
    assert "left" in stdout
    before = committed(out)
    assert 3 <= before < CLIPS
    started = time.monotonic()
    with driver(cluster, manifest, out) as process:
        run_to_its_end(process)
    check(out, "SIGTERM to the driver", 1, time.monotonic() - started)
    orphans = [p for p in psutil.process_iter() if str(out) in " ".join(_command_of(p))]
    assert not orphans


def _command_of(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []
