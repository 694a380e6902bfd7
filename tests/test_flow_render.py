"""The batch as Prefect shows it: states, artifacts and the log of a run, on a real server."""

import json
import threading
from pathlib import Path

import pytest
from clips import broken_checkpoint, card_overrides, small_manifest, tiny_overrides
from prefect import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from prefect.states import Cancelling
from prefect.testing.utilities import prefect_test_harness
from processes import wait_until

from flows.events import Planned, observed_by
from flows.render import render_batch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def server():
    with (
        prefect_test_harness(server_startup_timeout=120),
        temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: True}),
    ):
        yield


def _render(manifest: Path, out: Path, options: list[str]):
    overrides = [part for part in options if part != "--set"]
    return render_batch(
        manifest=str(manifest), out=str(out), overrides=overrides, return_state=True
    )


def _artifacts(flow_run_id):
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
        )
    return {artifact.key: artifact.data for artifact in found}


def _log(flow_run_id):
    with get_client(sync_client=True) as client:
        lines = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id])))
    return [line.message for line in lines]


def _committed(out: Path) -> int:
    return len(list(out.glob("records/*.json")))


def test_a_batch_completes_and_the_next_run_renders_nothing(tiny_checkpoint, tmp_path):
    manifest, out = small_manifest(tmp_path, 2), tmp_path / "out"
    state = _render(manifest, out, tiny_overrides(tiny_checkpoint))
    assert (state.name, state.message) == ("Completed", "all 2 clips are committed")
    assert _committed(out) == 2
    run = state.state_details.flow_run_id
    artifacts = _artifacts(run)
    assert artifacts["render-progress"] == 100.0
    table = {row["what"]: row["value"] for row in json.loads(artifacts["batch-summary"])}
    assert (table["total"], table["committed"], table["failed"]) == (2, 2, 0)

    def the_log_is_there():
        log = _log(run)
        return any(
            line.startswith(f"worker-1: loaded {tiny_checkpoint} (StableDiffusionPipeline)")
            for line in log
        )

    wait_until(the_log_is_there, 30)

    state = _render(manifest, out, tiny_overrides(tiny_checkpoint))
    assert state.is_completed()
    artifacts = _artifacts(state.state_details.flow_run_id)
    assert "render-progress" not in artifacts
    table = {row["what"]: row["value"] for row in json.loads(artifacts["batch-summary"])}
    assert (table["committed before"], table["committed"]) == (2, 0)


def test_a_batch_with_a_dead_letter_fails_and_shows_it(tiny_checkpoint, tmp_path):
    broken = broken_checkpoint(tiny_checkpoint, tmp_path / "broken")
    manifest, out = small_manifest(tmp_path, 2, model=str(broken)), tmp_path / "out"
    state = _render(manifest, out, tiny_overrides(tiny_checkpoint))
    assert (state.name, state.message) == ("Failed", "1 of 2 clips are dead letters")
    artifacts = _artifacts(state.state_details.flow_run_id)
    (letter,) = json.loads(artifacts["dead-letters"])
    assert (letter["clip_id"], letter["error"]) == ("clip-01", "NonFiniteLatentsError")
    assert _committed(out) == len(list(out.glob("failures/*.json"))) == 1


def test_a_batch_that_is_cancelled_stops_in_order_and_goes_on(tmp_path):
    manifest, out = small_manifest(tmp_path, 6), tmp_path / "out"

    def cancel():
        wait_until(lambda: _committed(out) >= 1)
        with get_client(sync_client=True) as client:
            (run,) = [run for run in client.read_flow_runs() if run.state.is_running()]
            client.set_flow_run_state(run.id, Cancelling(), force=True)

    person = threading.Thread(target=cancel)
    person.start()
    state = _render(manifest, out, card_overrides(seconds=3))
    person.join()
    before = _committed(out)
    assert 1 <= before < 6
    assert (state.name, state.message) == (
        "Cancelled",
        f"stopped, {6 - before} clips are left to render",
    )

    plans = []
    with observed_by(lambda event: plans.append(event) if isinstance(event, Planned) else None):
        assert _render(manifest, out, card_overrides(seconds=3)).is_completed()
    assert [planned.plan.pending for planned in plans] == [6 - before]
    assert _committed(out) == 6
