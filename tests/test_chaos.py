"""A night survives what kills its processes: the whole command, real signals, then a rerun."""

import os
import signal
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import Popen

import psutil
import pytest
from clips import card_overrides, small_manifest
from processes import rendering, wait_until, workers_of

from tempprop.catalog import read_catalog
from tempprop.store import iter_results, open_store

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

CLIPS = 12


def _running(manifest: Path, out: str) -> AbstractContextManager[Popen[str]]:
    return rendering(manifest, out, *card_overrides(seconds=1))


def _committed(out: str) -> int:
    records = Path(out, "records")
    return len(list(records.glob("*.json"))) if records.exists() else 0


def _finish(manifest: Path, out: str) -> str:
    with _running(manifest, out) as process:
        stdout, stderr = process.communicate(timeout=500)
        assert process.returncode == 0, stderr
    return stdout


def _assert_everything_is_committed_once(out: str) -> None:
    store = open_store(out)
    results = list(iter_results(store))
    assert Counter(result.clip_id for result in results) == {
        f"clip-{n:02}": 1 for n in range(CLIPS)
    }
    for result in results:
        assert Path(out, result.media.url).stat().st_size == result.media.bytes
    catalogued = read_catalog(store, ["key"])["key"].to_pylist()
    assert sorted(catalogued) == sorted(result.key for result in results)
    assert not list(Path(out).glob("failures/*.json"))
    assert not list(Path(out).rglob("*.partial*"))


def test_a_driver_that_is_killed_loses_nothing(tmp_path):
    manifest, out = small_manifest(tmp_path, CLIPS), str(tmp_path / "out")
    with _running(manifest, out) as process:
        wait_until(lambda: _committed(out) >= 3)
        descendants = psutil.Process(process.pid).children(recursive=True)
        assert {"flows.server", "raylet"} <= {
            Path(word).name for child in descendants for word in child.cmdline()
        }
        workers = workers_of(process.pid)
        process.kill()
        psutil.wait_procs(workers)
    before = _committed(out)
    assert 3 <= before < CLIPS
    stdout = _finish(manifest, out)
    assert f"{CLIPS - before} clips committed, 0 failed, 0 left" in stdout
    _assert_everything_is_committed_once(out)
    _, alive = psutil.wait_procs(descendants, timeout=180)
    assert not alive


def test_an_interrupt_stops_in_order(tmp_path):
    manifest, out = small_manifest(tmp_path, CLIPS), str(tmp_path / "out")
    with _running(manifest, out) as process:
        wait_until(lambda: _committed(out) >= 2)
        # As a terminal does it: the whole process group gets the signal.
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=200)
        assert process.returncode == 130, stderr
    assert "left" in stdout
    before = _committed(out)
    assert len(list(Path(out, "media").glob("*.mp4"))) == before
    assert "Traceback" not in stderr
