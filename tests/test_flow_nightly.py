"""The night on a real Prefect server: deployed, started by its schedule, and by hand."""

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from clips import small_manifest, tiny_overrides
from hypothesis import given
from hypothesis import strategies as st
from object_storage import free_port
from processes import wait_until

from flows.nightly import check_absolute, with_date
from tempprop.errors import InputError

ROOT = Path(__file__).parent.parent


@given(st.text())
def test_only_the_date_is_replaced(text):
    assert with_date(text, "2026-11-23") == text.replace("{date}", "2026-11-23")


def test_relative_paths_are_refused():
    check_absolute("/data/clips.parquet", "s3://studio/library")
    with pytest.raises(InputError, match=r"'library' is a relative path"):
        check_absolute("/data/clips.parquet", "library")


@pytest.fixture
def prefect(tmp_path):
    """A Prefect server and a process worker; gives a function that runs Prefect's commands."""
    port = free_port()
    environment = os.environ | {
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
    }

    def start(*arguments):
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        return subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )

    def run(*arguments):
        process = start(*arguments)
        assert process.wait(180) == 0, arguments

    def is_up():
        try:
            return httpx.get(f"{environment['PREFECT_API_URL']}/health").is_success
        except httpx.HTTPError:
            return False

    server = start("server", "start", "--port", str(port))
    worker = None
    try:
        wait_until(is_up)
        run("work-pool", "create", "tempprop", "--type", "process")
        worker = start("worker", "start", "--pool", "tempprop")
        yield run, environment["PREFECT_API_URL"]
    finally:
        for process in (worker, server):
            if process is not None:
                process.terminate()
                process.wait(60)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_deployment_runs_by_its_schedule(prefect, tiny_checkpoint, tmp_path):
    run, api = prefect
    today = dt.datetime.now(dt.UTC).date()
    manifest, out = small_manifest(tmp_path, 2), tmp_path / "library"
    for day in (today, today + dt.timedelta(days=1)):
        (tmp_path / f"clips-{day}.parquet").write_bytes(manifest.read_bytes())

    deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    (night,) = deployed["deployments"]
    night["schedules"] = [{"interval": 20, "active": True}]
    night["parameters"] |= {
        "manifest": str(tmp_path / "clips-{date}.parquet"),
        "out": str(out),
        "time_zone": "UTC",
        "overrides": [part for part in tiny_overrides(tiny_checkpoint) if part != "--set"],
    }
    file = tmp_path / "prefect.yaml"
    file.write_text(yaml.safe_dump(deployed))
    run("deploy", "--all", "--prefect-file", str(file))

    def scheduled_runs_that_completed():
        wanted = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
        runs = httpx.post(f"{api}/flow_runs/filter", json=wanted).json()
        return [flow_run for flow_run in runs if flow_run["auto_scheduled"]]

    wait_until(lambda: bool(scheduled_runs_that_completed()), 400)
    run("deployment", "schedule", "clear", "nightly/nightly", "--accept-yes")
    assert len(list((out / "records").glob("*.json"))) == 2
    assert scheduled_runs_that_completed()[0]["state"]["message"] == "all 2 clips are committed"
