import functools

import numpy as np
import pytest
import tiny_pipelines
import torch
from rendering import ROUNDING, STRONG, clip_spec, largest_difference, render

from tempprop.errors import ModelError
from tempprop.families import FAMILIES, latent_layout
from tempprop.noise import correlated_noise, step_noise_generator
from tempprop.pipeline import load_pipeline
from tempprop.render import to_uint8

KINDS = [
    pytest.param((family, kind), id=kind)
    for family in FAMILIES
    for kind in tiny_pipelines.FAMILIES[family]
]
"""Every family that the product names, with each kind of its checkpoints."""

CALLED_WITH = {
    "flux-dev": {"guidance_scale": 3.0},
    "flux-schnell": {},
    "qwen-image": {"true_cfg_scale": 3.0, "negative_prompt": " "},
    "sana": {"guidance_scale": 3.0, "use_resolution_binning": False},
    "pixart-sigma": {"guidance_scale": 3.0, "use_resolution_binning": False},
}
"""How somebody who knows the pipeline would ask it for guidance 3 and a size of its own."""

TRAITS = {"num_frames": 3, "width": 96, "height": 64, "num_inference_steps": 2}


@pytest.fixture(scope="module", params=KINDS)
def checkpoint(request, tmp_path_factory):
    family, kind = request.param
    return family, kind, tiny_pipelines.save(kind, tmp_path_factory.mktemp(kind))


@pytest.fixture(scope="module")
def model(checkpoint):
    """A model as a user has it: saved in diffusers' layout, and loaded from there."""
    family, _, path = checkpoint
    loaded = load_pipeline(str(path), device="cpu")
    assert type(loaded.pipeline).__name__ == loaded.identity.pipeline_class == family
    return loaded


@pytest.fixture(scope="module")
def free(model):
    """Three frames without coupling."""
    return render(model, clip_spec(**TRAITS))["clip"]


@pytest.fixture(scope="module")
def coupled(model):
    return render(model, clip_spec(**TRAITS, **STRONG))["clip"]


def plain_diffusers(model, kind, spec):
    """Call the pipeline as its documentation does, with the noise that the clip has."""
    layout = latent_layout(model.pipeline, spec.height, spec.width)
    noise = correlated_noise(spec.seed, 0, spec.num_frames, layout.shape, spec.noise_correlation)
    images = model.pipeline(
        prompt=[spec.prompt] * spec.num_frames,
        latents=layout.pack(noise),
        generator=[step_noise_generator(spec.seed) for _ in range(spec.num_frames)],
        width=spec.width,
        height=spec.height,
        num_inference_steps=spec.num_inference_steps,
        output_type="pt",
        **CALLED_WITH.get(kind, {"guidance_scale": 3.0}),
    ).images
    return to_uint8(images)


def test_without_coupling_it_is_plain_diffusers_to_the_bit(checkpoint, model, free):
    _, kind, _ = checkpoint
    assert free.shape == (3, 64, 96, 3)
    assert np.array_equal(free, plain_diffusers(model, kind, clip_spec(**TRAITS)))


def test_coupling_changes_later_frames_and_leaves_frame_zero_alone(free, coupled):
    assert np.array_equal(coupled[0], free[0])
    assert not np.array_equal(coupled[1], free[1])
    assert not np.array_equal(coupled[2], free[2])


def test_chunked_equals_unchunked(model, coupled):
    chunked = render(model, clip_spec(**TRAITS, **STRONG), frames_per_batch=2)["clip"]
    assert largest_difference(coupled, chunked) <= ROUNDING


def test_guidance_counts(checkpoint, model, free):
    other = render(model, clip_spec(**TRAITS, guidance_scale=6.0))["clip"]
    _, kind, _ = checkpoint
    # Neither was trained to be told how much guidance there is, nor runs without guidance.
    unguided = kind in ("flux-schnell", "flux-2-klein-distilled")
    assert np.array_equal(other, free) == unguided


def test_a_size_that_the_family_cannot_render_is_refused(model):
    family = FAMILIES[model.identity.pipeline_class]
    granularity = model.pipeline.vae_scale_factor * family.size_multiple
    width = 2 * granularity + granularity // 2
    message = rf"{family.pipeline_class} .* multiples of {granularity} pixels, not {width}x64"
    with pytest.raises(ModelError, match=message):
        latent_layout(model.pipeline, 64, width)


def test_the_noise_that_goes_in_has_unit_variance(model):
    """The first step sees the numbers of the noise, however the family arranges them."""
    layout = latent_layout(model.pipeline, 64, 96)
    noise = correlated_noise(3, 0, 2, layout.shape, 0.5)
    scheduler, seen = model.pipeline.scheduler, []
    original = scheduler.step

    @functools.wraps(original)
    def step(model_output, timestep, sample, *args, **kwargs):
        seen.append(sample)
        return original(model_output, timestep, sample, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "step", step)
        model.pipeline(
            prompt=["a", "b"],
            latents=layout.pack(noise),
            width=96,
            height=64,
            num_inference_steps=1,
            output_type="latent",
            **FAMILIES[model.identity.pipeline_class].options,
        )
    scale = getattr(scheduler, "init_noise_sigma", 1.0)
    for row, frame in zip(seen[0] / scale, noise, strict=True):
        assert torch.allclose(row.flatten().sort().values, frame.flatten().sort().values)


def test_half_precision_renders(checkpoint):
    """The latents have the precision that the pipeline takes beside weights in bfloat16."""
    _, _, path = checkpoint
    model = load_pipeline(str(path), device="cpu", dtype="bfloat16")
    spec = clip_spec(**TRAITS | {"num_frames": 2, "num_inference_steps": 1}, **STRONG)
    assert render(model, spec)["clip"].std() > 1
