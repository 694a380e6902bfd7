"""Nights whose storage fails: an S3 server behind a proxy that misbehaves, and a full disk."""

import hashlib
import io
import subprocess
import threading
import time
import uuid
from collections import Counter

import av
import pytest
import ray
from faulty_storage import LOST_ANSWER, faulty_storage
from nights import add_to_table, check_output
from test_farm import config_of, planned

from cluster.dispatch import dispatch
from cluster.events import Committed, GaveOut, GivenUp, Retried
from cluster.layout import WorkerFactory, WorkerLayout
from cluster.session import ray_session
from cluster.worker import RenderWorker, RenderWorkerActor
from tempprop.catalog import read_catalog, write_catalog
from tempprop.clip_queue import queue_of
from tempprop.objects import list_names, read_object
from tempprop.store import committed_keys, iter_results, open_store

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(300)]

CLIPS = 12


@pytest.fixture(scope="module")
def storage(object_storage):
    """The proxy, and a private Ray whose workers find it."""
    with faulty_storage(object_storage.endpoint) as storage, pytest.MonkeyPatch.context() as patch:
        for name, value in object_storage.environment().items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", storage.endpoint)
        with ray_session(None, num_gpus=2):
            yield storage


@pytest.fixture
def out(storage):
    yield f"s3://clips/{uuid.uuid4().hex}"
    storage.fault = storage.lost = None
    storage.struck.clear()


def render(
    out, react=lambda committed: None, num_frames=2, size=32, actor=RenderWorkerActor, **workers
):
    """Render the clips that are not committed; `react` is told how many have been since."""
    config = config_of(seconds=0.2, **workers)
    look = {"num_frames": num_frames, "width": size, "height": size}
    config = config.model_copy(update={"clip": config.clip.model_copy(update=look)})
    clips = [planned(config, f"clip-{n:02}") for n in range(CLIPS)]
    there = committed_keys(open_store(str(out)))
    queue = queue_of([clip for clip in clips if clip.key not in there])
    events = []
    factory = WorkerFactory(WorkerLayout(2, 1, 1), str(out), config, "night", actor)
    for event in dispatch(queue, factory, threading.Event()):
        events.append((time.monotonic(), event))
        react(sum(isinstance(event, Committed) for _, event in events))
    return events


def of(events, kind):
    return [event for _, event in events if isinstance(event, kind)]


def check(out, night):
    """Every clip is committed once in this night, whole, and catalogued."""
    ended = Counter(event.result.clip_id for event in of(night, Committed))
    assert ended == {f"clip-{n:02}": 1 for n in range(CLIPS)}
    assert not of(night, GivenUp)
    check_library(out)


def check_library(out):
    store = open_store(out)
    results = list(iter_results(store))
    assert sorted(result.clip_id for result in results) == [f"clip-{n:02}" for n in range(CLIPS)]
    for result in results:
        media = read_object(store, result.media.url)
        assert hashlib.sha256(media).hexdigest() == result.media.sha256
        with av.open(io.BytesIO(media)) as container:
            assert sum(1 for _ in container.decode(video=0)) == result.media.num_frames
    assert len(list_names(store, "media")) == 3 * CLIPS, "a clip, a poster and a preview"
    write_catalog(store, "night", iter(results))
    assert sorted(read_catalog(store, ["key"])["key"].to_pylist()) == sorted(committed_keys(store))


@pytest.mark.s3
def test_a_storage_that_fails_in_every_way_for_a_while(storage, out):
    over = []

    def misbehave():
        for fault in ("unavailable", "slow", "silent"):
            storage.fault = fault
            time.sleep(5)
        storage.fault = None
        over.append(time.monotonic())

    thread = threading.Thread(target=misbehave)

    def react(committed):
        if committed >= 2 and not thread.ident:
            thread.start()

    night = render(out, react=react)
    thread.join()
    assert all(storage.struck[fault] for fault in ("unavailable", "slow", "silent"))
    check(out, night)
    after = [at for at, event in night if isinstance(event, Committed) and at > over[0]]
    seconds = after[0] - over[0] if after else None
    add_to_table(
        "a store that answers 503, then slowly, then not at all, 5 s each",
        3,
        lost=0,
        duplicated=0,
        seconds=seconds,
    )


@pytest.mark.s3
def test_a_storage_that_stays_away_ends_the_run_in_order_and_a_rerun_does_the_rest(storage, out):
    class HastyWorker(RenderWorker):
        """Takes the storage for lost after a second instead of a minute."""

        def __init__(self, name, out, config, run_id, torch_threads):
            super().__init__(name, out, config, run_id, torch_threads)
            self._store = open_store(out, 1.0)

    def go_away(committed):
        if committed:
            storage.fault = "unavailable"

    # Long enough for workers to start in on busy cores.
    night = render(out, go_away, actor=ray.remote(HastyWorker), capacity_timeout_seconds=40)
    (gave_out,) = of(night, GaveOut)
    assert "nothing could be committed for" in gave_out.reason
    assert "the storage does not answer, or only with errors" in gave_out.reason
    assert {event.attempt.kind for event in of(night, Retried)} == {"infrastructure"}
    assert not of(night, GivenUp)
    storage.fault = None
    before = committed_keys(open_store(out))
    assert {event.result.key for event in of(night, Committed)} <= before
    assert 0 < len(before) < CLIPS
    started = time.monotonic()
    again = render(out)
    assert len(of(again, Committed)) == CLIPS - len(before)
    check_library(out)
    seconds = time.monotonic() - started
    fault = "a store that stays away, and a rerun"
    add_to_table(fault, 1, lost=0, duplicated=0, seconds=seconds)


@pytest.mark.s3
@pytest.mark.parametrize("lost", ["records/.*[.]json", "media/.*[.]mp4"], ids=["record", "media"])
def test_acknowledgements_are_lost(storage, out, lost):
    storage.lost = lost
    night = render(out)
    assert storage.struck[LOST_ANSWER] == CLIPS
    storage.lost = None
    check(out, night)
    what = lost.partition("/")[0]
    add_to_table(f"lost acknowledgements of {what}", CLIPS, lost=0, duplicated=0, seconds=None)


def test_a_disk_is_full_for_a_while(storage, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        filler, removed = disk / "filler", []

        def react(committed):
            if committed >= 2 and not filler.exists() and not removed:
                free = 4 * 2**20 - sum(p.stat().st_blocks * 512 for p in disk.rglob("*"))
                filler.write_bytes(b"0" * max(0, free - 16_384))
                removed.append(None)
                threading.Timer(8, filler.unlink).start()

        night = render(disk, react=react, num_frames=24, size=128)
        assert removed
        assert not of(night, GivenUp)
        check_output(disk, {f"clip-{n:02}" for n in range(CLIPS)})
        kinds = {a.kind for event in of(night, Committed) for a in event.result.failed_attempts}
        assert kinds == {"infrastructure"}
        add_to_table("a full disk, for 8 s", 1, lost=0, duplicated=0, seconds=None)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
