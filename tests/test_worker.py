"""What one worker does with a clip, without a cluster."""

from dataclasses import replace

from clips import planned, tiny_config
from PIL import Image

from cluster.worker import RenderWorker
from tempprop.init_image import picture_digest


def test_a_record_names_the_picture_and_another_picture_is_refused(tiny_checkpoint, tmp_path):
    config = tiny_config(tiny_checkpoint)
    art = tmp_path / "art.png"
    Image.new("RGB", (8, 8), "red").save(art)
    digest = picture_digest(str(art))
    one, two = (planned(config, name, init_image=str(art)) for name in ("one", "two"))
    worker = RenderWorker(str(tmp_path / "out"), config, "run-1", 1)
    result = worker.render(replace(one, init_image_sha256=digest), 1, 16)
    assert (result.init_image_sha256, result.spec.init_image) == (digest, str(art))
    Image.new("RGB", (8, 8), "blue").save(art)
    failed = worker.render(replace(two, init_image_sha256=digest), 1, 16)
    assert (failed.kind, failed.error_class) == ("input", "PictureError")
    assert "another one than when the run was planned" in failed.message
