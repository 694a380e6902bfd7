import functools
import inspect
from contextlib import contextmanager

import numpy as np
import pytest
import tiny_pipelines
import torch
from rendering import (
    ROUNDING,
    STRONG,
    clip_spec,
    largest_difference,
    plain_diffusers,
    render,
)

from tempprop.errors import ModelError
from tempprop.families import FAMILIES, latent_layout
from tempprop.noise import correlated_noise
from tempprop.pipeline import load_pipeline
from tempprop.prompts import prompt_encoder
from tempprop.spec import Motion, PromptKeyframe

KINDS = [
    pytest.param((family, kind), id=kind)
    for family in FAMILIES
    for kind in tiny_pipelines.FAMILIES[family]
]
"""Every family that the product names, with each kind of its checkpoints."""

GUIDED = {"guidance_scale": 3.0}

CALLED_WITH = {
    "flux-schnell": {},
    "qwen-image": {"true_cfg_scale": 3.0, "negative_prompt": " "},
    "sana": GUIDED | {"use_resolution_binning": False},
    "pixart-sigma": GUIDED | {"use_resolution_binning": False},
}
"""How somebody who knows the pipeline would ask it for guidance 3 and a size of its own."""

DISTILLED = ("latent-consistency", "flux-dev", "flux-2-klein-distilled")
"""Kinds of checkpoints whose guidance is distilled into their weights."""

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


def called(model, kind, spec, **arguments):
    """Render with plain diffusers, as somebody would who knows that kind of checkpoint."""
    return plain_diffusers(model, spec, **CALLED_WITH.get(kind, GUIDED) | arguments)


@contextmanager
def counted_encodings(model):
    """Count how often the text encoders of a model run."""
    runs = []
    encoders = [part for name, part in model.pipeline.components.items() if "text_encoder" in name]
    hooks = [part.register_forward_hook(lambda *_: runs.append(1)) for part in encoders]
    try:
        yield runs
    finally:
        for hook in hooks:
            hook.remove()


def test_without_coupling_it_is_plain_diffusers_to_the_bit(checkpoint, model, free):
    _, kind, _ = checkpoint
    assert free.shape == (3, 64, 96, 3)
    assert np.array_equal(free, called(model, kind, clip_spec(**TRAITS)))


def test_coupling_changes_later_frames_and_leaves_frame_zero_alone(free, coupled):
    assert np.array_equal(coupled[0], free[0])
    assert not np.array_equal(coupled[1], free[1])
    assert not np.array_equal(coupled[2], free[2])


def test_chunked_equals_unchunked(model, coupled):
    chunked = render(model, clip_spec(**TRAITS, **STRONG), frames_per_batch=2)["clip"]
    assert largest_difference(coupled, chunked) <= ROUNDING


def test_a_prompt_for_each_frame_is_the_same_up_to_rounding(checkpoint, model, free):
    """The text encoders, too, round in another way when they are given a batch."""
    _, kind, _ = checkpoint
    spec = clip_spec(**TRAITS)
    prompts = {"prompt": [spec.prompt] * spec.num_frames, "num_images_per_prompt": 1}
    if kind == "qwen-image":
        prompts["negative_prompt"] = [" "] * spec.num_frames
    assert largest_difference(free, called(model, kind, spec, **prompts)) <= ROUNDING


def test_neighbors_with_longer_prompts_do_not_matter(model):
    traits = TRAITS | STRONG | {"num_frames": 2}
    one = clip_spec("one", **traits)
    other = clip_spec("other", **traits, prompt="something else that goes on and on " * 2)
    together = render(model, other, one, frames_per_batch=3)
    for spec in (one, other):
        alone = render(model, spec)[spec.clip_id]
        assert largest_difference(together[spec.clip_id], alone) <= ROUNDING


def test_a_prompt_is_encoded_once_for_all_chunks_and_clips(model):
    spec, encoder = clip_spec(**TRAITS), prompt_encoder(model)
    with counted_encodings(model) as one_frame:
        render(model, clip_spec(**TRAITS | {"num_frames": 1}))
    with counted_encodings(model) as three_chunks:
        render(model, spec, frames_per_batch=1, encoder=encoder)
    assert len(three_chunks) == len(one_frame) > 0
    with counted_encodings(model) as another_clip:
        render(model, spec.model_copy(update={"seed": 12}), encoder=encoder)
    assert not another_clip


