"""Text2Video-Zero (Khachatryan et al., 2023), as diffusers has it, on the same checkpoint.

The first frame is denoised from T to T1 and on to T0; all others are its latent at T0, moved along
a straight line and noised back to T1. From there all are denoised together, with the keys and
values of the first frame in place of their own (sections 3.3.1 and 3.3.2).

`TextToVideoZeroPipeline` runs on checkpoints of Stable Diffusion as they are: it leaves the step to
the scheduler, which knows what the model predicts, and takes the number of latent channels from the
denoiser. It adds noise with the scheduler's `alphas`, so that it needs one of discrete time; every
checkpoint is given diffusers' DDIM with its own betas.
"""

from typing import Any

import torch
from diffusers import DDIMScheduler, TextToVideoZeroPipeline
from pydantic import Field

from tempprop.errors import InputError, ModelError
from tempprop.families import latent_layout
from tempprop.frames import Frames
from tempprop.noise import frame_noise, step_noise_generator
from tempprop.pipeline import LoadedModel
from tempprop.render import to_uint8
from tempprop.spec import ClipSpec, Frozen

STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
"""The schedule for which the paper gives its timesteps."""

COMPONENTS = ("vae", "text_encoder", "tokenizer", "unet", "feature_extractor")


class ZeroSettings(Frozen):
    """What Text2Video-Zero is asked for; the defaults are those of the paper and of diffusers.

    Attributes:
        motion_field_strength_x: How far things move to the left a frame, in 512ths of the width.
        motion_field_strength_y: How far things move up a frame, in 512ths of the height.
        t0: Timestep of Stable Diffusion's schedule at which the first frame is moved. Of 50 steps
            it is the one that diffusers counts as `t0` = 44 from the end.
        t1: Timestep to which the moved frames are noised back; diffusers' `t1` = 47 of 50.
    """

    motion_field_strength_x: float = 12.0
    motion_field_strength_y: float = 12.0
    t0: int = Field(default=881, ge=0, lt=1000)
    t1: int = Field(default=941, ge=0, lt=1000)


def text2video_zero(model: LoadedModel) -> TextToVideoZeroPipeline:
    """Make diffusers' pipeline of the components of a text-to-image pipeline.

    Raises:
        ModelError: The model is no Stable Diffusion 1 or 2.
    """
    pipeline = model.pipeline
    if type(pipeline).__name__ != "StableDiffusionPipeline":
        raise ModelError(
            f"Text2Video-Zero runs on checkpoints of StableDiffusionPipeline, and this one is of "
            f"{type(pipeline).__name__}. Leave this method out"
        )
    zero = TextToVideoZeroPipeline(
        **{name: pipeline.components[name] for name in COMPONENTS},
        scheduler=DDIMScheduler.from_config(pipeline.scheduler.config),
        safety_checker=None,
        requires_safety_checker=False,
    )
    zero.set_progress_bar_config(disable=True)
    return zero


def zero_clip(
    model: LoadedModel, zero: TextToVideoZeroPipeline, spec: ClipSpec, settings: ZeroSettings
) -> Frames:
    """Render a clip; its frame 0 is denoised from the noise that every method gives it.

    Args:
        model: The text-to-image pipeline.
        zero: What `text2video_zero` made of it.
        spec: The clip: its prompt, seed, size, length, steps and guidance count.
        settings: Of the method.

    Returns:
        Shape `(frames, height, width, 3)`, 0 to 255.

    Raises:
        InputError: There are too few steps or frames, or there is no guidance.
    """
    if spec.num_frames < 2 or spec.guidance_scale <= 1:
        raise InputError(
            "Text2Video-Zero of diffusers needs two frames and a guidance_scale above 1, not "
            f"{spec.num_frames} and {spec.guidance_scale:g}. Raise them, or leave this method out"
        )
    layout = latent_layout(model.pipeline, spec.height, spec.width)
    noise = frame_noise(spec.seed, 0, layout.shape)[None]
    t0, t1 = time_steps(zero.scheduler, spec.num_inference_steps, settings)
    output = zero(
        spec.prompt,
        video_length=spec.num_frames,
        height=spec.height,
        width=spec.width,
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        negative_prompt=spec.negative_prompt or None,
        generator=step_noise_generator(spec.seed),
        latents=noise.to(model.device, layout.dtype),
        motion_field_strength_x=settings.motion_field_strength_x,
        motion_field_strength_y=settings.motion_field_strength_y,
        t0=t0,
        t1=t1,
    )
    return to_uint8(torch.from_numpy(output.images).permute(0, 3, 1, 2))


def time_steps(scheduler: Any, num_inference_steps: int, settings: ZeroSettings) -> tuple[int, int]:
    """Find the steps that hold as much signal as T1 and T0, T0 being at least one step later.

    Equal timesteps of two schedules are different amounts of noise: of the signal, Stable Diffusion
    has a tenth left at T1 = 941, and a schedule that ends in pure noise (rescale_betas_zero_snr)
    a thirtieth.

    Args:
        scheduler: Of the pipeline.
        num_inference_steps: Denoising steps.
        settings: The timesteps of Stable Diffusion.

    Returns:
        `t0` and `t1` of the pipeline's call, counted from the last step, which is 0.

    Raises:
        InputError: There are fewer than two steps.
    """
    if num_inference_steps < 2:
        raise InputError("Text2Video-Zero needs two steps. Raise --steps, or leave this method out")
    scheduler.set_timesteps(num_inference_steps)
    signal = _signal(scheduler)[scheduler.timesteps.cpu()]
    wanted = _signal(DDIMScheduler(**STABLE_DIFFUSION))
    at_t1 = int((signal - wanted[settings.t1]).abs().argmin())
    at_t1 = min(at_t1, num_inference_steps - 2)
    at_t0 = max(int((signal - wanted[settings.t0]).abs().argmin()), at_t1 + 1)
    return num_inference_steps - 1 - at_t0, num_inference_steps - 1 - at_t1


def _signal(scheduler: Any) -> torch.Tensor:
    """Give the share of the clean latent in a sample, at every timestep of training."""
    share: torch.Tensor = scheduler.alphas_cumprod.cpu().sqrt()
    return share
