"""Clips in, frames out."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tempprop.errors import RenderError
from tempprop.families import (
    LatentLayout,
    family_of,
    guidance_arguments,
    is_guided,
    latent_layout,
)
from tempprop.motion import (
    CameraMaps,
    Matrix,
    camera_maps,
    ending_maps,
    in_latent_pixels,
    inverse,
    maps_from_first,
    views,
)
from tempprop.noise import (
    LOOP_SEED,
    chain_correlations,
    correlated_noise,
    looped_noise,
    step_noise_generator,
)
from tempprop.pipeline import LoadedModel
from tempprop.prompt_travel import frame_embeddings
from tempprop.prompts import Embeddings, PromptEncoder, batch_embeddings, prompt_encoder
from tempprop.propagation import Carry, Segment, locate, propagate
from tempprop.spec import ClipSpec, Motion

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FrameChunk:
    """Neighbouring frames of one clip, decoded.

    Attributes:
        clip_id: The clip.
        first_frame: Number of the first of the frames, from 0.
        frames: Shape `(frames, height, width, 3)`, RGB, 0 to 255.
        denoise_seconds: Share of the batch's denoising time.
        decode_seconds: Share of the batch's decoding time.
        frame_steps: Frames times model calls that it took.
        frame_steps_lowered: In how many of these `motion_floor` lowered the coupling.
    """

    clip_id: str
    first_frame: int
    frames: Frames
    denoise_seconds: float
    decode_seconds: float
    frame_steps: int
    frame_steps_lowered: int


@dataclass(frozen=True)
class _Run:
    """Frames of one clip that go into one batch."""

    spec: ClipSpec
    first_frame: int
    num_frames: int


@dataclass(frozen=True)
class _ClipState:
    """What the frames that are done leave to the next batch of the same clip."""

    noise: torch.Tensor
    carry: Carry


def batch_key(spec: ClipSpec) -> tuple[object, ...]:
    """Name what frames must have in common to be denoised in one batch."""
    return (
        spec.model,
        spec.loras,
        spec.width,
        spec.height,
        spec.num_inference_steps,
        spec.guidance_scale,
        bool(spec.negative_prompt),
    )


def render_clip(
    model: LoadedModel, spec: ClipSpec, *, frames_per_batch: int = 16
) -> Iterator[npt.NDArray[np.uint8]]:
    """Render one clip, frame by frame.

    Args:
        model: The loaded pipeline.
        spec: The clip.
        frames_per_batch: Frames that are denoised together.

    Yields:
        Frames of shape `(height, width, 3)`, RGB, 0 to 255, in order.

    Raises:
        ModelError: The model cannot render this size.
        NonFiniteLatentsError: A latent became NaN or infinite.
        RenderError: A decoded picture is not finite.
    """
    for chunk in render_clips(model, [spec], frames_per_batch=frames_per_batch):
        yield from chunk.frames


def render_clips(
    model: LoadedModel,
    specs: Sequence[ClipSpec],
    *,
    frames_per_batch: int = 16,
    encoder: PromptEncoder | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Iterator[FrameChunk]:
    """Render clips, batch by batch.

    Frames of different clips share a batch where a clip ends; the coupling stops at the border,
    so a clip's pixels do not depend on what is rendered beside it, up to floating-point rounding.

    Args:
        model: The loaded pipeline.
        specs: Clips that agree in `batch_key`.
        frames_per_batch: Frames that are denoised together.
        encoder: Keeps the prompts' embeddings from one call to the next; None starts afresh.
        on_step: Called before each step with (frame-steps done, frame-steps in all), where one
            frame-step is one denoising step of one frame; may raise to stop.

    Yields:
        The frames in order, as soon as they are decoded.

    Raises:
        ValueError: The clips cannot share a batch.
        ModelError: The model cannot render this size, or lead away from a negative prompt.
        NonFiniteLatentsError: A latent became NaN or infinite.
        RenderError: A decoded picture is not finite.
    """
    if len({batch_key(spec) for spec in specs}) > 1:
        raise ValueError("clips of one call must have the same model, size, steps and guidance")
    total = sum(spec.num_frames for spec in specs)
    states: dict[str, _ClipState] = {}
    encode = encoder or prompt_encoder(model)
    done = 0

    for batch in _batches(specs, frames_per_batch, _may_share_batches(model)):
        frames_in_batch = sum(run.num_frames for run in batch)

        def report(
            step: int, num_steps: int, done: int = done, frames_in_batch: int = frames_in_batch
        ) -> None:
            if on_step is not None:
                on_step(done * num_steps + step * frames_in_batch, total * num_steps)

        yield from _render_batch(model, encode, batch, states, report)
        done += frames_in_batch


def _may_share_batches(model: LoadedModel) -> bool:
    return family_of(model.pipeline).prompt_lengths != "apart"


def _batches(
    specs: Sequence[ClipSpec], frames_per_batch: int, shared: bool
) -> Iterator[list[_Run]]:
    """Cut the clips, one after the other, into batches of the given number of frames."""
    batch: list[_Run] = []
    room = frames_per_batch
    for spec in specs:
        frame = 0
        while frame < spec.num_frames:
            run = _Run(spec, frame, min(room, spec.num_frames - frame))
            batch.append(run)
            frame += run.num_frames
            room -= run.num_frames
            if room == 0 or (frame == spec.num_frames and not shared):
                yield batch
                batch, room = [], frames_per_batch
    if batch:
        yield batch


def _render_batch(
    model: LoadedModel,
    encode: PromptEncoder,
    batch: Sequence[_Run],
    states: dict[str, _ClipState],
    on_step: Callable[[int, int], None],
) -> Iterator[FrameChunk]:
    """Denoise and decode one batch, and move `states` on to the end of it."""
    spec = batch[0].spec
    layout = latent_layout(model.pipeline, spec.height, spec.width)
    embeddings = [frame for run in batch for frame in _run_embeddings(model, encode, run)]
    cameras = [_run_camera(run, layout) for run in batch]
    endings = [_run_endings(run, layout) for run in batch]
    chains = [
        _run_chain(run, states.get(run.spec.clip_id), layout, camera)
        for run, camera in zip(batch, cameras, strict=True)
    ]
    noise = [
        _run_noise(run, chain, layout, ending)
        for run, chain, ending in zip(batch, chains, endings, strict=True)
    ]
    segments = list(_segments(batch, states, layout, cameras, endings, model.device))
    started = time.perf_counter()
    last_step = started

    def note_step(step: int, num_steps: int) -> None:
        nonlocal last_step
        on_step(step, num_steps)
        last_step = time.perf_counter()

    with propagate(model.pipeline.scheduler, segments, note_step) as coupling:
        images = _call_pipeline(model, batch, embeddings, layout, torch.cat(noise))
    # The last step's own arithmetic, after note_step, is negligible beside the model's.
    denoise_seconds, decode_seconds = last_step - started, time.perf_counter() - last_step

    _refuse_non_finite_pictures(images, segments)
    frames = to_uint8(images)
    for run, chain, segment, carry, lowered in zip(
        batch, chains, segments, coupling.carries, coupling.frame_steps_lowered, strict=True
    ):
        states[run.spec.clip_id] = _ClipState(chain[-1], carry)
        if run.first_frame + run.num_frames == run.spec.num_frames:
            del states[run.spec.clip_id]
        share = run.num_frames / len(frames)
        yield FrameChunk(
            run.spec.clip_id,
            run.first_frame,
            frames[segment.rows],
            denoise_seconds * share,
            decode_seconds * share,
            run.num_frames * coupling.steps,
            lowered,
        )


def _run_camera(run: _Run, layout: LatentLayout) -> list[CameraMaps] | None:
    """Give the camera's maps in latent pixels; None where it stands still throughout."""
    spec = run.spec
    if spec.motion == Motion():
        return None
    scale = spec.height // layout.shape[1]
    size = (spec.width, spec.height)
    maps = camera_maps(spec.motion, run.first_frame, run.num_frames, size, spec.keyframe_interval)
    return [
        CameraMaps(
            in_latent_pixels(frame.from_previous, scale),
            in_latent_pixels(frame.to_outgoing, scale),
            in_latent_pixels(frame.to_incoming, scale),
        )
        for frame in maps
    ]


