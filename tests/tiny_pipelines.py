"""Real diffusers pipelines with a few thousand random weights, built offline."""

import functools
import string
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    KolorsPipeline,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel
from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer
from sentencepiece import SentencePieceTrainer
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    GlmConfig,
    GlmModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
    "{% if enable_thinking %}<think>{% endif %}"
)


def clip_tokenizer() -> CLIPTokenizer:
    symbols = string.ascii_lowercase + string.digits + string.punctuation
    tokens = ["<|startoftext|>", "<|endoftext|>", *symbols, *(f"{s}</w>" for s in symbols)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def clip_text_config(**options: Any) -> CLIPTextConfig:
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


def _vae(levels: int = 2, **options: Any) -> AutoencoderKL:
    """Build an autoencoder that makes 2^(levels - 1) pixels one latent pixel."""
    return AutoencoderKL(
        block_out_channels=(8,) * levels,
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=4,
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


def ready(pipeline: Any) -> Any:
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
        text_encoder=CLIPTextModel(clip_text_config()),
        tokenizer=clip_tokenizer(),
        scheduler=scheduler
        or DDIMScheduler(clip_sample=False, beta_schedule="scaled_linear", steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return ready(pipeline)


def stable_diffusion_2() -> StableDiffusionPipeline:
    """Build Stable Diffusion 2.1, which predicts v."""
    return stable_diffusion(
        DDIMScheduler(
            prediction_type="v_prediction",
            clip_sample=False,
            beta_schedule="scaled_linear",
            steps_offset=1,
        )
    )


def latent_consistency() -> LatentConsistencyModelPipeline:
    torch.manual_seed(0)
    pipeline = LatentConsistencyModelPipeline(
        unet=_unet(time_cond_proj_dim=32),
        vae=_vae(),
        text_encoder=CLIPTextModel(clip_text_config()),
        tokenizer=clip_tokenizer(),
        scheduler=LCMScheduler(beta_schedule="scaled_linear", clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return ready(pipeline)


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
        text_encoder=CLIPTextModel(clip_text_config()),
        text_encoder_2=CLIPTextModelWithProjection(clip_text_config()),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        scheduler=scheduler or EulerDiscreteScheduler(),
    )
    return ready(pipeline)


def stable_diffusion_xl_turbo() -> StableDiffusionXLPipeline:
    return stable_diffusion_xl(EulerAncestralDiscreteScheduler(timestep_spacing="trailing"))


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
            patch_size=2,
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
        text_encoder=CLIPTextModelWithProjection(clip_text_config()),
        text_encoder_2=CLIPTextModelWithProjection(clip_text_config()),
        text_encoder_3=text_encoder_3,
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        tokenizer_3=tokenizer_3,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )
    return ready(pipeline)


def flux(*, guidance_embeds: bool = False) -> FluxPipeline:
    """Build Flux: the distilled schnell, or dev, which takes its guidance as an embedding."""
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
            guidance_embeds=guidance_embeds,
        ),
        vae=_vae(shift_factor=0.0609, scaling_factor=1.5),
        text_encoder=CLIPTextModel(clip_text_config()),
        text_encoder_2=text_encoder_2,
        tokenizer=clip_tokenizer(),
        tokenizer_2=tokenizer_2,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )
    return ready(pipeline)


def flux_dev() -> FluxPipeline:
    return flux(guidance_embeds=True)


def _byte_vocabulary(*special: str) -> dict[str, int]:
    """Number the special tokens and one token for each byte, as byte-level tokenizers write it."""
    tokens = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    return {token: index for index, token in enumerate(tokens)}


def _qwen_tokenizer() -> Qwen2Tokenizer:
    tokenizer = Qwen2Tokenizer(vocab=_byte_vocabulary("<|endoftext|>"), merges=[])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _qwen_3(num_hidden_layers: int) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
    )
    return Qwen3ForCausalLM(config)


def flux_2_klein(*, is_distilled: bool = False) -> Flux2KleinPipeline:
    torch.manual_seed(0)
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
    )
    # Statistics as training leaves them; those of a new layer change nothing.
    torch.nn.init.normal_(vae.bn.running_mean)
    torch.nn.init.uniform_(vae.bn.running_var, 0.5, 2.0)
    pipeline = Flux2KleinPipeline(
        transformer=Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=48,
            timestep_guidance_channels=16,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ),
        vae=vae,
        # The pipeline reads the hidden states of the layers 9, 18 and 27.
        text_encoder=_qwen_3(num_hidden_layers=27),
        tokenizer=_qwen_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        is_distilled=is_distilled,
    )
    return ready(pipeline)


