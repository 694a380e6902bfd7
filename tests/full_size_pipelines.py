"""Pipelines of the sizes of real checkpoints, with random weights."""

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tiny_pipelines import clip_text_config, clip_tokenizer, ready
from transformers import CLIPTextModel, CLIPTextModelWithProjection


def unet_1_5() -> UNet2DConditionModel:
    """The U-Net of Stable Diffusion 1.5: 859,520,964 weights."""
    return UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(320, 640, 1280, 1280),
        cross_attention_dim=768,
        attention_head_dim=8,
    )


def unet_xl() -> UNet2DConditionModel:
    """The U-Net of SDXL 1.0: 2,567,463,684 weights."""
    return UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        use_linear_projection=True,
        cross_attention_dim=2048,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def autoencoder() -> AutoencoderKL:
    """The autoencoder of both: 83,653,863 weights."""
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        sample_size=512,
    )


def _text(width: int, layers: int, **options: Any) -> dict[str, Any]:
    heads = width // 64
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "vocab_size": 49_408,
        "projection_dim": width,
    } | options


def stable_diffusion_1_5() -> StableDiffusionPipeline:
    """Stable Diffusion 1.5, for 512x512 pixels."""
    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline(
        unet=unet_1_5(),
        vae=autoencoder(),
        text_encoder=CLIPTextModel(clip_text_config(**_text(768, 12))),
        tokenizer=clip_tokenizer(),
        scheduler=DDIMScheduler(clip_sample=False, beta_schedule="scaled_linear", steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return ready(pipeline)


def stable_diffusion_xl() -> StableDiffusionXLPipeline:
    """SDXL 1.0, for 1024x1024 pixels."""
    torch.manual_seed(0)
    second = _text(1280, 32, intermediate_size=5120, hidden_act="gelu")
    pipeline = StableDiffusionXLPipeline(
        unet=unet_xl(),
        vae=autoencoder(),
        text_encoder=CLIPTextModel(clip_text_config(**_text(768, 12))),
        text_encoder_2=CLIPTextModelWithProjection(clip_text_config(**second)),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear"),
    )
    return ready(pipeline)
