"""A cluster of two machines, here two addresses: head, worker node and driver are processes apart.

With a token, as Ray wants it; the output is in S3.
"""

import os
import secrets
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clips import small_manifest
from object_storage import free_port
from test_cluster_files import CARDS, ROOT

from tempprop.catalog import read_catalog
from tempprop.store import iter_results, open_store

pytestmark = [pytest.mark.slow, pytest.mark.s3, pytest.mark.timeout(400)]

RAY = Path(sysconfig.get_path("scripts")) / "ray"
CLIPS = 40
"""Forty seconds for one machine: the other has joined by then."""
SLOW_CARDS = ["--set", "model=test-card?seconds=1"]


@contextmanager
def node(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen]:
    # By default all agents of a computer want the same port, and without it take no jobs.
    agent = f"--dashboard-agent-listen-port={free_port()}"
    command = [RAY, "start", "--block", "--num-cpus=2", "--num-gpus=1", agent, *arguments]
    process = subprocess.Popen(
        [*command, "--object-store-memory=100000000", "--disable-usage-stats"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        for line in process.stdout:
            if "Ray runtime started" in line:
                break
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture
def cluster(s3_uri, tmp_path):
    """The environment of a driver, and the address of a head that has a second node."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment = dict(os.environ) | token | {"PYTHONPATH": str(ROOT)}
    port, dashboard = free_port(), free_port()
    address = f"127.0.0.1:{port}"
    head = ("--head", "--node-ip-address=127.0.0.1", f"--port={port}")
    dashboard_options = ("--include-dashboard=true", f"--dashboard-port={dashboard}")
    with (
        node(environment, *head, *dashboard_options),
        node(environment, f"--address={address}", "--node-ip-address=127.0.0.2"),
    ):
        yield environment, address, f"http://127.0.0.1:{dashboard}"


def run(command, environment, directory):
    return subprocess.run(
        [str(word) for word in command],
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )


def test_two_machines_share_a_batch(cluster, s3_uri, tmp_path):
    environment, address, dashboard = cluster
    manifest = small_manifest(tmp_path, CLIPS)
    render = [sys.executable, "-m", "flows.cli", "render", manifest, "--out", s3_uri]

    stranger = environment | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    refused = run([*render, *CARDS, "--ray-address", address], stranger, tmp_path)
    assert refused.returncode == 2, refused.stderr
    assert "RAY_AUTH_TOKEN" in refused.stderr

    done = run([*render, *CARDS, *SLOW_CARDS, "--ray-address", address], environment, tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{CLIPS} clips committed, 0 failed, 0 left" in done.stdout
    store = open_store(s3_uri)
    results = list(iter_results(store))
    assert sorted(result.clip_id for result in results) == [f"clip-{n:02}" for n in range(CLIPS)]
    assert {result.hardware["worker"] for result in results} == {"worker-1", "worker-2"}
    assert len(read_catalog(store, ["key"])) == CLIPS

    # The same as a job of the cluster, by its dashboard: nothing is left to render.
    submit = [RAY, "job", "submit", "--address", dashboard, "--"]
    again = run([*submit, *render, *CARDS, "--ray-address", "auto"], environment, tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{CLIPS} clips, {CLIPS} committed before, 0 to render" in again.stdout + again.stderr