def flux_2_klein_distilled() -> Flux2KleinPipeline:
    return flux_2_klein(is_distilled=True)


def z_image() -> ZImagePipeline:
    torch.manual_seed(0)
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[8, 4, 4],
        axes_lens=[1024, 32, 32],
    )
    for pad_token in (transformer.x_pad_token, transformer.cap_pad_token):
        torch.nn.init.normal_(pad_token)
    pipeline = ZImagePipeline(
        transformer=transformer,
        vae=_vae(shift_factor=0.0609, scaling_factor=1.5),
        text_encoder=_qwen_3(num_hidden_layers=2),
        tokenizer=_qwen_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    return ready(pipeline)


def qwen_image() -> QwenImagePipeline:
    torch.manual_seed(0)
    language = {
        "vocab_size": 300,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": 16,
    }
    pipeline = QwenImagePipeline(
        transformer=QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(8, 4, 4),
        ),
        vae=AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=4,
            dim_mult=[1, 2],
            num_res_blocks=1,
            temperal_downsample=[False],
            latents_mean=[0.1, -0.2, 0.3, 0.0],
            latents_std=[1.0, 1.5, 0.7, 1.2],
        ),
        text_encoder=Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(text_config=language, vision_config=vision)
        ),
        tokenizer=_qwen_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )
    return ready(pipeline)


def _gemma() -> tuple[Gemma2Model, GemmaTokenizer]:
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *string.printable]
    config = Gemma2Config(
        vocab_size=len(tokens),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=4,
    )
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return Gemma2Model(config), GemmaTokenizer(vocab=vocabulary, merges=[])


def sana() -> SanaPipeline:
    torch.manual_seed(0)
    text_encoder, tokenizer = _gemma()
    # The pipeline insists on multiples of 32 pixels, which are 32 pixels to a latent pixel.
    levels = 6
    pipeline = SanaPipeline(
        transformer=SanaTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_attention_heads=2,
            attention_head_dim=4,
            num_cross_attention_heads=2,
            cross_attention_head_dim=4,
            cross_attention_dim=8,
            caption_channels=8,
            sample_size=32,
        ),
        vae=AutoencoderDC(
            latent_channels=4,
            encoder_block_out_channels=(8,) * levels,
            decoder_block_out_channels=(8,) * levels,
            encoder_layers_per_block=(1,) * levels,
            decoder_layers_per_block=(1,) * levels,
            encoder_qkv_multiscales=((),) * levels,
            decoder_qkv_multiscales=((),) * levels,
            scaling_factor=0.41407,
        ),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )
    return ready(pipeline)


