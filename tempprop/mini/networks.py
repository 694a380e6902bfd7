"""The parts of the embedded model, untrained, and how they are saved as a pipeline.

All are classes of diffusers and transformers in small sizes, so the saved directory loads with
``StableDiffusionPipeline.from_pretrained`` like any other Stable Diffusion checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

PICTURE = 128
"""Side of the model's pictures in pixels."""

LATENT_CHANNELS = 8
"""Channels of a latent picture.

Flat illustration lives on crisp edges; at a reduction of 8 each latent pixel stands for 64 colors,
and four numbers for them leave outlines soft.
"""

MAX_TOKENS = 32
"""Tokens of a prompt, beginning and end included; a longer prompt is cut."""

START, END = "<|startoftext|>", "<|endoftext|>"


def build_tokenizer(captions: Iterable[str]) -> CLIPTokenizer:
    """Learn a byte-pair vocabulary in which every word of the captions is one token.

    Args:
        captions: Lower-case texts that hold every word to know.

    Returns:
        A tokenizer whose vocabulary also has all single bytes, so any text can be encoded.
    """
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        min_frequency=1,
        end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    learned = tokenizer.to_str()
    merges = [tuple(pair) for pair in json.loads(learned)["model"]["merges"]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(m) for m in merges)]
    vocabulary = {token: index for index, token in enumerate([*dict.fromkeys(tokens), START, END])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS)


def build_vae() -> AutoencoderKL:
    """Build the autoencoder: (3, 128, 128) pictures in -1 to 1 to (8, 16, 16) latents."""
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 48, 96, 160),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        # Few groups: a group of one channel would be normalized to mean zero and lose the color.
        norm_num_groups=4,
        sample_size=PICTURE,
        mid_block_add_attention=False,
    )
    # Begin with little noise on the latents; with the usual unit variance the first hundreds of
    # steps would pass before any signal gets through.
    with torch.no_grad():
        vae.quant_conv.bias[LATENT_CHANNELS:] = -6.0
    return vae


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Build the text encoder: token ids to (tokens, 192) states."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=192,
            intermediate_size=768,
            projection_dim=192,
            num_hidden_layers=3,
            num_attention_heads=6,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_unet() -> UNet2DConditionModel:
    """Build the denoiser of (8, 16, 16) latents, attending to text at every resolution."""
    return UNet2DConditionModel(
        sample_size=PICTURE // 8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(96, 160, 192),
        layers_per_block=1,
        attention_head_dim=(3, 5, 6),
        cross_attention_dim=192,
        norm_num_groups=32,
    )


def build_scheduler() -> DDIMScheduler:
    """Build the noise schedule.

    The model predicts the velocity v = α·ε - σ·x (Salimans & Ho 2022, section 4), and the last
    training step is pure noise (Lin et al. 2024, "Common Diffusion Noise Schedules and Sample
    Steps are Flawed", algorithm 1 and section 3.2), from which sampling starts: without it a model
    cannot draw very dark or very light pictures.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=0,
    )


def take_over(module: nn.Module, trained: nn.Module) -> None:
    """Give a new module the weights of a trained one, but for those of another shape.

    Of a text encoder for other words, the embeddings of the tokens stay as they are.

    Args:
        module: Changed in place.
        trained: A module of the same class.
    """
    fresh = module.state_dict()
    fitting = {
        name: tensor
        for name, tensor in trained.state_dict().items()
        if name in fresh and tensor.shape == fresh[name].shape
    }
    module.load_state_dict(fitting, strict=False)


def save_pipeline(
    directory: Path,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
) -> None:
    """Save the parts as a Stable Diffusion pipeline in half precision.

    Args:
        directory: Where to write; created if missing.
        vae: The autoencoder, its ``scaling_factor`` set.
        text_encoder: The text encoder.
        tokenizer: The tokenizer.
        unet: The denoiser.
    """
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(directory, safe_serialization=True)
