"""Real diffusers pipelines with a few thousand random weights, built offline."""

import string
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)


def _tokenizer() -> CLIPTokenizer:
    symbols = string.ascii_lowercase + string.digits + string.punctuation
    tokens = ["<|startoftext|>", "<|endoftext|>", *symbols, *(f"{s}</w>" for s in symbols)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def _text_config(**options: Any) -> CLIPTextConfig:
    values = {
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "vocab_size": 200,
        "projection_dim": 16,
    }
    return CLIPTextConfig(**(values | options))


def _vae(latent_channels: int = 4, **options: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8),
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latent_channels,
        norm_num_groups=4,
        **options,
    )


def _unet(**options: Any) -> UNet2DConditionModel:
    values = {
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "sample_size": 16,
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 16,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**(values | options))


def _ready(pipeline: Any) -> Any:
    """Switch dropout off, as loading a saved pipeline does."""
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def stable_diffusion(scheduler: Any = None) -> StableDiffusionPipeline:
    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline(
        unet=_unet(),
        vae=_vae(),
        text_encoder=CLIPTextModel(_text_config()),
        tokenizer=_tokenizer(),
        scheduler=scheduler
        or DDIMScheduler(clip_sample=False, beta_schedule="scaled_linear", steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return _ready(pipeline)


def stable_diffusion_xl(scheduler: Any = None) -> StableDiffusionXLPipeline:
    torch.manual_seed(0)
    pipeline = StableDiffusionXLPipeline(
        unet=_unet(
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 16,
            cross_attention_dim=32,
        ),
        vae=_vae(),
        text_encoder=CLIPTextModel(_text_config()),
        text_encoder_2=CLIPTextModelWithProjection(_text_config()),
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        scheduler=scheduler or EulerDiscreteScheduler(),
    )
    return _ready(pipeline)


def _t5(width: int) -> tuple[T5EncoderModel, T5Tokenizer]:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in string.ascii_lowercase]
    config = T5Config(d_model=width, d_ff=24, d_kv=8, num_heads=2, num_layers=1, vocab_size=64)
    return T5EncoderModel(config), T5Tokenizer(vocab=pieces, extra_ids=0)


def stable_diffusion_3() -> StableDiffusion3Pipeline:
    torch.manual_seed(0)
    text_encoder_3, tokenizer_3 = _t5(32)
    pipeline = StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=16,
            patch_size=1,
            in_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=32,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            out_channels=4,
        ),
        vae=_vae(shift_factor=0.0609, scaling_factor=1.5),
        text_encoder=CLIPTextModelWithProjection(_text_config()),
        text_encoder_2=CLIPTextModelWithProjection(_text_config()),
        text_encoder_3=text_encoder_3,
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        tokenizer_3=tokenizer_3,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )
    return _ready(pipeline)


def flux() -> FluxPipeline:
    torch.manual_seed(0)
    text_encoder_2, tokenizer_2 = _t5(16)
    pipeline = FluxPipeline(
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            axes_dims_rope=[4, 4, 8],
        ),
        vae=_vae(shift_factor=0.0609, scaling_factor=1.5),
        text_encoder=CLIPTextModel(_text_config()),
        text_encoder_2=text_encoder_2,
        tokenizer=_tokenizer(),
        tokenizer_2=tokenizer_2,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )
    return _ready(pipeline)


FAMILIES = {
    "stable-diffusion": stable_diffusion,
    "stable-diffusion-xl": stable_diffusion_xl,
    "stable-diffusion-3": stable_diffusion_3,
    "flux": flux,
}


def save(family: str, directory: Path) -> Path:
    """Write a pipeline as a user's checkpoint would lie on disk."""
    FAMILIES[family]().save_pretrained(directory)
    return directory
