import numpy as np
import pytest
import tiny_pipelines
import torch
from diffusers import AutoencoderKL
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from rendering import ROUNDING, clip_spec, largest_difference, loaded, render
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPVisionConfig

from tempprop import decoding
from tempprop.decoding import decoded, undecoded
from tempprop.errors import RenderError
from tempprop.families import FAMILIES
from tempprop.render import render_clips

KINDS = [next(iter(tiny_pipelines.FAMILIES[family].values())) for family in FAMILIES]


@pytest.fixture(scope="module", params=KINDS, ids=lambda build: build.__name__)
def model(request):
    return loaded(request.param())


def test_a_few_at_a_time_is_the_same_as_all_at_once(model, monkeypatch):
    spec = clip_spec(width=64, height=64, num_inference_steps=1, num_frames=3)
    at_once = render(model, spec)["clip"]
    monkeypatch.setattr(decoding, "PIXELS_AT_A_TIME", 2 * 64 * 64)
    chunks = list(render_clips(model, [spec]))
    assert [len(chunk.frames) for chunk in chunks] == [2, 1]
    assert [chunk.state is None for chunk in chunks] == [True, True]
    few = np.concatenate([chunk.frames for chunk in chunks])
    assert largest_difference(at_once, few) <= ROUNDING


@pytest.mark.parametrize(("width", "together"), [(32, 4), (64, 1), (128, 1)])
def test_the_decoder_sees_no_more_pixels_at_a_time_than_allowed(width, together, monkeypatch):
    """Unless a single frame has more."""
    monkeypatch.setattr(decoding, "PIXELS_AT_A_TIME", 64 * 64)
    pipeline = tiny_pipelines.stable_diffusion()
    latents = torch.zeros(4, 4, width // 2, width // 2)
    shapes = [tuple(pictures.shape) for pictures in decoded(pipeline, latents, str)]
    assert shapes == [(together, 3, width, width)] * (4 // together)


def test_memory_that_runs_out_is_met_with_fewer_at_a_time():
    pipeline = tiny_pipelines.stable_diffusion()

    def greedy(module, inputs):
        if len(inputs[0]) > 2:
            torch.empty(2**57)

    hook = pipeline.vae.decoder.register_forward_pre_hook(greedy)
    few = [len(pictures) for pictures in decoded(pipeline, torch.zeros(7, 4, 8, 8), str)]
    hook.remove()
    assert few == [2, 2, 2, 1]


def test_the_autoencoder_decodes_in_the_precision_that_it_is_handed():
    pipeline = tiny_pipelines.stable_diffusion()
    pipeline.vae.to(torch.bfloat16)
    precisions = []
    hook = pipeline.vae.decoder.register_forward_hook(
        lambda module, inputs, output: precisions.append(output.dtype)
    )
    list(decoded(pipeline, torch.zeros(1, 4, 8, 8), str))
    hook.remove()
    assert precisions == [torch.float32]
    assert pipeline.vae.dtype == torch.bfloat16


def test_a_pipeline_is_left_as_it_was():
    pipeline = tiny_pipelines.stable_diffusion()
    with pytest.raises(KeyError), undecoded(pipeline):
        raise KeyError
    assert pipeline.vae.decode.__func__ is AutoencoderKL.decode
    assert "run_safety_checker" not in vars(pipeline)


def with_safety_checker(pipeline, threshold):
    """Give a pipeline diffusers' own safety checker, which refuses what is above a threshold."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
    )
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision.to_dict())).eval()
    checker.concept_embeds_weights.data.fill_(threshold)
    pipeline.safety_checker = checker
    pipeline.feature_extractor = CLIPImageProcessorPil(size=32, crop_size=32)
    return pipeline


def test_a_picture_that_the_safety_checker_refuses_is_an_error_and_not_a_black_frame():
    lenient, strict = 2.0, -2.0  # cosines lie between
    spec = clip_spec(num_inference_steps=1)
    free = render(loaded(tiny_pipelines.stable_diffusion()), spec)["clip"]
    checked = loaded(with_safety_checker(tiny_pipelines.stable_diffusion(), lenient))
    assert np.array_equal(render(checked, spec)["clip"], free)
    refused = loaded(with_safety_checker(tiny_pipelines.stable_diffusion(), strict))
    with pytest.raises(RenderError, match=r"clip 'clip': frame 0 is refused by the safety checker"):
        render(refused, spec)
