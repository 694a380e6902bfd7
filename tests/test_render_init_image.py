"""Clips that start from a picture."""

import functools
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image
from rendering import (
    ROUNDING,
    STRONG,
    autoencoder_mode,
    clip_spec,
    largest_difference,
    loaded,
    render,
    through_autoencoder,
)
from scheduler_rows import every_row, make_scheduler
from tiny_pipelines import FAMILIES, stable_diffusion, stable_diffusion_3

from tempprop.errors import PictureError
from tempprop.init_image import load_picture, picture_digest
from tempprop.pipeline import load_pipeline
from tempprop.render import render_clip, render_clips
from tempprop.spec import Motion

TRAITS = {"num_frames": 3, "width": 96, "height": 64, "num_inference_steps": 2}
FIRM = STRONG | {"propagation_end": 1.0}

LATENT_ROUNDING = 1e-5

LEFT_AFTER_FOUR_STEPS = {
    ("TCDScheduler", "epsilon"): 0.03,
    ("TCDScheduler", "v_prediction"): 0.03,
    ("TCDScheduler", "sample"): 0.03,
    ("DEISMultistepScheduler", "epsilon"): 0.01,
    ("DEISMultistepScheduler", "v_prediction"): 0.01,
    ("DEISMultistepScheduler", "sample"): 0.01,
    ("DEISMultistepScheduler", "flow_prediction"): 0.25,
}
"""Standard deviation of the noise, in the denoiser's latents, that these leave in every picture.

Their last step ends above the noise level 0, for a given picture as for any other."""


def paint(path, seed):
    """Save a picture of colored spots."""
    spots = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(spots).resize((192, 128), Image.Resampling.BICUBIC).save(path)
    return str(path)


@contextmanager
def decoded_latents(model):
    """Note what a pipeline hands to its autoencoder."""
    decoded, autoencoder = [], type(model.pipeline.vae)
    decode = autoencoder.decode

    @functools.wraps(decode)
    def note(self, latents, *args, **kwargs):
        decoded.append(latents)
        return decode(self, latents, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoencoder, "decode", note)
        yield decoded


def latents_of(model, spec, **options):
    """Give the latents of a clip's frames, in the scale of the autoencoder."""
    with decoded_latents(model) as decoded:
        render(model, spec, **options)
    return torch.cat(decoded)


def distances(model, spec):
    """Give the root mean square, for each frame, of its latent's distance from the picture's."""
    picture = load_picture(spec.init_image, spec.width, spec.height)[None]
    with torch.no_grad():
        goal = autoencoder_mode(model.pipeline.vae, picture)
    return (latents_of(model, spec) - goal).square().flatten(1).mean(dim=1).sqrt()


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("pictures") / "picture.png", 0)


@pytest.fixture(scope="module")
def model():
    return loaded(stable_diffusion())


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(build, id=kind) for kinds in FAMILIES.values() for kind, build in kinds.items()
    ],
)
def of_each_kind(request):
    return loaded(request.param())


@pytest.mark.parametrize("keeps", ["noise", "sample"])
def test_frame_zero_is_the_picture_and_later_frames_are_chunk_exact(of_each_kind, picture, keeps):
    spec = clip_spec(**TRAITS, **FIRM, init_image=picture, propagation_keeps=keeps)
    expected = through_autoencoder(of_each_kind, spec)
    assert expected.std() > 1
    whole = render(of_each_kind, spec)["clip"]
    chunked = render(of_each_kind, spec, frames_per_batch=2)["clip"]
    assert largest_difference(whole[0], expected) <= ROUNDING
    assert largest_difference(whole, chunked) <= ROUNDING


def test_coupled_frames_are_drawn_to_the_picture(of_each_kind, picture):
    free = distances(of_each_kind, clip_spec(**TRAITS, init_image=picture))
    coupled = distances(of_each_kind, clip_spec(**TRAITS, **FIRM, init_image=picture))
    assert free[0] < LATENT_ROUNDING
    assert coupled[0] < LATENT_ROUNDING
    assert (coupled[1:] < free[1:] / 2).all()


def test_without_coupling_the_other_frames_are_what_they_are_without_a_picture(model, picture):
    with_picture, without = (
        render(model, clip_spec(init_image=image))["clip"] for image in (picture, None)
    )
    assert np.array_equal(with_picture[1:], without[1:])
    assert not np.array_equal(with_picture[0], without[0])


@functools.cache
def _pipeline(predicts):
    return stable_diffusion_3() if predicts == "flow_prediction" else stable_diffusion()


