import numpy as np
import pytest
import torch
from rendering import STRONG, clip_spec, loaded
from safetensors.torch import load_file, save_file
from tiny_pipelines import flux, stable_diffusion

from tempprop.checkpoint import load_checkpoint, save_checkpoint
from tempprop.errors import InputError
from tempprop.render import render_clips
from tempprop.spec import Motion, RenderConfig, clip_key

KEY = "0" * 64


def interrupted(model, spec, path, frames_per_batch=2):
    """Render the first batch of a clip and save what the rest goes on from."""
    chunk = next(render_clips(model, [spec], frames_per_batch=frames_per_batch))
    save_checkpoint(path, chunk.state, KEY)
    return chunk.frames


@pytest.mark.parametrize("build", [stable_diffusion, flux])
@pytest.mark.parametrize(
    "traits",
    [{}, {"motion": Motion(zoom=1.05)}, {"loop": True}, {"loop": True, "motion": Motion(angle=3)}],
    ids=["still", "moving", "loop", "moving loop"],
)
def test_a_clip_goes_on_from_a_file_as_if_it_had_not_been_interrupted(build, traits, tmp_path):
    model, spec = loaded(build()), clip_spec(**STRONG, **traits)
    chunks = render_clips(model, [spec], frames_per_batch=2)
    whole = np.concatenate([chunk.frames for chunk in chunks])
    head = interrupted(model, spec, tmp_path / "clip.safetensors")
    states = {spec.clip_id: load_checkpoint(tmp_path / "clip.safetensors", KEY)}
    rest = list(render_clips(loaded(build()), [spec], frames_per_batch=2, states=states))
    assert rest[0].first_frame == 2
    tail = np.concatenate([chunk.frames for chunk in rest])
    assert np.array_equal(np.concatenate([head, tail]), whole)


def test_what_is_kept_does_not_grow_with_the_clip(tmp_path):
    model = loaded(stable_diffusion())
    sizes = set()
    for num_frames in (4, 40):
        interrupted(model, clip_spec(num_frames=num_frames), tmp_path / "clip.safetensors")
        sizes.add((tmp_path / "clip.safetensors").stat().st_size // 100)
    assert len(sizes) == 1


def test_a_finished_clip_leaves_nothing_to_go_on_from():
    chunks = list(render_clips(loaded(stable_diffusion()), [clip_spec()], frames_per_batch=5))
    assert [chunk.state for chunk in chunks] == [None]


def test_another_clip_cannot_go_on_from_it(tmp_path):
    model, spec = loaded(stable_diffusion()), clip_spec()
    interrupted(model, spec, tmp_path / "clip.safetensors")
    key = clip_key(spec, RenderConfig(), model.identity)
    with pytest.raises(InputError, match=rf"another clip.*{key}.*from its beginning"):
        load_checkpoint(tmp_path / "clip.safetensors", key)


@pytest.mark.parametrize("damage", ["missing", "torn", "foreign"])
def test_what_is_no_checkpoint_is_refused(damage, tmp_path):
    path = tmp_path / "clip.safetensors"
    if damage != "missing":
        interrupted(loaded(stable_diffusion()), clip_spec(), path)
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:-50])
    if damage == "foreign":
        save_file({"weight": torch.zeros(3)} | load_file(path), path)
    with pytest.raises(InputError, match="is not the checkpoint of a clip"):
        load_checkpoint(path, KEY)
