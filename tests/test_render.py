import numpy as np
import pytest
import torch
from diffusers import LCMScheduler
from rendering import ROUNDING, STRONG, clip_spec, largest_difference, loaded, render
from tiny_pipelines import flux, stable_diffusion

from tempprop.errors import NonFiniteLatentsError, RenderError


@pytest.fixture(scope="module")
def model():
    return loaded(stable_diffusion())


@pytest.mark.parametrize("keeps", ["noise", "sample"])
@pytest.mark.parametrize("build", [stable_diffusion, flux])
def test_what_the_coupling_keeps(build, keeps):
    """Both ways of coupling change what is not frame 0, in grids of pixels and in tokens."""
    model = loaded(build())
    free = render(model, clip_spec())["clip"]
    coupled = render(model, clip_spec(**STRONG, propagation_keeps=keeps))["clip"]
    assert np.array_equal(coupled[0], free[0])
    assert not np.array_equal(coupled[1], free[1])


@pytest.mark.parametrize("frames_per_batch", [1, 4])
def test_chunked_equals_unchunked(model, frames_per_batch):
    spec = clip_spec(**STRONG)
    whole = render(model, spec)["clip"]
    chunked = render(model, spec, frames_per_batch=frames_per_batch)["clip"]
    assert whole.shape == (5, 32, 32, 3)
    assert largest_difference(whole, chunked) <= ROUNDING


def test_neighbors_in_the_batch_do_not_matter(model):
    one, other = clip_spec("one", **STRONG), clip_spec("other", seed=12, **STRONG)
    together = render(model, other, one, frames_per_batch=4)
    assert largest_difference(together["one"], render(model, one)["one"]) <= ROUNDING
    assert largest_difference(together["other"], render(model, other)["other"]) <= ROUNDING


def test_full_coupling_with_full_noise_correlation_is_a_frozen_clip(model):
    clip = render(
        model, clip_spec(noise_correlation=1.0, propagation_strength=1.0, propagation_end=1.0)
    )["clip"]
    assert largest_difference(clip, np.broadcast_to(clip[0], clip.shape)) <= ROUNDING


def test_stochastic_schedulers_are_chunk_exact_too():
    model = loaded(stable_diffusion(LCMScheduler(beta_schedule="scaled_linear")))
    spec = clip_spec(num_inference_steps=4, **STRONG)
    whole, chunked = render(model, spec), render(model, spec, frames_per_batch=2)
    assert largest_difference(whole["clip"], chunked["clip"]) <= ROUNDING


def test_seed_and_prompt_matter(model):
    base = render(model, clip_spec())["clip"]
    for change in ({"seed": 12}, {"prompt": "zzz 99"}, {"negative_prompt": "qqq"}):
        assert not np.array_equal(render(model, clip_spec(**change))["clip"], base)


def test_progress_counts_every_step_of_every_frame(model):
    seen = []
    specs = [clip_spec("a"), clip_spec("b", num_frames=2)]
    render(
        model,
        *specs,
        frames_per_batch=4,
        on_step=lambda done, total: seen.append((done, total)),
    )
    assert {total for _, total in seen} == {7 * 3}
    assert [done for done, _ in seen] == [0, 4, 8, 12, 15, 18]


def test_clips_that_cannot_share_a_batch_are_refused(model):
    with pytest.raises(ValueError, match="same model, size"):
        render(model, clip_spec("a"), clip_spec("b", num_inference_steps=4))


def test_overflow_names_clip_frame_and_step():
    pipeline = stable_diffusion()
    pipeline.unet.conv_out.weight.data.fill_(torch.inf)
    with pytest.raises(NonFiniteLatentsError, match=r"clip 'clip'.*frame 0.*step 0"):
        render(loaded(pipeline), clip_spec())


def test_a_decoder_that_overflows_names_clip_and_frame():
    pipeline = stable_diffusion()
    pipeline.vae.decoder.conv_out.bias.data.fill_(torch.nan)
    with pytest.raises(RenderError, match=r"clip 'clip': frame 0 decodes"):
        render(loaded(pipeline), clip_spec(), frames_per_batch=2)
