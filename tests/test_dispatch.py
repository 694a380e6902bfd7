import errno
import json
import os
import threading
from pathlib import Path

import pytest
import torch
from clips import SLOW_STEPS, broken_checkpoint, planned, tiny_config

from cluster.dispatch import dispatch
from cluster.events import Committed, GivenUp, Progress
from cluster.failures import kind_of_error
from cluster.layout import WorkerFactory, WorkerLayout, worker_layout
from cluster.session import ray_session
from cluster.worker import TEMPORARY_PREFIX, RenderWorker, remove_leftovers
from tempprop.clip_queue import queue_of
from tempprop.errors import (
    DiskFullError,
    EncodeError,
    InputError,
    ModelError,
    StoreError,
    StoreInputError,
)
from tempprop.spec import RenderConfig, WorkerConfig
from tempprop.store import committed_keys, open_store, read_result

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def ray():
    with ray_session(None):
        yield


def _factory(out, config, num_workers=1):
    return WorkerFactory(WorkerLayout(num_workers, 0, 1), str(out), config, "run-1")


def _dispatch(clips, out, config, num_workers=1, react=lambda event: None, stop=None):
    events = []
    factory = _factory(out, config, num_workers)
    for event in dispatch(queue_of(clips), factory, stop or threading.Event()):
        events.append(event)
        react(event)
    return events


def _of(events, kind):
    return [event for event in events if isinstance(event, kind)]


def _half_done(event, clip_id):
    return isinstance(event, Progress) and 0.1 < event.clips.get(clip_id, 0) < 0.9


def test_two_workers_commit_every_clip_once(tiny_checkpoint, tmp_path):
    config = tiny_config(tiny_checkpoint)
    clips = [planned(config, f"clip-{n}", num_frames=3 + n) for n in range(6)]
    events = _dispatch(clips, tmp_path, config, num_workers=2)
    committed = {event.result.clip_id: event.result for event in _of(events, Committed)}
    assert len(_of(events, Committed)) == len(committed) == 6
    store = open_store(str(tmp_path))
    assert committed_keys(store) == {clip.key for clip in clips}
    for clip in clips:
        result = read_result(store, clip.key)
        assert result == committed[clip.spec.clip_id]
        assert result.media.num_frames == clip.spec.num_frames
        assert (tmp_path / result.media.url).stat().st_size == result.media.bytes
        assert (tmp_path / result.media.poster_url).exists()
        assert result.seconds.denoise > 0
        assert result.failed_attempts == ()
        assert result.hardware["torch_threads"] == "1"


def test_short_clips_share_batches(tiny_checkpoint, tmp_path):
    """A worker is given as many as fill its batches, once it has said how large these are."""
    config = tiny_config(tiny_checkpoint, steps=60)
    clips = [planned(config, f"clip-{n}", num_frames=2) for n in range(8)]
    events = _dispatch(clips, tmp_path, config)
    assert len(_of(events, Committed)) == 8
    assert max(len(event.clips) for event in _of(events, Progress)) > 2
    assert {event.result.frames_per_batch for event in _of(events, Committed)} == {16}


def test_a_clip_that_fails_for_good_says_why(tiny_checkpoint, tmp_path):
    config = tiny_config(tiny_checkpoint)
    broken = broken_checkpoint(tiny_checkpoint, tmp_path / "broken")
    clips = [planned(config, "good"), planned(config, "bad", model=str(broken))]
    events = _dispatch(clips, tmp_path / "out", config)
    (given_up,) = _of(events, GivenUp)
    failure = given_up.failure
    assert (failure.clip_id, failure.error_class) == ("bad", "NonFiniteLatentsError")
    assert "frame 0" in failure.message
    assert "render_clips" in failure.traceback
    assert len(failure.attempts) == config.retries.max_attempts
    assert [event.result.clip_id for event in _of(events, Committed)] == ["good"]


def test_stopping_gives_up_what_denoises_and_leaves_nothing_behind(tiny_checkpoint, tmp_path):
    config = tiny_config(tiny_checkpoint, steps=SLOW_STEPS)
    clips = [planned(config, f"clip-{n}") for n in range(4)]
    stop = threading.Event()
    committed = set()

    def react(event):
        if isinstance(event, Committed):
            committed.add(event.result.clip_id)
        if committed and any(_half_done(event, f"clip-{n}") for n in range(4)):
            stop.set()

    events = _dispatch(clips, tmp_path, config, react=react, stop=stop)
    assert 1 <= len(committed) < 4
    assert not _of(events, GivenUp)
    media = {path.name.split(".")[0] for path in (tmp_path / "media").iterdir()}
    assert media == committed


def test_other_weights_on_a_worker_end_the_run_at_once(tiny_checkpoint, tmp_path):
    config = tiny_config(tiny_checkpoint)
    clip = planned(config, "clip")
    identity = clip.identity.model_copy(update={"digest": "0" * 64})
    impostor = type(clip)(clip.key, clip.spec, identity)
    with pytest.raises(InputError, match="other weights of the model"):
        _dispatch([impostor], tmp_path, config)
    assert not (tmp_path / "records").exists()


def test_the_layout_follows_the_config():
    layout = worker_layout(RenderConfig())
    assert (layout.num_workers, layout.num_gpus) == (1, 0)
    assert layout.torch_threads == os.cpu_count()
    two = RenderConfig(workers=WorkerConfig(num_workers=2))
    assert worker_layout(two).torch_threads == max(1, os.cpu_count() // 2)


def test_errors_are_sorted_by_what_has_to_be_done():
    assert kind_of_error(InputError("x")) == "input"
    assert kind_of_error(ModelError("x")) == "unknown"
    assert kind_of_error(StoreInputError("x")) == "output"
    assert kind_of_error(StoreError("x")) == "infrastructure"
    assert kind_of_error(OSError(errno.ENOSPC, "x")) == "infrastructure"
    assert kind_of_error(DiskFullError("x")) == "infrastructure"
    assert kind_of_error(EncodeError("x")) == "unknown"
    assert kind_of_error(torch.OutOfMemoryError("x")) == "out of memory"
    assert kind_of_error(RuntimeError("CUDA error: device-side assert")) == "poisoned process"
    assert kind_of_error(ValueError("x")) == "unknown"


def test_temporary_directories_of_dead_workers_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    no_such_process = 2**22 + 1
    dead = tmp_path / f"{TEMPORARY_PREFIX}{no_such_process}-x"
    alive = tmp_path / f"{TEMPORARY_PREFIX}{os.getpid()}-x"
    dead.mkdir()
    alive.mkdir()
    remove_leftovers()
    assert not dead.exists()
    assert alive.exists()


def test_two_clips_in_work_on_one_worker_are_both_committed(tiny_checkpoint, tmp_path):
    config = tiny_config(tiny_checkpoint, steps=40)
    worker = RenderWorker("worker-1", str(tmp_path), config, "run-1", 1)
    clips = [planned(config, f"clip-{n}") for n in range(2)]
    results = []
    threads = [
        threading.Thread(target=lambda clip=clip: results.append(worker.render(clip)))
        for clip in clips
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {result.clip_id for result in results} == {"clip-0", "clip-1"}
    records = [json.loads(path.read_text()) for path in Path(tmp_path, "records").iterdir()]
    assert len(records) == 2