def test_prompts_travel_from_keyframe_to_keyframe(model, free):
    there = "another picture"
    travel = clip_spec(**TRAITS, prompts=(PromptKeyframe(frame=2, prompt=there),))
    frames = render(model, travel)["clip"]
    arrived = render(model, clip_spec(**TRAITS, prompt=there))["clip"]
    assert largest_difference(frames[0], free[0]) <= ROUNDING
    assert largest_difference(frames[2], arrived[2]) <= ROUNDING
    assert not np.array_equal(frames[1], free[1])
    assert not np.array_equal(frames[1], arrived[1])


def test_a_negative_prompt_counts_or_is_refused(checkpoint, model, free):
    _, kind, _ = checkpoint
    spec = clip_spec(**TRAITS, negative_prompt="ugly")
    if kind in DISTILLED:
        with pytest.raises(ModelError, match=r"led away from 'ugly'.*Leave negative_prompt empty"):
            render(model, spec)
        return
    frames = render(model, spec)["clip"]
    assert not np.array_equal(frames, free)
    if "negative_prompt" in inspect.signature(model.pipeline.__call__).parameters:
        arguments = {"negative_prompt": "ugly"}
        if kind == "flux-schnell":
            arguments["true_cfg_scale"] = 3.0
        assert np.array_equal(frames, called(model, kind, spec, **arguments))


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


def test_low_frequencies_can_be_coupled_alone(model, coupled):
    spec = clip_spec(**TRAITS, **STRONG, propagation_low_pass=1.0)
    assert not np.array_equal(render(model, spec)["clip"], coupled)


def test_a_moving_camera_moves_later_frames_and_is_chunk_exact(model, coupled):
    motion = Motion(zoom=1.1, translation_x="0:(0), 2:(12)", angle=5)
    spec = clip_spec(**TRAITS, **STRONG, motion=motion)
    moving = render(model, spec)["clip"]
    assert np.array_equal(moving[0], coupled[0])
    assert not np.array_equal(moving[1], coupled[1])
    chunked = render(model, spec, frames_per_batch=2)["clip"]
    assert largest_difference(moving, chunked) <= ROUNDING


def test_the_noise_that_goes_in_is_what_the_first_step_sees_on_its_grid(checkpoint, model):
    layout = latent_layout(model.pipeline, 64, 96)
    noise = correlated_noise(3, 0, 2, layout.shape, 0.5).frames
    scheduler, seen = model.pipeline.scheduler, []
    original = scheduler.step

    @functools.wraps(original)
    def step(model_output, timestep, sample, *args, **kwargs):
        seen.append(sample)
        return original(model_output, timestep, sample, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "step", step)
        model.pipeline(
            prompt="a",
            num_images_per_prompt=2,
            latents=layout.pack(noise),
            width=96,
            height=64,
            num_inference_steps=1,
            output_type="latent",
            **CALLED_WITH.get(checkpoint[1], GUIDED),
        )
    scale = getattr(scheduler, "init_noise_sigma", 1.0)
    assert torch.allclose(layout.to_grid(seen[0] / scale), noise)
    assert torch.equal(layout.from_grid(layout.to_grid(seen[0])), seen[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_table_knows_which_checkpoints_are_distilled(family):
    of_kinds = [kind in DISTILLED for kind in tiny_pipelines.FAMILIES[family]]
    known = {"none": not any(of_kinds), "all": all(of_kinds), "some": len(set(of_kinds)) == 2}
    assert known[FAMILIES[family].distilled]


def test_half_precision_renders(checkpoint):
    """The latents have the precision that the pipeline takes beside weights in bfloat16."""
    _, _, path = checkpoint
    model = load_pipeline(str(path), device="cpu", dtype="bfloat16")
    spec = clip_spec(**TRAITS | {"num_frames": 2, "num_inference_steps": 1}, **STRONG)
    assert render(model, spec)["clip"].std() > 1
