"""One worker in this process, without Ray: what it writes about a clip."""

from dataclasses import replace

import pytest
from clips import planned, tiny_config
from PIL import Image

from cluster.worker import RenderWorker
from tempprop.init_image import picture_digest
from tempprop.quality import FIGURES, RENDER_FIGURES
from tempprop.spec import ClipResult
from tempprop.store import open_store, read_result


@pytest.mark.parametrize(
    ("strength", "floor", "share"),
    # 5 frames of 6 at 3 steps of 4: frame 0 and the last step are not coupled.
    [(1.0, 0.99, 5 / 6 * 3 / 4), (1.0, 0.0, 0.0), (0.0, 0.99, 0.0)],
)
def test_the_record_says_how_often_the_motion_floor_acted(
    tiny_checkpoint, tmp_path, strength, floor, share
):
    config = tiny_config(tiny_checkpoint, steps=4, frames_per_batch=4)
    coupling = {"propagation_strength": strength, "propagation_end": 0.75, "motion_floor": floor}
    clip = planned(config, "clip", **coupling)
    worker = RenderWorker("worker-1", str(tmp_path), config, "run-1", 1)
    result = worker.render(clip)
    assert isinstance(result, ClipResult), result
    record = read_result(open_store(str(tmp_path)), clip.key)
    assert record == result
    assert set(record.quality) == {*FIGURES, *RENDER_FIGURES}
    assert record.quality["motion_floor_acted"] == pytest.approx(share)


def test_a_record_names_the_picture_and_another_picture_is_refused(tiny_checkpoint, tmp_path):
    config = tiny_config(tiny_checkpoint)
    art = tmp_path / "art.png"
    Image.new("RGB", (8, 8), "red").save(art)
    digest = picture_digest(str(art))
    one, two = (planned(config, name, init_image=str(art)) for name in ("one", "two"))
    worker = RenderWorker("worker-1", str(tmp_path / "out"), config, "run-1", 1)
    result = worker.render(replace(one, init_image_sha256=digest))
    assert (result.init_image_sha256, result.spec.init_image) == (digest, str(art))
    Image.new("RGB", (8, 8), "blue").save(art)
    failed = worker.render(replace(two, init_image_sha256=digest))
    assert (failed.kind, failed.error_class) == ("input", "PictureError")
    assert "another one than when the run was planned" in failed.message
