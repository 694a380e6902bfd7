"""Image-to-image feedback: each frame is made of the picture before it, as Deforum makes it.

The picture is warped by the camera's motion, given back the colors of the first one, sharpened,
grained, noised to the middle of the schedule and denoised from there. Deforum's own order of these
steps and its defaults are kept: github.com/deforum-art/deforum-stable-diffusion, `render_animation`
in helpers/render.py, `maintain_colors` in helpers/colors.py, and the animation arguments of the
notebook, version 0.7. diffusers' image-to-image pipeline, on the very same networks and scheduler,
does the rest.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoPipelineForImage2Image
from pydantic import Field

from tempprop.errors import InputError, ModelError
from tempprop.families import family_of, guidance_arguments, is_guided
from tempprop.frames import Frames
from tempprop.motion import Matrix, camera_maps, is_identity
from tempprop.noise import frame_noise
from tempprop.pipeline import LoadedModel
from tempprop.prompts import PromptEncoder, batch_embeddings
from tempprop.render import to_uint8
from tempprop.spec import ClipSpec, Frozen
from tempprop.studies.films import Report, rendered

SHARPENING_PIXELS, SHARPENING_SIGMA = 5, 1.0
"""Width of the blur that is taken away: Deforum's `kernel_schedule` and `sigma_schedule`."""


class FeedbackSettings(Frozen):
    """How much of a picture lives on in the next one; the defaults are Deforum's.

    Attributes:
        strength: Share of the steps that is left out, from 0 to below 1, Deforum's
            `strength_schedule`. The
            `strength` of diffusers counts the other way: it is 1 minus this one.
        noise: Standard deviation of the grain that is added to the picture, for values from -1 to
            1, Deforum's `noise_schedule`.
        sharpening: Share of the fine detail that is added to the picture, Deforum's
            `amount_schedule`.
        match_colors: Whether the picture is given the colors of the first one, Deforum's
            `color_coherence` "Match Frame 0 LAB".
    """

    strength: float = Field(default=0.65, ge=0, lt=1)
    noise: float = Field(default=0.02, ge=0)
    sharpening: float = Field(default=0.2, ge=0)
    match_colors: bool = True


def fed_back(
    model: LoadedModel,
    encode: PromptEncoder,
    specs: Sequence[ClipSpec],
    settings: FeedbackSettings,
    report: Report = lambda share: None,
) -> list[Frames]:
    """Render clips of equal length side by side, each frame from the picture before it.

    Args:
        model: The pipeline; frame 0 is what it makes of the prompt and the clip's noise.
        encode: Encodes prompts.
        specs: Clips that agree in size, steps and guidance. Of their settings, the camera's motion
            counts beside these.
        settings: Of the feedback.
        report: Takes the share of the work that is done.

    Returns:
        All frames of each clip, in order.

    Raises:
        ModelError: diffusers has no image-to-image pipeline of this family.
        InputError: There are so few steps that none would be taken.
    """
    _check_steps(specs[0].num_inference_steps, settings.strength)
    pipeline = image_to_image(model)
    num_frames = specs[0].num_frames
    alone = [spec.model_copy(update={"num_frames": 1}) for spec in specs]
    pictures = [frames[0] for frames in rendered(model, encode, alone, lambda share: None)]
    clips: list[list[Frames]] = [[picture] for picture in pictures]
    colors: Sequence[Frames | None] = [None] * len(specs)
    for frame in range(1, num_frames):
        report(frame / num_frames)
        pictures = [
            warp(picture, _camera_map(spec, frame))
            for picture, spec in zip(pictures, specs, strict=True)
        ]
        starts = [
            prepared(*each, settings, frame) for each in zip(pictures, specs, colors, strict=True)
        ]
        # Deforum remembers the colors of the first picture once it has been warped.
        colors = pictures if frame == 1 else colors
        redone = redrawn(
            model, pipeline, encode, specs, torch.stack(starts), frame, settings.strength
        )
        pictures = list(redone)
        for clip, picture in zip(clips, pictures, strict=True):
            clip.append(picture)
    return [np.stack(clip) for clip in clips]


def _check_steps(num_inference_steps: int, strength: float) -> None:
    """Refuse what would hand diffusers an empty schedule."""
    if int(num_inference_steps * (1 - strength)) < 1:
        least = math.ceil(1 / (1 - strength))
        raise InputError(
            f"feedback that leaves out {strength:g} of the steps needs at least {least} steps, "
            f"not {num_inference_steps}. Raise --steps"
        )