def pixart_sigma() -> PixArtSigmaPipeline:
    torch.manual_seed(0)
    text_encoder, tokenizer = _t5(16)
    pipeline = PixArtSigmaPipeline(
        transformer=PixArtTransformer2DModel(
            in_channels=4,
            # Twice the channels: the noise and its variance, of which the pipeline keeps the first.
            out_channels=8,
            num_layers=1,
            num_attention_heads=2,
            attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=16,
            sample_size=16,
            use_additional_conditions=False,
        ),
        vae=_vae(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=DPMSolverMultistepScheduler(),
    )
    return ready(pipeline)


def lumina_2() -> Lumina2Pipeline:
    torch.manual_seed(0)
    text_encoder, tokenizer = _gemma()
    pipeline = Lumina2Pipeline(
        transformer=Lumina2Transformer2DModel(
            sample_size=16,
            in_channels=4,
            hidden_size=16,
            num_layers=1,
            num_refiner_layers=1,
            num_attention_heads=2,
            num_kv_heads=2,
            multiple_of=16,
            axes_dim_rope=(4, 2, 2),
            cap_feat_dim=8,
        ),
        # The pipeline takes 8 pixels to a latent pixel for granted.
        vae=_vae(levels=4, shift_factor=0.1159, scaling_factor=0.3611),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
    )
    return ready(pipeline)


def _glm() -> tuple[GlmModel, PreTrainedTokenizerFast]:
    vocabulary = _byte_vocabulary("<|endoftext|>", "[gMASK]", "<sop>")
    byte_level = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level.decoder = decoders.ByteLevel()
    byte_level.post_processor = processors.TemplateProcessing(
        single="[gMASK] <sop> $A", special_tokens=[("[gMASK]", 1), ("<sop>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level, pad_token="<|endoftext|>", padding_side="left"
    )
    config = GlmConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        pad_token_id=0,
        eos_token_id=[0],
    )
    return GlmModel(config), tokenizer


def cogview_4() -> CogView4Pipeline:
    torch.manual_seed(0)
    text_encoder, tokenizer = _glm()
    pipeline = CogView4Pipeline(
        transformer=CogView4Transformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            text_embed_dim=16,
            time_embed_dim=8,
            condition_dim=4,
            sample_size=16,
        ),
        # The pipeline insists on multiples of 16 pixels, which are 8 pixels to a latent pixel.
        vae=_vae(levels=4),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(
            base_shift=0.25, max_shift=0.75, use_dynamic_shifting=True, time_shift_type="linear"
        ),
    )
    return ready(pipeline)


@functools.cache
def _letters() -> tempfile.TemporaryDirectory[str]:
    """Train a tokenizer of letters; its file has to stay where it is until it is saved."""
    directory = tempfile.TemporaryDirectory(prefix="tempprop-letters-")
    SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(string.ascii_lowercase)]),
        model_prefix=f"{directory.name}/tokenizer",
        model_type="char",
        vocab_size=30,
        minloglevel=2,
    )
    return directory


def _chat_glm() -> tuple[ChatGLMModel, ChatGLMTokenizer]:
    tokenizer = ChatGLMTokenizer(f"{_letters().name}/tokenizer.model")
    config = ChatGLMConfig(
        padded_vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        ffn_hidden_size=16,
        num_layers=2,
        num_attention_heads=2,
        kv_channels=8,
        multi_query_attention=True,
        multi_query_group_num=1,
        seq_length=256,
        add_qkv_bias=True,
        original_rope=True,
    )
    text_encoder = ChatGLMModel(config, empty_init=False)
    for name, parameter in text_encoder.named_parameters():
        # A new model leaves the scales of its norms to whatever the memory held before.
        if "norm" in name:
            torch.nn.init.ones_(parameter)
    return text_encoder, tokenizer


def kolors() -> KolorsPipeline:
    torch.manual_seed(0)
    text_encoder, tokenizer = _chat_glm()
    pipeline = KolorsPipeline(
        unet=_unet(
            encoder_hid_dim_type="text_proj",
            encoder_hid_dim=16,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 16,
        ),
        vae=_vae(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=EulerDiscreteScheduler(),
    )
    return ready(pipeline)


FAMILIES = {
    "StableDiffusionPipeline": {
        "stable-diffusion": stable_diffusion,
        "stable-diffusion-2": stable_diffusion_2,
    },
    "StableDiffusionXLPipeline": {
        "stable-diffusion-xl": stable_diffusion_xl,
        "stable-diffusion-xl-turbo": stable_diffusion_xl_turbo,
    },
    "LatentConsistencyModelPipeline": {"latent-consistency": latent_consistency},
    "KolorsPipeline": {"kolors": kolors},
    "StableDiffusion3Pipeline": {"stable-diffusion-3": stable_diffusion_3},
    "FluxPipeline": {"flux-schnell": flux, "flux-dev": flux_dev},
    "Flux2KleinPipeline": {
        "flux-2-klein": flux_2_klein,
        "flux-2-klein-distilled": flux_2_klein_distilled,
    },
    "ZImagePipeline": {"z-image": z_image},
    "QwenImagePipeline": {"qwen-image": qwen_image},
    "SanaPipeline": {"sana": sana},
    "PixArtSigmaPipeline": {"pixart-sigma": pixart_sigma},
    "Lumina2Pipeline": {"lumina-2": lumina_2},
    "CogView4Pipeline": {"cogview-4": cogview_4},
}
"""By the class of the pipeline: the kinds of checkpoints that there are of it."""


def save(name: str, directory: Path) -> Path:
    """Write a pipeline as a user's checkpoint would lie on disk."""
    builders = {name: build for kinds in FAMILIES.values() for name, build in kinds.items()}
    builders[name]().save_pretrained(directory)
    return directory