def _run_embeddings(model: LoadedModel, encode: PromptEncoder, run: _Run) -> list[Embeddings]:
    """Give the embeddings of each frame of a run."""
    spec, family = run.spec, family_of(model.pipeline)
    guided = is_guided(model.pipeline, spec.guidance_scale, spec.negative_prompt)
    frames = range(run.first_frame, run.first_frame + run.num_frames)
    return [frame_embeddings(family, spec, frame, encode, guided=guided) for frame in frames]


def _run_endings(run: _Run, layout: LatentLayout) -> list[Matrix] | None:
    """Give the maps to the end in latent pixels; None where nothing leads back into frame 0."""
    spec = run.spec
    if not spec.loop or spec.motion == Motion():
        return None
    scale = spec.height // layout.shape[1]
    size = (spec.width, spec.height)
    maps = ending_maps(spec.motion, run.first_frame, run.num_frames, spec.num_frames, size)
    return [in_latent_pixels(matrix, scale) for matrix in maps]


def _run_chain(
    run: _Run, state: _ClipState | None, layout: LatentLayout, camera: list[CameraMaps] | None
) -> torch.Tensor:
    """Draw the noise that goes on from frame to frame."""
    spec, place = run.spec, (run.first_frame, run.num_frames)
    rho = spec.noise_correlation
    return correlated_noise(
        LOOP_SEED + spec.seed if spec.loop else spec.seed,
        *place,
        layout.shape,
        chain_correlations(rho, *place, spec.num_frames) if spec.loop else rho,
        state.noise if state is not None else None,
        [frame.from_previous for frame in camera] if camera is not None else None,
    )


