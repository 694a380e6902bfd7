"""The night on a real Prefect server: by its schedule, by hand, and cancelled."""

import datetime as dt
import json
from pathlib import Path

import pytest
import yaml
from clips import card_overrides, small_manifest
from hypothesis import given
from hypothesis import strategies as st
from prefect_server import ROOT, prefect_server, prefect_worker
from processes import wait_until

from flows.nightly import check_absolute, with_date
from tempprop.errors import InputError


@given(st.text())
def test_only_the_date_is_replaced(text):
    assert with_date(text, "2026-11-23") == text.replace("{date}", "2026-11-23")


def test_relative_paths_are_refused():
    check_absolute("/data/clips.parquet", "s3://studio/library")
    with pytest.raises(InputError, match=r"'library' is a relative path"):
        check_absolute("/data/clips.parquet", "library")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("prefect")
    with prefect_server(directory) as server, prefect_worker(server, directory):
        yield server


def _deploy(server, directory, schedules, **parameters):
    """Deploy the product's own prefect.yaml, with the schedule and the parameters of a test."""
    deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    (night,) = deployed["deployments"]
    night["schedules"] = schedules
    night["parameters"] |= {"time_zone": "UTC"} | parameters
    file = directory / "prefect.yaml"
    file.write_text(yaml.safe_dump(deployed))
    server.run("deploy", "--all", "--prefect-file", str(file))


def _overrides(seconds: float) -> list[str]:
    return [part for part in card_overrides(seconds) if part != "--set"]


def _committed(out: Path) -> int:
    return len(list(out.glob("records/*.json")))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_night_that_is_cancelled_goes_on_when_it_is_run_again(server, tmp_path):
    out = tmp_path / "library-2026-11-20"
    _deploy(
        server,
        tmp_path,
        [],
        manifest=str(small_manifest(tmp_path, 6)),
        out=str(tmp_path / "library-{date}"),
        # A worker of Prefect takes up to ten seconds to hear of a cancellation.
        overrides=_overrides(seconds=6),
    )

    def run_by_hand():
        before = {run["id"] for run in server.flow_runs()}
        server.run("deployment", "run", "nightly/nightly", "--param", "date=2026-11-20")
        (run,) = [run for run in server.flow_runs() if run["id"] not in before]
        return run["id"]

    def state_of(run):
        return next(each["state"] for each in server.flow_runs() if each["id"] == run)

    cancelled = run_by_hand()
    wait_until(lambda: _committed(out) >= 1)
    server.run("flow-run", "cancel", cancelled)
    wait_until(lambda: state_of(cancelled)["type"] == "CANCELLED")
    wait_until(lambda: bool(list(out.glob("runs/*/summary.json"))))
    (summary,) = [json.loads(path.read_text()) for path in out.glob("runs/*/summary.json")]
    assert summary["interrupted"]
    assert 1 <= _committed(out) == summary["committed"] < 6

    again = run_by_hand()
    wait_until(lambda: state_of(again)["type"] in ("COMPLETED", "FAILED", "CRASHED"))
    assert state_of(again)["message"] == "all 6 clips are committed"
    assert _committed(out) == 6


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_deployment_runs_by_its_schedule(server, tmp_path):
    # After the runs by hand, which those by a schedule that are late would keep waiting.
    manifest, out = small_manifest(tmp_path, 2), tmp_path / "library"
    today = dt.datetime.now(dt.UTC).date()
    for day in (today, today + dt.timedelta(days=1)):
        (tmp_path / f"clips-{day}.parquet").write_bytes(manifest.read_bytes())
    _deploy(
        server,
        tmp_path,
        [{"interval": 20, "active": True}],
        manifest=str(tmp_path / "clips-{date}.parquet"),
        out=str(out),
        overrides=_overrides(seconds=0),
    )

    def completed_by_schedule():
        return [run for run in server.flow_runs("COMPLETED") if run["auto_scheduled"]]

    wait_until(lambda: bool(completed_by_schedule()), 400)
    server.run("deployment", "schedule", "clear", "nightly/nightly", "--accept-yes")
    assert _committed(out) == 2
    assert completed_by_schedule()[0]["state"]["message"] == "all 2 clips are committed"
