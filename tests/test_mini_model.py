"""The embedded model: its files, what it draws, and the classifier that judges it."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from tempprop.mini import MINI_PATH
from tempprop.mini.classifier import CLASSIFIER_PATH, load_classifier, recognize
from tempprop.mini.held_out import HELD_OUT
from tempprop.mini.networks import LATENT_CHANNELS, build_scheduler, build_vae
from tempprop.mini.recognize import generate, shares
from tempprop.mini.stills import captions_at, draw_stills, scene_at
from tempprop.mini.train import normalize_latents
from tempprop.mini.train_denoiser import velocity_weights

MEGABYTE = 1_000_000


def test_the_files_are_small_and_hold_no_pickle():
    files = [path for path in MINI_PATH.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 40 * MEGABYTE
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt"}
    assert CLASSIFIER_PATH.stat().st_size < 2 * MEGABYTE


def test_the_weights_are_in_half_precision():
    for path in [*MINI_PATH.rglob("*.safetensors"), CLASSIFIER_PATH]:
        with safe_open(path, "pt") as tensors:
            kinds = {tensors.get_tensor(name).dtype for name in tensors.keys()}  # noqa: SIM118
        assert kinds <= {torch.float16, torch.int64}


def test_the_pipeline_lists_its_parts():
    index = json.loads((MINI_PATH / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionPipeline"
    assert index["unet"][1] == "UNet2DConditionModel"
    assert index["safety_checker"] == [None, None]


def test_a_quick_picture_is_finite_and_repeatable():
    pictures = generate(["a red balloon over green hills"], steps=3, guidance=2.0, seed=1)
    assert pictures.shape == (1, 128, 128, 3)
    assert pictures.std() > 10
    again = generate(["a red balloon over green hills"], steps=3, guidance=2.0, seed=1)
    assert np.array_equal(pictures, again)


def test_the_classifier_is_right_on_fresh_stills():
    answers = recognize(load_classifier(), draw_stills(400, HELD_OUT))
    scenes = [scene_at(index, HELD_OUT) for index in range(400)]
    for share in shares(answers, scenes).values():
        assert share >= 0.97


def test_the_last_training_step_is_pure_noise_and_keeps_its_weight():
    signal = build_scheduler().alphas_cumprod
    assert float(signal[-1]) == pytest.approx(0, abs=1e-7)
    weights = velocity_weights(signal / (1 - signal))
    assert float(weights[-1]) == 1
    assert float(weights[0]) < 0.01


def test_normalizing_latents_keeps_the_pictures():
    torch.manual_seed(0)
    vae = build_vae().eval()
    picture = torch.rand(1, 3, 32, 32) * 2 - 1
    mean, std = torch.randn(LATENT_CHANNELS), torch.rand(LATENT_CHANNELS) + 0.5
    with torch.no_grad():
        before = vae.encode(picture).latent_dist
        expected = vae.decode(before.mean).sample
        normalize_latents(vae, mean, std)
        after = vae.encode(picture).latent_dist
        shape = (1, LATENT_CHANNELS, 1, 1)
        scaled = (before.mean - mean.view(shape)) / std.view(shape)
        torch.testing.assert_close(after.mean, scaled, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(after.std, before.std / std.view(shape), rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(vae.decode(after.mean).sample, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_generated_pictures_show_what_was_asked_for():
    prompts = [captions_at(index, HELD_OUT, 1)[0] for index in range(40)]
    pictures = generate(prompts, steps=12, guidance=2.5, seed=0)
    scenes = [scene_at(index, HELD_OUT) for index in range(40)]
    for share in shares(recognize(load_classifier(), pictures), scenes).values():
        assert share >= 0.8
