"""A clip that was given up half way goes on from what the store has of it."""

import json
import threading
import zipfile

import av
import numpy as np
import pytest
from clips import planned, tiny_config
from processes import wait_until
from rendering import ROUNDING, STRONG, clip_spec, largest_difference, loaded
from tiny_pipelines import stable_diffusion

from cluster.worker import RenderWorker
from tempprop.objects import list_names
from tempprop.render import render_clips
from tempprop.spec import ClipResult
from tempprop.store import open_store, read_result
from tempprop.unfinished import DoneFrames, load_unfinished, remove_unfinished, unfinished_keys

KEY = "0" * 64


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "out"))


def saved(model, spec, store, directory, batches):
    """Render the first batches of a clip and save them; gives the number of frames saved."""
    directory.mkdir()
    done = DoneFrames(spec, directory)
    chunks = done.kept(render_clips(model, [spec], frames_per_batch=2))
    for _ in range(batches):
        next(chunks)
    chunks.close()
    return done.save(store, KEY)


@pytest.mark.parametrize("batches", [1, 2])
def test_the_frames_that_are_done_come_back_and_the_rest_is_the_same(store, tmp_path, batches):
    model, spec = loaded(stable_diffusion()), clip_spec(**STRONG)
    whole = list(render_clips(model, [spec], frames_per_batch=2))
    assert saved(model, spec, store, tmp_path / "first", batches) == 2 * batches
    assert unfinished_keys(store) == {KEY}
    begun = load_unfinished(store, spec, KEY, tmp_path / "second")
    assert begun.frame_steps == sum(chunk.frame_steps for chunk in whole[:batches])
    assert begun.denoise_seconds > 0
    rest = render_clips(
        loaded(stable_diffusion()),
        [spec],
        frames_per_batch=2,
        states={spec.clip_id: begun.state},
    )
    again = np.concatenate([begun.frames, *(chunk.frames for chunk in rest)])
    assert np.array_equal(again, np.concatenate([chunk.frames for chunk in whole]))
    remove_unfinished(store, KEY)
    assert unfinished_keys(store) == set()
    assert load_unfinished(store, spec, KEY, tmp_path / "third") is None


def test_a_clip_in_its_first_batch_leaves_nothing(store, tmp_path):
    model, spec = loaded(stable_diffusion()), clip_spec(**STRONG)
    assert saved(model, spec, store, tmp_path / "first", 0) == 0
    assert list_names(store, "unfinished") == []


@pytest.mark.parametrize("damage", ["torn", "no archive", "other clip", "fewer frames", "no costs"])
def test_what_is_damaged_is_not_used(store, tmp_path, caplog, damage):
    model, spec = loaded(stable_diffusion()), clip_spec(**STRONG)
    saved(model, spec, store, tmp_path / "first", 1)
    path = tmp_path / "out" / "unfinished" / f"{KEY}.zip"
    key = KEY
    match damage:
        case "torn":
            path.write_bytes(path.read_bytes()[:-100])
        case "no archive":
            path.write_text("no archive")
        case "other clip":
            key = "1" * 64
            path.rename(path.with_name(f"{key}.zip"))
        case "fewer frames":
            spec = spec.model_copy(update={"width": spec.width // 2})
        case "no costs":
            with zipfile.ZipFile(path) as archive:
                parts = {name: archive.read(name) for name in archive.namelist()}
            with zipfile.ZipFile(path, "w") as archive:
                for name, part in parts.items():
                    archive.writestr(name, json.dumps({}) if name == "costs.json" else part)
    assert load_unfinished(store, spec, key, tmp_path / "second") is None
    assert "is rendered from its beginning" in caplog.text


def decoded(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_a_worker_that_is_told_to_go_hands_its_clip_over(tiny_checkpoint, tmp_path):
    """Lossless clips, so that what came out of both ways can be compared."""
    config = tiny_config(tiny_checkpoint, steps=20, frames_per_batch=4)
    encoder = config.encoder.model_copy(update={"crf": 0})
    config = config.model_copy(update={"encoder": encoder})
    clip = planned(config, "clip", num_frames=24)

    def worker(name, out):
        return RenderWorker(name, str(tmp_path / out), config, "run-1", 1)

    whole = worker("worker-1", "whole").render(clip)

    first, answers = worker("worker-2", "out"), []
    thread = threading.Thread(target=lambda: answers.append(first.render(clip)))
    thread.start()
    wait_until(lambda: first.report().progress.get("clip", 0) > 0.5)
    first._notice._noticed.set()
    thread.join()
    (answer,) = answers
    assert (answer.kind, answer.error_class) == ("interrupted", "Interrupted")
    assert first.report().draining
    store = open_store(str(tmp_path / "out"))
    assert unfinished_keys(store) == {clip.key}

    second = worker("worker-3", "out")
    result = second.render(clip)
    assert isinstance(result, ClipResult), result
    record = read_result(store, clip.key)
    assert record.quality["motion_floor_acted"] == whole.quality["motion_floor_acted"]
    assert record.seconds.denoise > 0
    assert unfinished_keys(store) == set()
    at_once = decoded(tmp_path / "whole" / whole.media.url)
    in_two_parts = decoded(tmp_path / "out" / record.media.url)
    assert len(in_two_parts) == 24
    assert largest_difference(at_once, in_two_parts) <= 2 * ROUNDING