@every_row
@pytest.mark.parametrize("keeps", ["noise", "sample"])
def test_frame_zero_is_the_picture_with_every_scheduler(picture, name, predicts, keeps):
    model = loaded(_pipeline(predicts))
    model.pipeline.scheduler = make_scheduler(name, predicts)
    spec = clip_spec(
        **FIRM,
        num_frames=2,
        num_inference_steps=4,
        init_image=picture,
        propagation_keeps=keeps,
    )
    left = LEFT_AFTER_FOUR_STEPS.get((name, predicts), 0.0)
    distance = distances(model, spec)[0] * model.pipeline.vae.config.scaling_factor
    assert distance <= 1.5 * left + LATENT_ROUNDING
    assert (distance > LATENT_ROUNDING) == (left > 0)


@pytest.mark.parametrize("frames_per_batch", [1, 2])
def test_a_moving_camera_starts_from_the_picture_too(model, picture, frames_per_batch):
    motion = Motion(zoom=1.05, translation_x="0:(0), 3:(6)")
    spec = clip_spec(**FIRM, init_image=picture, motion=motion)
    whole = render(model, spec)["clip"]
    chunked = render(model, spec, frames_per_batch=frames_per_batch)["clip"]
    assert largest_difference(whole, chunked) <= ROUNDING
    assert largest_difference(whole[0], through_autoencoder(model, spec)) <= ROUNDING


@pytest.mark.parametrize("attention", ["first", "first+prev"])
def test_frames_that_attend_to_the_picture_are_chunk_exact(model, picture, attention):
    spec = clip_spec(**FIRM, init_image=picture, attention=attention)
    whole, chunked = (latents_of(model, spec, frames_per_batch=size) for size in (16, 2))
    alone = latents_of(model, spec.model_copy(update={"attention": "none"}))
    assert torch.allclose(whole, chunked, atol=1e-3)
    assert torch.allclose(whole[0], alone[0], atol=LATENT_ROUNDING)
    assert not torch.allclose(whole[1:], alone[1:], atol=1e-2)


def test_a_clip_that_goes_on_needs_its_picture_no_more(model, tmp_path):
    spec = clip_spec(**FIRM, init_image=paint(tmp_path / "once.png", 2))
    whole = [chunk.frames for chunk in render_clips(model, [spec], frames_per_batch=2)]
    begun = next(render_clips(model, [spec], frames_per_batch=2))
    (tmp_path / "once.png").unlink()
    states = {spec.clip_id: begun.state}
    rest = [c.frames for c in render_clips(model, [spec], frames_per_batch=2, states=states)]
    assert np.array_equal(np.concatenate([begun.frames, *rest]), np.concatenate(whole))


def test_a_loop_ends_at_the_picture(model, picture):
    """The last frame leads into frame 0, and is nearer to it than that of a clip that goes on."""
    traits = FIRM | {"anchor_weight": 0.0, "num_frames": 8, "init_image": picture}
    loop, line = (distances(model, clip_spec(**traits, loop=loop)) for loop in (True, False))
    assert loop[0] < LATENT_ROUNDING
    assert loop[-1] < 0.75 * line[-1]
    assert loop[-1] < loop.max()


def test_clips_with_different_pictures_share_a_batch(model, picture, tmp_path):
    one = clip_spec("one", **FIRM, init_image=picture)
    other = clip_spec("other", **FIRM, init_image=paint(tmp_path / "other.png", 1))
    free = clip_spec("free", **FIRM)
    together = render(model, one, free, other, frames_per_batch=4)
    for spec in (one, free, other):
        alone = render(model, spec)[spec.clip_id]
        assert largest_difference(together[spec.clip_id], alone) <= ROUNDING
    assert largest_difference(together["one"][0], together["other"][0]) > ROUNDING


def test_the_picture_must_be_the_planned_one(model, picture):
    spec = clip_spec(init_image=picture)
    digests = {"clip": picture_digest(picture)}
    planned = render(model, spec, picture_digest=digests.get)
    assert np.array_equal(planned["clip"], render(model, spec)["clip"])
    with pytest.raises(PictureError, match=r"is another one than when the run was planned"):
        render(model, spec, picture_digest=lambda _: "0" * 64)


def test_a_notebook_renders_from_a_picture_in_half_precision(tiny_checkpoint, picture):
    model = load_pipeline(str(tiny_checkpoint), device="cpu", dtype="bfloat16")
    spec = clip_spec(init_image=picture, num_frames=2)
    first, _ = render_clip(model, spec)
    exact = load_pipeline(str(tiny_checkpoint), device="cpu")
    # bfloat16 has eight bits, and the decoder rounds several times.
    assert largest_difference(first, through_autoencoder(exact, spec)) <= 16


def test_a_picture_that_is_not_there_is_named(model, tmp_path):
    with pytest.raises(PictureError, match=r"the picture '.*gone.png' is not there"):
        render(model, clip_spec(init_image=str(tmp_path / "gone.png")))
