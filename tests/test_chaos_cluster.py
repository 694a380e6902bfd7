"""Three machines with two GPUs each, and what happens to machines at night.

Whatever is done to them: every clip is committed once or is a dead letter with the right kind, its
media decode to the end and are what the record says, and nothing is left running or lying around.
"""

import os
import random
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nights import (
    GPUS,
    MACHINES,
    Night,
    all_at_work,
    hunting,
    once,
    remove_machine,
    restore,
    three_machines,
    workers,
)
from ray_clusters import add_machine

from cluster.events import Committed, Progress, Quarantined, Retried
from cluster.worker import TEMPORARY_PREFIX

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(300)]


LONG = {"seconds": 2.0, "clips": 40}
"""A night in which all workers are up, however slowly they start, before its clips run out."""


@pytest.fixture(scope="module")
def cluster():
    with three_machines() as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def whole_cluster(cluster):
    yield
    restore(cluster)


def send(processes, number) -> None:
    """Send a signal to those of the processes that are still there."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def test_a_quiet_night(cluster, tmp_path):
    night = Night(tmp_path).run()
    night.check("none")
    places = {event.result.hardware["worker"] for event in night.of(Committed)}
    assert 1 < len(places) <= MACHINES * GPUS


def test_a_worker_is_killed_while_it_renders(cluster, tmp_path):
    night = Night(tmp_path, **LONG)
    night.run(once(lambda night: workers()[0].kill(), all_at_work))
    night.check("kill -9 of a worker that renders")
    assert {event.attempt.kind for event in night.of(Retried)} == {"worker death"}


def test_workers_are_killed_while_they_encode(cluster, tmp_path):
    scratch, killed = Path(os.environ["TMPDIR"]), []
    # All three may hit the same clip.
    night = Night(tmp_path, deaths=3)

    def hunt():
        """Kill whoever has begun a media file, three times."""
        for directory in scratch.glob(f"{TEMPORARY_PREFIX}*"):
            pid = int(directory.name.removeprefix(TEMPORARY_PREFIX).partition("-")[0])
            # A worker may have died with an earlier one, or be done with the file by now.
            with suppress(ProcessLookupError, FileNotFoundError):
                if pid not in killed and any(directory.rglob("*.mp4")):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    night.struck()
        return len(killed) >= 3

    with hunting(hunt):
        night.run()
    assert len(killed) >= 3
    night.check("kill -9 of workers that encode")
    owners = {path.name.split("-")[2] for path in scratch.glob(f"{TEMPORARY_PREFIX}*")}
    assert owners <= {str(pid) for pid in killed}, "workers that start remove those of dead ones"


def test_workers_are_killed_between_the_media_and_the_record(cluster, tmp_path):
    night, killed = Night(tmp_path, seconds=0.1), []

    def hunt():
        """Stop all workers when a media file is there, and kill them if its record is not."""
        for path in (tmp_path / "media").glob("*.mp4"):
            key = path.name.split(".")[1]
            if not list((tmp_path / "records").glob(f"{key}*.json")):
                victims = workers()
                send(victims, signal.SIGSTOP)
                if not list((tmp_path / "records").glob(f"{key}*.json")):
                    night.struck()
                    killed.extend(victims)
                    send(victims, signal.SIGKILL)
                    return True
                send(victims, signal.SIGCONT)
        return False

    with hunting(hunt):
        night.run()
    assert killed
    # Each GPU has lost one worker: the machines share a host name here, and are told apart.
    assert not night.of(Quarantined)
    night.check("kill -9 between the media and the record")


def test_a_machine_is_lost_with_its_clips(cluster, tmp_path):
    night = Night(tmp_path, **LONG)
    night.run(once(lambda night: remove_machine(cluster), all_at_work))
    night.check("loss of a machine")
    kinds = {event.attempt.kind for event in night.of(Retried)}
    # Ray may tell of the death of the process before it knows of the machine's.
    assert kinds
    assert kinds <= {"infrastructure", "worker death"}


def test_a_machine_joins_and_gets_work(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("cluster.pool.LOOK_AGAIN_SECONDS", 1.0)
    night = Night(tmp_path, seconds=4.0, clips=48).run(
        once(lambda night: add_machine(cluster, GPUS))
    )
    night.check("a machine joins")
    assert max(event.workers for event in night.of(Progress)) > MACHINES * GPUS


def test_a_worker_is_stopped_and_does_not_answer(cluster, tmp_path):
    night = Night(tmp_path, **LONG, heartbeat_seconds=3.0)
    night.run(once(lambda night: workers()[0].suspend(), all_at_work))
    night.check("SIGSTOP of a worker")
    (attempt, *_) = (event.attempt for event in night.of(Retried))
    assert (attempt.kind, attempt.error_class) == ("worker death", "WorkerHungError")
    assert "has not answered" in attempt.message


def test_clips_that_fail_in_every_way(cluster, tmp_path):
    # On busy cores the slowest clip may be slow, and ten times as long is long to wait.
    timeouts = {"clip_timeout_seconds": 10.0, "clip_timeout_factor": 3.0}
    night = Night(tmp_path, deaths=1, first_clip_timeout_seconds=20.0, **timeouts)
    dead = {
        "error": "unknown",
        "memory": "out of memory",
        "exit": "worker death",
        "kill": "worker death",
        "hang": "worker death",
    }
    for fault in dead:
        night.add(fault, fault=fault)
    night.run().check("clips that raise, exhaust memory, exit, kill and hang", dead)


@settings(
    max_examples=2,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(st.integers(1, 20), st.sampled_from(["kill", "stop", "lose", "join"])),
        min_size=1,
        max_size=4,
    ),
    st.randoms(use_true_random=False),
)
def test_any_schedule_of_faults(cluster, faults, chance: random.Random):
    """Faults come when so many clips are committed, in any order and any number."""

    def strike(fault):
        alive = workers()
        if fault == "join":
            add_machine(cluster, GPUS)
        elif fault == "lose" and len(cluster.worker_nodes) > 1:
            remove_machine(cluster, chance.randrange(MACHINES))
        elif alive and fault in ("kill", "stop"):
            send([chance.choice(alive)], signal.SIGKILL if fault == "kill" else signal.SIGSTOP)

    waiting = sorted(faults)

    def react(night, event):
        while waiting and len(night.of(Committed)) >= waiting[0][0]:
            strike(waiting.pop(0)[1])
            night.struck()

    with tempfile.TemporaryDirectory() as out:
        Night(out, deaths=4, heartbeat_seconds=3.0).run(react).check("random schedules of these")
