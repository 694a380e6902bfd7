"""What the farm does about clips, workers and GPUs that fail: real Ray, and test cards."""

import os
import signal
import threading
import time

import psutil
import pytest
import ray
from processes import wait_until

from cluster.dispatch import dispatch
from cluster.events import Committed, GaveOut, GivenUp, Quarantined, WorkerLog
from cluster.layout import WorkerFactory, WorkerLayout, worker_layout
from cluster.session import ray_session
from cluster.worker import RenderWorker
from tempprop.clip_queue import queue_of
from tempprop.planned_clip import PlannedClip
from tempprop.preflight import identify
from tempprop.spec import ClipSettings, ClipSpec, RenderConfig, RetryConfig, WorkerConfig, clip_key
from tempprop.store import open_store, read_result
from tempprop.test_card import FAULT_VARIABLE

pytestmark = pytest.mark.slow

GPUS = 3
BROKEN = "1"
RETRIES = RetryConfig(max_attempts=2, max_worker_deaths=2)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FAULT_VARIABLE, f"nan@{BROKEN}")
        with ray_session(None, num_gpus=GPUS):
            yield


def config_of(seconds=0.0, **workers):
    return RenderConfig(
        model=f"test-card?seconds={seconds}" if seconds else "test-card",
        clip=ClipSettings(width=32, height=32, num_frames=2),
        workers=WorkerConfig(torch_threads=1, **({"canary": False} | workers)),
        retries=RETRIES,
    )


def planned(config, clip_id, **tags):
    spec = ClipSpec(
        clip_id=clip_id, prompt="p", seed=1, model=config.model, tags=tags, **dict(config.clip)
    )
    identity = identify(config, spec.model, ())
    return PlannedClip(clip_key(spec, config, identity), spec, identity)


def run(config, clips, out, layout=None):
    factory = WorkerFactory(layout or WorkerLayout(1, 0, 1), str(out), config, "run-1")
    return list(dispatch(queue_of(clips), factory, threading.Event()))


def of(events, kind):
    return [event for event in events if isinstance(event, kind)]


def committed(events):
    return sorted(event.result.clip_id for event in of(events, Committed))


@pytest.mark.parametrize(
    ("fault", "kind", "attempts"),
    [
        ("error", "unknown", 2),
        ("memory", "out of memory", 2),
        ("nan", "unknown", 2),
        ("exit", "worker death", 2),
        ("kill", "worker death", 2),
    ],
)
def test_a_clip_that_always_fails_is_a_dead_letter_of_its_kind(tmp_path, fault, kind, attempts):
    config = config_of()
    clips = [planned(config, "bad", fault=fault), *(planned(config, f"good-{n}") for n in range(3))]
    events = run(config, clips, tmp_path)
    (given_up,) = of(events, GivenUp)
    assert given_up.failure.clip_id == "bad"
    assert [attempt.kind for attempt in given_up.failure.attempts] == [kind] * attempts
    assert committed(events) == ["good-0", "good-1", "good-2"]


def test_the_record_tells_the_tries_before_the_one_that_worked(tmp_path):
    config = config_of()
    clip = planned(config, "shy", fault="error", fault_attempts="1")
    assert committed(run(config, [clip], tmp_path)) == ["shy"]
    result = read_result(open_store(str(tmp_path)), clip.key)
    (attempt,) = result.failed_attempts
    assert (attempt.kind, attempt.error_class) == ("unknown", "RenderError")
    assert (attempt.worker, attempt.node) == ("worker-1", result.hardware["host"])
    assert "was told to fail" in attempt.message


def test_a_worker_that_hangs_is_killed_and_its_clip_goes_on_elsewhere(tmp_path):
    config = config_of(clip_timeout_seconds=3.0, first_clip_timeout_seconds=6.0)
    clips = [planned(config, "stuck", fault="hang", fault_attempts="1"), planned(config, "other")]
    events = run(config, clips, tmp_path)
    assert committed(events) == ["other", "stuck"]
    record = read_result(open_store(str(tmp_path)), clips[0].key)
    (attempt,) = record.failed_attempts
    assert (attempt.kind, attempt.error_class) == ("worker death", "WorkerHungError")
    assert "finished no clip" in attempt.message


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "loading for ever"])
def test_a_worker_that_hangs_while_it_loads_is_killed_and_replaced(tmp_path, stopped):
    stuck = tmp_path / "stuck"

    class StuckWorker(RenderWorker):
        def load(self, clip):
            if not stuck.exists():
                stuck.write_text(str(os.getpid()))
                # Meanwhile it answers.
                time.sleep(3)
                if stopped:
                    os.kill(os.getpid(), signal.SIGSTOP)
                time.sleep(600)
            return super().load(clip)

    timeouts = {"heartbeat_seconds": 3.0} if stopped else {"first_clip_timeout_seconds": 6.0}
    config = config_of(**timeouts)
    factory = WorkerFactory(
        WorkerLayout(1, 0, 1), str(tmp_path / "out"), config, "run-1", ray.remote(StuckWorker)
    )
    clips = queue_of([planned(config, "clip")])
    events = list(dispatch(clips, factory, threading.Event()))
    assert committed(events) == ["clip"]
    what = "has not answered" if stopped else "has been loading its model"
    assert [event for event in of(events, WorkerLog) if what in event.line]
    assert not psutil.pid_exists(int(stuck.read_text()))


@pytest.mark.chaos
def test_a_gpu_that_fails_what_succeeds_elsewhere_is_quarantined(tmp_path):
    config = config_of(seconds=0.5, quarantine_after=2)
    clips = [planned(config, f"clip-{n}") for n in range(16)]
    events = run(config, clips, tmp_path, worker_layout(config))
    assert committed(events) == sorted(clip.spec.clip_id for clip in clips)
    assert not of(events, GivenUp)
    (quarantined,) = of(events, Quarantined)
    assert quarantined.place.startswith(f"GPU {BROKEN} of ")
    assert "2 clips failed there that succeeded elsewhere" in quarantined.reason
    wait_until(lambda: ray.available_resources().get("GPU") == GPUS)


def test_a_run_that_cannot_have_a_worker_ends_in_order(tmp_path):
    config = config_of(capacity_timeout_seconds=2.0)
    (gave_out,) = of(
        run(config, [planned(config, "c")], tmp_path, WorkerLayout(1, GPUS + 1, 1)), GaveOut
    )
    assert "no room for a worker with 4 GPUs" in gave_out.reason