def image_to_image(model: LoadedModel) -> Any:
    """Make diffusers' image-to-image pipeline of a text-to-image pipeline's own components.

    Raises:
        ModelError: diffusers has none of this family.
    """
    try:
        pipeline = AutoPipelineForImage2Image.from_pipe(model.pipeline)
    except ValueError as error:
        raise ModelError(
            f"diffusers has no image-to-image pipeline of {type(model.pipeline).__name__}. "
            "Leave the feedback methods out"
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def prepared(
    picture: Frames,
    spec: ClipSpec,
    colors: Frames | None,
    settings: FeedbackSettings,
    frame: int,
) -> torch.Tensor:
    """Make a warped picture ready to become the next frame.

    Args:
        picture: Shape `(height, width, 3)`, 0 to 255.
        spec: The clip.
        colors: The picture whose colors are to be kept; None for the first.
        settings: Of the feedback.
        frame: Number of the frame that it becomes.

    Returns:
        Shape `(3, height, width)`, `[0, 1]`.
    """
    if settings.match_colors and colors is not None:
        picture = match_lab(picture, colors)
    return grain(sharpen(picture, settings.sharpening), settings.noise, spec.seed, frame)


def redrawn(
    model: LoadedModel,
    pipeline: Any,
    encode: PromptEncoder,
    specs: Sequence[ClipSpec],
    pictures: torch.Tensor,
    frame: int,
    strength: float,
) -> Frames:
    """Noise the pictures of a frame, one of each clip, and denoise them.

    Args:
        model: The text-to-image pipeline.
        pipeline: The image-to-image pipeline.
        encode: Encodes prompts.
        specs: The clips.
        pictures: Shape `(clips, 3, height, width)`, `[0, 1]`.
        frame: Number of the frame that they become.
        strength: As Deforum counts it.

    Returns:
        Shape `(clips, height, width, 3)`, 0 to 255.
    """
    first, family = specs[0], family_of(model.pipeline)
    guided = is_guided(model.pipeline, first.guidance_scale, first.negative_prompt)
    embeddings = [encode(spec.prompt, spec.negative_prompt, guided) for spec in specs]
    output = pipeline(
        **batch_embeddings(family, embeddings),
        image=pictures.to(model.device, pipeline.vae.dtype),
        strength=1 - strength,
        num_inference_steps=first.num_inference_steps,
        **guidance_arguments(model.pipeline, first.guidance_scale),
        generator=[picture_generator(spec.seed, frame) for spec in specs],
        output_type="pt",
    )
    return to_uint8(output.images)


def picture_generator(seed: int, frame: int) -> torch.Generator:
    """Make the generator of one frame's noise: a fresh one for each, as Deforum's seeds count up.

    Deforum adds the frame to the seed; clips whose seeds are neighbors would then share noise.
    """
    digest = hashlib.sha256(f"picture {frame} of {seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _camera_map(spec: ClipSpec, frame: int) -> Matrix:
    return camera_maps(spec.motion, frame, 1, (spec.width, spec.height))[0].from_previous


def warp(picture: Frames, camera_map: Matrix) -> Frames:
    """Move a picture with the camera; what comes into it repeats its border, Deforum's `border`.

    Args:
        picture: Shape `(height, width, 3)`, 0 to 255.
        camera_map: Where positions in the picture lie afterwards, see `tempprop.motion`.
    """
    if is_identity(camera_map):
        return picture
    # OpenCV counts positions from the center of the first pixel.
    to_corner = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = np.linalg.inv(to_corner) @ camera_map @ to_corner
    height, width = picture.shape[:2]
    moved: Frames = cv2.warpPerspective(
        picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE
    )
    return moved


def match_lab(picture: Frames, reference: Frames) -> Frames:
    """Give a picture the histograms of another one, channel by channel in CIELAB.

    Args:
        picture: Shape `(height, width, 3)`, RGB, 0 to 255.
        reference: Likewise.
    """
    own, wanted = (cv2.cvtColor(each, cv2.COLOR_RGB2LAB) for each in (picture, reference))
    matched = [match_histogram(own[..., i], wanted[..., i]) for i in range(3)]
    back: Frames = cv2.cvtColor(np.stack(matched, axis=-1), cv2.COLOR_LAB2RGB)
    return back


def match_histogram(
    values: npt.NDArray[np.uint8], reference: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Replace each level by the reference's level of the same quantile (Gonzalez & Woods, ch. 3.3).

    It is what `match_histograms` of scikit-image does, which Deforum calls.

    Args:
        values: Levels, of any shape.
        reference: Levels, of any shape.

    Returns:
        Levels of the shape of `values`, rounded down.
    """
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    levels, level_counts = np.unique(reference, return_counts=True)
    quantiles = np.cumsum(counts) / values.size
    matched = np.interp(quantiles, np.cumsum(level_counts) / reference.size, levels)
    taken: npt.NDArray[np.uint8] = matched[which].reshape(values.shape).astype(np.uint8)
    return taken


def sharpen(picture: Frames, amount: float) -> Frames:
    """Add a share of what a Gaussian blur takes away: an unsharp mask, Deforum's "anti-blur"."""
    if amount == 0:
        return picture
    size = (SHARPENING_PIXELS, SHARPENING_PIXELS)
    blurred = cv2.GaussianBlur(picture, size, SHARPENING_SIGMA)
    sharpened: Frames = cv2.addWeighted(picture, 1 + amount, blurred, -amount, 0)
    return sharpened


def grain(picture: Frames, noise: float, seed: int, frame: int) -> torch.Tensor:
    """Turn a picture into samples with some grain.

    They are kept within `[0, 1]`, since diffusers takes samples below 0 for those of another range.

    Args:
        picture: Shape `(height, width, 3)`, 0 to 255.
        noise: Standard deviation of the grain, for values from -1 to 1.
        seed: Seed of the clip.
        frame: Number of the frame.

    Returns:
        Shape `(3, height, width)`, `[0, 1]`.
    """
    samples = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1) / 255
    return (samples + noise / 2 * frame_noise(seed, frame, samples.shape)).clamp(0, 1)
