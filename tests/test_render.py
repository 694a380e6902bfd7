import numpy as np
import pytest
import torch
from tiny_pipelines import FAMILIES, stable_diffusion

from tempprop.errors import ModelError, NonFiniteLatentsError, RenderError
from tempprop.latents import latent_layout
from tempprop.noise import correlated_noise, step_noise_generator
from tempprop.pipeline import LoadedModel
from tempprop.render import render_clips, to_uint8
from tempprop.spec import ClipSpec, ModelIdentity, Motion

SIZE = 32
ROUNDING = 1
"""Levels of 255 by which pixels may differ when only the batch differs (2e-6 in the latents)."""


def _model(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    identity = ModelIdentity(uri="tiny", pipeline_class=type(pipeline).__name__, digest="0")
    return LoadedModel(pipeline, identity, torch.device("cpu"))


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return _model(FAMILIES[request.param]())


@pytest.fixture(scope="module")
def stable_diffusion_model():
    return _model(stable_diffusion())


def _spec(clip_id="clip", **values):
    defaults = {
        "prompt": f"a picture of {clip_id}",
        "seed": 11,
        "model": "tiny",
        "num_frames": 5,
        "width": SIZE,
        "height": SIZE,
        "num_inference_steps": 3,
        "guidance_scale": 3.0,
        "noise_correlation": 0.5,
        "propagation_strength": 0.0,
        "color_coherence": 0.0,
    }
    return ClipSpec(clip_id=clip_id, **(defaults | values))


STRONG = {"propagation_strength": 0.9, "anchor_weight": 0.2, "color_coherence": 0.3}


def _frames(model, *specs, frames_per_batch=16, **options):
    """Render; returns the frames of each clip by its id."""
    clips = {spec.clip_id: [] for spec in specs}
    for chunk in render_clips(model, specs, frames_per_batch=frames_per_batch, **options):
        assert chunk.first_frame == sum(len(frames) for frames in clips[chunk.clip_id])
        clips[chunk.clip_id].append(chunk.frames)
    return {clip_id: np.concatenate(chunks) for clip_id, chunks in clips.items()}


def _largest_difference(one, other):
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def test_without_coupling_it_is_plain_diffusers_to_the_bit(model):
    spec = _spec()
    layout = latent_layout(model.pipeline, SIZE, SIZE)
    noise = correlated_noise(spec.seed, 0, spec.num_frames, layout.shape, spec.noise_correlation)
    plain = model.pipeline(
        prompt=[spec.prompt] * spec.num_frames,
        latents=layout.pack(noise),
        generator=[step_noise_generator(spec.seed) for _ in range(spec.num_frames)],
        width=SIZE,
        height=SIZE,
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        output_type="pt",
    ).images
    assert np.array_equal(_frames(model, spec)["clip"], to_uint8(plain))


@pytest.mark.parametrize("keeps", ["noise", "sample"])
def test_coupling_changes_later_frames_and_leaves_frame_zero_alone(model, keeps):
    free = _frames(model, _spec())["clip"]
    coupled = _frames(model, _spec(**STRONG, propagation_keeps=keeps))["clip"]
    assert np.array_equal(coupled[0], free[0])
    assert not np.array_equal(coupled[1], free[1])


@pytest.mark.parametrize("frames_per_batch", [1, 2, 4])
def test_chunked_equals_unchunked(model, frames_per_batch):
    spec = _spec(**STRONG)
    whole = _frames(model, spec)["clip"]
    chunked = _frames(model, spec, frames_per_batch=frames_per_batch)["clip"]
    assert whole.shape == (5, SIZE, SIZE, 3)
    assert _largest_difference(whole, chunked) <= ROUNDING


MOVING = {**STRONG, "motion": Motion(zoom=1.05, translation_x="0:(0), 3:(6)", angle=3)}


@pytest.mark.parametrize("frames_per_batch", [1, 2])
def test_a_moving_camera_is_chunk_exact(model, frames_per_batch):
    spec = _spec(**MOVING, propagation_low_pass=0.7)
    whole = _frames(model, spec)["clip"]
    chunked = _frames(model, spec, frames_per_batch=frames_per_batch)["clip"]
    assert _largest_difference(whole, chunked) <= ROUNDING


def test_a_moving_camera_changes_later_frames_and_leaves_frame_zero_alone(model):
    at_rest, moving = (_frames(model, _spec(**values))["clip"] for values in (STRONG, MOVING))
    assert np.array_equal(moving[0], at_rest[0])
    for moved, stood in zip(moving[1:], at_rest[1:], strict=True):
        assert _largest_difference(moved, stood) > ROUNDING


@pytest.mark.parametrize(("x", "y"), [(4, 0), (-4, 0), (0, 4)])
def test_the_picture_goes_where_the_camera_sends_it(model, x, y):
    """Strongly coupled, frame 1 resembles frame 0 shifted as asked more than any other way."""
    strong = {"propagation_strength": 1.0, "propagation_end": 1.0, "propagation_keeps": "noise"}
    motion = Motion(translation_x=x, translation_y=y)
    spec = _spec(**strong, noise_correlation=1.0, motion=motion, num_frames=2)
    before, after = _frames(model, spec)["clip"].astype(float)
    inner = slice(8, -8)

    def difference(right, down):
        moved = np.roll(before, (down, right), axis=(0, 1))
        return np.abs(moved - after)[inner, inner].mean()

    shifts = [(right, down) for right in (-4, 0, 4) for down in (-4, 0, 4)]
    assert min(shifts, key=lambda shift: difference(*shift)) == (x, y)


def test_a_camera_that_does_not_move_yet_is_at_rest_to_the_bit(model):
    later = Motion(zoom="4:(1), 5:(1.5)", angle="4:(0), 9:(3)")
    at_rest, moving = (
        _frames(model, _spec(**STRONG, motion=motion))["clip"] for motion in (Motion(), later)
    )
    assert np.array_equal(moving, at_rest)


def test_neighbors_in_the_batch_do_not_matter(model):
    one, other = _spec("one", **STRONG), _spec("other", seed=12, **STRONG)
    together = _frames(model, other, one, frames_per_batch=4)
    assert _largest_difference(together["one"], _frames(model, one)["one"]) <= ROUNDING
    assert _largest_difference(together["other"], _frames(model, other)["other"]) <= ROUNDING


def test_full_coupling_with_full_noise_correlation_is_a_frozen_clip(model):
    clip = _frames(
        model, _spec(noise_correlation=1.0, propagation_strength=1.0, propagation_end=1.0)
    )["clip"]
    assert _largest_difference(clip, np.broadcast_to(clip[0], clip.shape)) <= ROUNDING


def test_stochastic_schedulers_are_chunk_exact_too():
    from diffusers import LCMScheduler

    model = _model(stable_diffusion(LCMScheduler(beta_schedule="scaled_linear")))
    spec = _spec(num_inference_steps=4, **STRONG)
    whole, chunked = _frames(model, spec), _frames(model, spec, frames_per_batch=2)
    assert _largest_difference(whole["clip"], chunked["clip"]) <= ROUNDING


def test_seed_and_prompt_matter(stable_diffusion_model):
    base = _frames(stable_diffusion_model, _spec())["clip"]
    for change in ({"seed": 12}, {"prompt": "zzz 99"}, {"negative_prompt": "qqq"}):
        assert not np.array_equal(_frames(stable_diffusion_model, _spec(**change))["clip"], base)


def test_progress_counts_every_step_of_every_frame(stable_diffusion_model):
    seen = []
    specs = [_spec("a"), _spec("b", num_frames=2)]
    _frames(
        stable_diffusion_model,
        *specs,
        frames_per_batch=4,
        on_step=lambda done, total: seen.append((done, total)),
    )
    assert {total for _, total in seen} == {7 * 3}
    assert [done for done, _ in seen] == [0, 4, 8, 12, 15, 18]


def test_clips_that_cannot_share_a_batch_are_refused(stable_diffusion_model):
    with pytest.raises(ValueError, match="same model, size"):
        _frames(stable_diffusion_model, _spec("a"), _spec("b", num_inference_steps=4))


def test_unpacking_undoes_packing(model):
    layout = latent_layout(model.pipeline, 2 * SIZE, SIZE)
    latents = torch.randn(3, *layout.shape)
    assert torch.equal(layout.unpack(layout.pack(latents)), latents)


def test_a_size_that_the_family_cannot_render_is_refused():
    with pytest.raises(ModelError, match="multiples of 4 pixels, not 32x34"):
        latent_layout(FAMILIES["flux"](), 34, 32)


def test_overflow_names_clip_frame_and_step():
    pipeline = stable_diffusion()
    pipeline.unet.conv_out.weight.data.fill_(torch.inf)
    with pytest.raises(NonFiniteLatentsError, match=r"clip 'clip'.*frame 0.*step 0"):
        _frames(_model(pipeline), _spec())


def test_a_decoder_that_overflows_names_clip_and_frame():
    pipeline = stable_diffusion()
    pipeline.vae.decoder.conv_out.bias.data.fill_(torch.nan)
    with pytest.raises(RenderError, match=r"clip 'clip': frame 0 decodes"):
        _frames(_model(pipeline), _spec(), frames_per_batch=2)
