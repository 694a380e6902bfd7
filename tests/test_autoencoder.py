"""Encoding is the inverse of what every pipeline does before it decodes."""

import functools

import pytest
import torch
from rendering import autoencoder_mode, clip_spec, loaded
from tiny_pipelines import FAMILIES, stable_diffusion_xl

from tempprop.autoencoder import encode_pictures
from tempprop.families import latent_layout
from tempprop.render import render_clips

HEIGHT, WIDTH = 64, 96
ROUNDING = 1e-5


def pictures(frames=1, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(frames, 3, HEIGHT, WIDTH, generator=generator)


def decoded_latents(pipeline, clean):
    """Find out what a pipeline hands to its autoencoder when denoising ends at clean latents."""
    layout, decoded = latent_layout(pipeline, HEIGHT, WIDTH), []
    scheduler, autoencoder = type(pipeline.scheduler), type(pipeline.vae)
    step, decode = scheduler.step, autoencoder.decode

    @functools.wraps(step)
    def end_there(self, model_output, timestep, sample, *args, **kwargs):
        step(self, model_output, timestep, sample, *args, **kwargs)
        packed = layout.from_grid(clean).to(sample.dtype)
        # The second of the two is LCM's, whose pipeline decodes it.
        return packed, packed

    @functools.wraps(decode)
    def note(self, latents, *args, **kwargs):
        decoded.append(latents)
        return decode(self, latents, *args, **kwargs)

    spec = clip_spec(num_frames=1, width=WIDTH, height=HEIGHT, num_inference_steps=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "step", end_there)
        patch.setattr(autoencoder, "decode", note)
        list(render_clips(loaded(pipeline), [spec]))
    return decoded[0]


def with_statistics():
    """SDXL with the means and deviations of latents that some of its checkpoints have."""
    pipeline = stable_diffusion_xl()
    pipeline.vae.register_to_config(
        latents_mean=[-1.6, 1.1, 1.4, -3.1], latents_std=[8.4, 5.9, 5.1, 3.2]
    )
    return pipeline


BUILDERS = [
    *(pytest.param(kinds[kind], id=kind) for kinds in FAMILIES.values() for kind in kinds),
    pytest.param(with_statistics, id="stable-diffusion-xl-with-statistics"),
]


@pytest.mark.parametrize("build", BUILDERS)
def test_what_was_encoded_is_what_the_pipeline_decodes(build):
    pipeline, picture = build(), pictures()
    with torch.no_grad():
        clean = encode_pictures(pipeline, picture)
        expected = autoencoder_mode(pipeline.vae, picture)
        seen = decoded_latents(pipeline, clean)
    assert clean.shape[1:] == latent_layout(pipeline, HEIGHT, WIDTH).shape
    assert expected.std() > 1e-3
    assert torch.allclose(seen, expected, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("build", BUILDERS)
def test_pictures_are_encoded_one_by_one(build):
    pipeline, both = build(), pictures(2)
    together = encode_pictures(pipeline, both)
    apart = torch.cat([encode_pictures(pipeline, picture[None]) for picture in both])
    assert torch.allclose(together, apart, rtol=ROUNDING, atol=ROUNDING)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_for_a_while(dtype):
    """SDXL's autoencoder overflows in float16; this one does in its first layer."""
    pipeline, picture = stable_diffusion_xl(), pictures()
    pipeline.vae.encoder.conv_in.weight.data.mul_(2**17)
    pipeline.vae.encoder.conv_out.weight.data.mul_(2**-3)
    pipeline.vae.to(dtype)
    weights = {name: value.clone() for name, value in pipeline.vae.state_dict().items()}
    with torch.no_grad():
        overflows = not torch.isfinite(autoencoder_mode(pipeline.vae, picture.to(dtype))).all()
    assert overflows == (dtype == torch.float16)
    latents = encode_pictures(pipeline, picture)
    assert latents.dtype == torch.float32
    assert torch.isfinite(latents).all()
    assert pipeline.vae.dtype == dtype
    for name, value in pipeline.vae.state_dict().items():
        assert torch.equal(value, weights[name])
