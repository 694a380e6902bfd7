import json
import math
import shutil

import numpy as np
import pytest
from clips import planned, tiny_config
from PIL import Image

from cluster.worker import RenderWorker
from tempprop.catalog import write_catalog
from tempprop.errors import InputError, ModelError, StoreError
from tempprop.init_image import picture_digest
from tempprop.planned_clip import PlannedClip
from tempprop.preflight import identify
from tempprop.quality import measure_psnr
from tempprop.rebuild import rebuild_clip
from tempprop.spec import (
    ClipSettings,
    ClipSpec,
    EncoderConfig,
    RenderConfig,
    SchedulerConfig,
    WorkerConfig,
    clip_key,
)
from tempprop.store import open_store, write_run_file

SCHEDULER = SchedulerConfig(name="EulerDiscreteScheduler", options={"timestep_spacing": "trailing"})


def committed(out, config, clip):
    result = RenderWorker("worker-1", str(out), config, "night-1", 1).render(clip)
    assert hasattr(result, "media"), result
    write_catalog(open_store(str(out)), "night-1", [result])
    return result


@pytest.fixture
def checkpoint(tiny_checkpoint, tmp_path):
    return shutil.copytree(tiny_checkpoint, tmp_path / "tiny")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "library"


def files(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_clip_of_the_embedded_model(out, call):
    settings = ClipSettings(width=64, height=64, num_frames=3, num_inference_steps=2)
    workers = WorkerConfig(torch_threads=1, canary=False)
    config = RenderConfig(clip=settings, workers=workers, frames_per_batch=4)
    spec = ClipSpec(
        clip_id="a", prompt="a red balloon", seed=1, model="mini", **settings.model_dump()
    )
    identity = identify(config, "mini", ())
    result = committed(out, config, PlannedClip(clip_key(spec, config, identity), spec, identity))
    before = files(out)
    answer = call("rebuild", out, "a", "--json")
    assert (answer.code, answer.err) == (0, "")
    assert answer.json == {
        "clip_id": "a",
        "key": result.key,
        "num_frames": 3,
        "file": None,
        "same_bytes": True,
        "was_signed": False,
        "takes": 1,
        "same_frames": True,
        "same_weights": True,
        "psnr_db": {"mean": None, "lowest": None},
        "differences": [],
    }
    assert files(out) == before


def test_a_scheduler_a_picture_and_a_longer_batch(checkpoint, out, tmp_path, call):
    art = tmp_path / "art.png"
    Image.new("RGB", (8, 8), "red").save(art)
    config = tiny_config(checkpoint, scheduler=SCHEDULER, frames_per_batch=4)
    spec = planned(config, "a", init_image=str(art)).spec
    identity, digest = identify(config, spec.model, ()), picture_digest(str(art))
    key = clip_key(spec, config, identity, digest)
    result = committed(out, config, PlannedClip(key, spec, identity, digest))
    assert (result.scheduler, result.frames_per_batch) == (SCHEDULER, 4)
    answer = call("rebuild", out, "a", "--to", tmp_path / "again.mp4")
    assert answer.out.splitlines() == [
        f"a: rendered again from its record, key {key}",
        "  6 frames, PSNR inf: all frames are equal",
        "  the file is the same, byte for byte",
        f"  kept as {tmp_path}/again.mp4",
    ]
    assert (tmp_path / "again.mp4").read_bytes() == (out / result.media.url).read_bytes()
    Image.new("RGB", (8, 8), "blue").save(art)
    again = rebuild_clip(str(out), key)
    assert [difference.what for difference in again.differences] == ["picture"]
    assert again.psnr.lowest < again.psnr.mean < 40


def test_other_weights_are_told_plainly(checkpoint, out, call):
    from diffusers import StableDiffusionPipeline

    config = tiny_config(checkpoint)
    result = committed(out, config, planned(config, "a"))
    pipeline = StableDiffusionPipeline.from_pretrained(checkpoint)
    pipeline.unet.conv_out.weight.data *= -1
    pipeline.save_pretrained(checkpoint)
    answer = call("rebuild", out, "a")
    assert answer.code == 0
    assert "  THE WEIGHTS ARE OTHER ONES: this is not the clip that was committed" in answer.out
    assert f", committed with {result.model.digest}" in answer.out
    assert "the file is another one" in answer.out
    report = call("rebuild", out, "a", "--json").json
    assert (report["same_weights"], report["same_frames"], report["same_bytes"]) == (False,) * 3
    assert 0 < report["psnr_db"]["lowest"] <= report["psnr_db"]["mean"] < 60
    shutil.rmtree(checkpoint)
    with pytest.raises(ModelError, match="there is no model"):
        rebuild_clip(str(out), "a")


def test_what_else_is_not_as_it_was(checkpoint, out):
    config = tiny_config(checkpoint)
    result = committed(out, config, planned(config, "a"))
    record = out / f"records/{result.key}.json"
    values = json.loads(record.read_text())
    values["versions"]["torch"] = "1.13"
    del values["versions"]["ffmpeg"]
    values["hardware"]["device"] = "NVIDIA H100"
    values["render_version"] = 1
    values["spec"]["seed"] += 1
    record.write_text(json.dumps(values))
    told = {d.what: d.committed for d in rebuild_clip(str(out), "a").differences}
    assert told == {
        "render version": "1",
        "torch": "1.13",
        "ffmpeg": "an unknown one",
        "device": "NVIDIA H100",
    }


def test_an_older_record_takes_its_scheduler_from_its_run(checkpoint, out):
    config = tiny_config(checkpoint, scheduler=SCHEDULER)
    result = committed(out, config, planned(config, "a"))
    record = out / f"records/{result.key}.json"
    values = json.loads(record.read_text())
    del values["scheduler"], values["render_version"]
    record.write_text(json.dumps(values))
    (unknown,) = rebuild_clip(str(out), "a").differences
    assert (unknown.what, unknown.committed) == ("render version", "another one")
    plan = {"config": config.model_dump(mode="json")}
    write_run_file(open_store(str(out)), "night-1", "plan.json", json.dumps(plan).encode())
    again = rebuild_clip(str(out), "a")
    assert (again.differences, again.same_bytes) == ((), True)


@pytest.fixture
def test_card(out):
    """A committed clip that needs no model."""
    config = RenderConfig(model="test-card", clip=ClipSettings(width=64, height=48, num_frames=4))
    spec = ClipSpec(
        clip_id="card", prompt="bars", seed=3, model="test-card", **config.clip.model_dump()
    )
    identity = identify(config, "test-card", ())
    return committed(out, config, PlannedClip(clip_key(spec, config, identity), spec, identity))


def test_a_test_card(test_card, out):
    again = rebuild_clip(str(out), test_card.media.sha256)
    assert (again.same_bytes, again.differences) == (True, ())


def test_a_sequence_of_files(out, tmp_path):
    config = RenderConfig(
        model="test-card",
        clip=ClipSettings(width=64, height=48, num_frames=3),
        encoder=EncoderConfig(profile="png"),
    )
    spec = ClipSpec(
        clip_id="card", prompt="bars", seed=3, model="test-card", **config.clip.model_dump()
    )
    identity = identify(config, "test-card", ())
    committed(out, config, PlannedClip(clip_key(spec, config, identity), spec, identity))
    again = rebuild_clip(str(out), "card", tmp_path / "again")
    assert (again.same_bytes, again.differences, again.psnr.mean) == (True, (), math.inf)
    assert len(list((tmp_path / "again").iterdir())) == 4
    with pytest.raises(InputError, match="is a directory of files"):
        rebuild_clip(str(out), "card", tmp_path / "again.png")


def test_media_that_are_gone_or_damaged(test_card, out):
    media = out / test_card.media.url
    media.write_bytes(b"something else")
    with pytest.raises(StoreError, match="is not what its record says"):
        rebuild_clip(str(out), "card")
    media.unlink()
    with pytest.raises(StoreError, match="is not there"):
        rebuild_clip(str(out), "card")


def test_a_file_that_cannot_be_written_there(test_card, out, tmp_path):
    before = files(out)
    for place, complaint in (
        (out / "media/again.mp4", "lies in the output"),
        (out / "media" / ".." / "again.mp4", "lies in the output"),
        (tmp_path / "again.mov", "is a .mp4 file"),
        (tmp_path / "nowhere/again.mp4", "in a directory that is there"),
    ):
        with pytest.raises(InputError, match=complaint):
            rebuild_clip(str(out), "card", place)
    assert files(out) == before


def test_clips_that_are_not_committed(test_card, out):
    from records import failure_of

    from tempprop.store import write_failure

    write_failure(open_store(str(out)), failure_of("bad"))
    with pytest.raises(InputError, match="'bad' was given up"):
        rebuild_clip(str(out), "bad")
    with pytest.raises(InputError, match="knows no clip 'nobody'"):
        rebuild_clip(str(out), "nobody")


def test_psnr_is_that_of_its_definition():
    frame = np.full((4, 6, 3), 100, np.uint8)
    one, two = frame + np.uint8(1), frame + np.uint8(5)
    same = measure_psnr([(frame, frame), (one, one)])
    assert (same.mean, same.lowest) == (math.inf, math.inf)
    psnr = measure_psnr([(frame, frame), (one, frame), (frame, two)])
    assert psnr.lowest == pytest.approx(20 * math.log10(255 / 5))
    assert psnr.mean == pytest.approx(10 * math.log10(255**2 / ((0 + 1 + 25) / 3)))
    with pytest.raises(ValueError, match="without frames"):
        measure_psnr([])
    with pytest.raises(ValueError, match="different shapes"):
        measure_psnr([(frame, frame[:2])])