def _run_noise(
    run: _Run, chain: torch.Tensor, layout: LatentLayout, endings: list[Matrix] | None
) -> torch.Tensor:
    """Give the initial noise: the chain itself, or in a loop what leads back to frame 0."""
    spec = run.spec
    if not spec.loop:
        return chain
    place = (spec.seed, run.first_frame, spec.num_frames, spec.noise_correlation)
    if endings is None:
        return looped_noise(chain, *place)
    scale, size = spec.height // layout.shape[1], (spec.width, spec.height)
    behind = maps_from_first(spec.motion, run.first_frame, run.num_frames, size)
    return looped_noise(
        chain,
        *place,
        [
            (in_latent_pixels(way, scale), inverse(ending))
            for way, ending in zip(behind, endings, strict=True)
        ],
    )


def _segments(
    batch: Sequence[_Run],
    states: dict[str, _ClipState],
    layout: LatentLayout,
    cameras: Sequence[list[CameraMaps] | None],
    endings: Sequence[list[Matrix] | None],
    device: torch.device,
) -> Iterator[Segment]:
    row = 0
    for run, camera, ending in zip(batch, cameras, endings, strict=True):
        state = states.get(run.spec.clip_id)
        yield Segment(
            clip_id=run.spec.clip_id,
            settings=run.spec,
            first_frame=run.first_frame,
            rows=slice(row, row + run.num_frames),
            carry=state.carry if state is not None else None,
            layout=layout,
            views=views(camera, layout.shape[1:], device, ending) if camera is not None else None,
        )
        row += run.num_frames


def _call_pipeline(
    model: LoadedModel,
    batch: Sequence[_Run],
    embeddings: Sequence[Embeddings],
    layout: LatentLayout,
    noise: torch.Tensor,
) -> torch.Tensor:
    """Run the pipeline as a caller of diffusers would.

    Returns:
        Decoded pictures, shape `(frames, 3, height, width)`, `[0, 1]`.
    """
    spec, family = batch[0].spec, family_of(model.pipeline)
    images: torch.Tensor = model.pipeline(
        **batch_embeddings(family, embeddings),
        latents=layout.pack(noise.to(model.device, layout.dtype)),
        generator=[
            step_noise_generator(run.spec.seed) for run in batch for _ in range(run.num_frames)
        ],
        width=spec.width,
        height=spec.height,
        num_inference_steps=spec.num_inference_steps,
        **guidance_arguments(model.pipeline, spec.guidance_scale),
        output_type="pt",
        **({} if model.eta is None else {"eta": model.eta}),
        **family.options,
    ).images
    return images


def _refuse_non_finite_pictures(images: torch.Tensor, segments: Sequence[Segment]) -> None:
    """Stop at pictures that are not finite, which would be encoded as black frames."""
    finite = torch.isfinite(images).flatten(1).all(dim=1)
    if not finite.all():
        segment, frame = locate(segments, int((~finite).nonzero()[0]))
        raise RenderError(
            f"clip {segment.clip_id!r}: frame {frame} decodes to values that are not finite. "
            "Some autoencoders overflow in half precision: try dtype float32 or bfloat16"
        )


def to_uint8(images: torch.Tensor) -> Frames:
    """Round decoded pictures to eight bits.

    Args:
        images: Shape `(frames, 3, height, width)`, `[0, 1]`.

    Returns:
        Shape `(frames, height, width, 3)`, 0 to 255.
    """
    scaled = (images.float() * 255).round().clamp(0, 255).to(torch.uint8)
    frames: Frames = scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return frames
