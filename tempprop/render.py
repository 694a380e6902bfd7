"""Clips in, frames out."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, groupby

import numpy as np
import numpy.typing as npt
import torch

from tempprop.attention import cross_frame_attention
from tempprop.checkpoint import ClipState
from tempprop.decoding import decoded, undecoded
from tempprop.families import LatentLayout, family_of, guidance_arguments, latent_layout
from tempprop.frame_runs import (
    FrameRun,
    PictureDigest,
    PreparedRun,
    attention_sources,
    companions,
    prepare,
)
from tempprop.frames import FrameChunk, Frames
from tempprop.memory import halved_when_out_of_memory
from tempprop.noise import step_noise_generator
from tempprop.pipeline import LoadedModel
from tempprop.prompts import PromptEncoder, batch_embeddings, prompt_encoder
from tempprop.propagation import Segment, propagate
from tempprop.spec import ClipSpec

logger = logging.getLogger("tempprop.render")


@dataclass
class _Clip:
    """A clip that is being rendered, and how far it is."""

    spec: ClipSpec
    state: ClipState | None

    @property
    def next_frame(self) -> int:
        return self.state.next_frame if self.state is not None else 0

    @property
    def frames_left(self) -> int:
        return self.spec.num_frames - self.next_frame


@dataclass(frozen=True)
class _Denoised:
    """A batch that is ready to be decoded.

    Attributes:
        runs: What it is made of, in order.
        latents: What the pipeline hands to its autoencoder, the frames of the runs in order.
        states: What each of the runs leaves behind.
        steps: Model calls for each of the frames.
        frame_steps_lowered: In how many frame-steps of each run `motion_floor` acted.
        seconds: Time of denoising.
    """

    runs: Sequence[FrameRun]
    latents: torch.Tensor
    states: Sequence[ClipState]
    steps: int
    frame_steps_lowered: Sequence[int]
    seconds: float


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
        spec.attention,
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
        PictureError: The picture that the clip starts from cannot be used.
        NonFiniteLatentsError: A latent became NaN or infinite.
        RenderError: A decoded picture is not finite.
    """
    for chunk in render_clips(model, [spec], frames_per_batch=frames_per_batch):
        yield from chunk.frames


def render_clips(
    model: LoadedModel,
    specs: Iterable[ClipSpec],
    *,
    frames_per_batch: int = 16,
    frames_in_turn: int | None = None,
    encoder: PromptEncoder | None = None,
    states: Mapping[str, ClipState] | None = None,
    picture_digest: PictureDigest | None = None,
    more: Callable[[], ClipSpec | None] | None = None,
    on_step: Callable[[Mapping[str, float]], None] | None = None,
) -> Iterator[FrameChunk]:
    """Render clips, batch by batch.

    Frames of different clips share a batch where a clip ends; the coupling stops at the border,
    so a clip's pixels do not depend on what is rendered beside it, up to floating-point rounding.

    Args:
        model: The loaded pipeline.
        specs: Clips that agree in `batch_key`.
        frames_per_batch: Frames that are denoised together. Where memory runs out, it is halved for
            the rest of the clips.
        frames_in_turn: Most frames of one clip in a batch, so that several clips go on side by
            side; None for as many as fit.
        encoder: Keeps the prompts' embeddings from one call to the next; None starts afresh.
        states: By clip_id, what clips that were begun elsewhere go on from.
        picture_digest: Gives, by clip_id, the sha256 of the picture's file that a clip has to
            start from; without one it starts from whatever lies at `init_image`.
        more: Asked for another clip of the same `batch_key` whenever a batch has room for one;
            gives None when there is none at the moment.
        on_step: Called before each step with the share done, 0 to 1, of each clip of the batch;
            may raise to stop.

    Yields:
        The frames in order, as soon as they are decoded.

    Raises:
        ValueError: The clips cannot share a batch, two have the same clip_id, a state is that of
            another clip, or `frames_per_batch` or `frames_in_turn` is no number from 1.
        ModelError: The model cannot render this size, or lead away from a negative prompt.
        PictureError: A picture that a clip starts from cannot be used, or is another one.
        NonFiniteLatentsError: A latent became NaN or infinite.
        RenderError: A decoded picture is not finite, or refused by a safety checker.
        torch.OutOfMemoryError: Memory does not suffice for a single frame.
    """
    known = states or {}
    clips = [_Clip(spec, known.get(spec.clip_id)) for spec in specs]
    _check_call(clips, known, frames_per_batch)
    if frames_in_turn is not None and frames_in_turn < 1:
        raise ValueError(f"frames_in_turn is {frames_in_turn}: give a whole number from 1, or None")
    encode = encoder or prompt_encoder(model)

    def fill() -> None:
        if more is not None and _may_share_batches(model):
            while sum(clip.frames_left for clip in clips) < frames_per_batch and (spec := more()):
                clips.append(_Clip(spec, known.get(spec.clip_id)))

    fill()
    while clips:
        if len({batch_key(clip.spec) for clip in clips}) > 1:
            raise ValueError(
                "clips of one call must agree in model, size, steps, guidance and attention"
            )

        wanted = min(frames_per_batch, sum(clip.frames_left for clip in clips))
        most = frames_in_turn or frames_per_batch
        work = partial(_denoise, model, encode, clips, picture_digest, on_step, most)
        batch, fitting = halved_when_out_of_memory(work, wanted)
        if fitting < wanted:
            frames_per_batch = fitting
            logger.warning("memory ran out: going on with %d frames at a time", fitting)
        for clip, state in zip(clips, batch.states, strict=False):
            clip.state = state
        clips = [clip for clip in clips if clip.frames_left]
        yield from _decode(model, batch, frames_per_batch)
        fill()


def _check_call(
    clips: Sequence[_Clip], states: Mapping[str, ClipState], frames_per_batch: int
) -> None:
    """Refuse what would end in an error of PyTorch's, or in other clips than were asked for."""
    if not isinstance(frames_per_batch, int) or frames_per_batch < 1:
        raise ValueError(
            f"frames_per_batch is {frames_per_batch!r}: give a whole number from 1, for example "
            "that of tempprop.batch_size.measured_frames_per_batch"
        )
    names = [clip.spec.clip_id for clip in clips]
    if len(set(names)) < len(names):
        raise ValueError("two clips of one call have the same clip_id: give each its own")
    if unknown := sorted(set(states) - set(names)):
        raise ValueError(f"there are states of clips that are not asked for: {', '.join(unknown)}")
    for clip in clips:
        if clip.frames_left < 1:
            raise ValueError(
                f"clip {clip.spec.clip_id!r} has {clip.spec.num_frames} frames, and its state goes "
                f"on from frame {clip.next_frame}: it is the state of another clip"
            )


def _may_share_batches(model: LoadedModel) -> bool:
    return family_of(model.pipeline).prompt_lengths != "apart"


def _next_runs(
    model: LoadedModel, clips: Sequence[_Clip], most: int, frames_per_batch: int
) -> list[FrameRun]:
    """Take the next frames of the first clips, at most so many of each, as many as fit."""
    runs: list[FrameRun] = []
    room = frames_per_batch
    for clip in clips if _may_share_batches(model) else clips[:1]:
        num_frames = min(room, clip.frames_left, most)
        if num_frames:
            runs.append(FrameRun(clip.spec, clip.next_frame, num_frames, clip.state))
            room -= num_frames
    return runs


def _denoise(
    model: LoadedModel,
    encode: PromptEncoder,
    clips: Sequence[_Clip],
    picture_digest: PictureDigest | None,
    on_step: Callable[[Mapping[str, float]], None] | None,
    most: int,
    frames_per_batch: int,
) -> _Denoised:
    """Run the pipeline over the next batch, up to the latents that it would decode."""
    runs = _next_runs(model, clips, most, frames_per_batch)
    spec = runs[0].spec
    layout = latent_layout(model.pipeline, spec.height, spec.width)
    prepared = [prepare(model, encode, layout, run, picture_digest) for run in runs]
    riding = companions(model, encode, layout, runs, spec.attention)
    sources = attention_sources(runs, [companion.run for companion in riding], spec.attention)
    started = time.perf_counter()

    def note_step(step: int, num_steps: int) -> None:
        if on_step is not None:
            on_step({run.spec.clip_id: _share_done(run, step / num_steps) for run in runs})

    batch = [*prepared, *riding]
    with (
        undecoded(model.pipeline) as latents,
        cross_frame_attention(model.pipeline, spec.attention, sources),
        propagate(model.pipeline.scheduler, _segments(batch, layout), note_step) as coupling,
    ):
        _call_pipeline(model, batch, layout)
    states = [
        ClipState(run.end, part.chain, carry)
        for run, part, carry in zip(runs, prepared, coupling.carries, strict=False)
    ]
    return _Denoised(
        runs=runs,
        latents=torch.cat(latents)[: sum(run.num_frames for run in runs)],
        states=states,
        steps=coupling.steps,
        frame_steps_lowered=coupling.frame_steps_lowered,
        seconds=time.perf_counter() - started,
    )


def _segments(batch: Sequence[PreparedRun], layout: LatentLayout) -> list[Segment]:
    starts = accumulate((part.run.num_frames for part in batch), initial=0)
    return [part.segment(row, layout) for row, part in zip(starts, batch, strict=False)]


def _call_pipeline(model: LoadedModel, batch: Sequence[PreparedRun], layout: LatentLayout) -> None:
    """Run the pipeline as a caller of diffusers would."""
    spec, family = batch[0].run.spec, family_of(model.pipeline)
    noise = torch.cat([part.noise for part in batch])
    model.pipeline(
        **batch_embeddings(family, [frame for part in batch for frame in part.embeddings]),
        latents=layout.pack(noise.to(model.device, layout.dtype)),
        generator=[step_noise_generator(part.run.spec.seed) for part in batch for _ in part.noise],
        width=spec.width,
        height=spec.height,
        num_inference_steps=spec.num_inference_steps,
        **guidance_arguments(model.pipeline, spec.guidance_scale),
        output_type="pt",
        **({} if model.eta is None else {"eta": model.eta}),
        **family.options,
    )


def _share_done(run: FrameRun, share_of_steps: float) -> float:
    return (run.first_frame + run.num_frames * share_of_steps) / run.spec.num_frames


def _decode(model: LoadedModel, batch: _Denoised, frames_per_batch: int) -> Iterator[FrameChunk]:
    """Decode a batch a few frames at a time, and cut what comes at the borders of its clips."""
    places = [(index, frame) for index, run in enumerate(batch.runs) for frame in run.frames]

    def name_of(row: int) -> str:
        index, frame = places[row]
        return f"clip {batch.runs[index].spec.clip_id!r}: frame {frame}"

    row = 0
    started = time.perf_counter()
    for pictures in decoded(model.pipeline, batch.latents, name_of):
        frames = to_uint8(pictures)
        seconds_a_frame = (time.perf_counter() - started) / len(frames)
        for index, group in groupby(range(row, row + len(frames)), key=lambda r: places[r][0]):
            rows, run = list(group), batch.runs[index]
            at_border = places[rows[-1]][1] == run.end - 1
            yield FrameChunk(
                clip_id=run.spec.clip_id,
                first_frame=places[rows[0]][1],
                frames=frames[rows[0] - row : rows[-1] - row + 1],
                denoise_seconds=batch.seconds / len(places) * len(rows),
                decode_seconds=seconds_a_frame * len(rows),
                frames_per_batch=frames_per_batch,
                frame_steps=len(rows) * batch.steps,
                frame_steps_lowered=batch.frame_steps_lowered[index] if at_border else 0,
                state=batch.states[index] if at_border and run.end < run.spec.num_frames else None,
            )
        row += len(frames)
        started = time.perf_counter()


def to_uint8(images: torch.Tensor) -> Frames:
    """Round decoded pictures to eight bits, before they leave the GPU.

    Args:
        images: Shape `(frames, 3, height, width)`, `[0, 1]`.

    Returns:
        Shape `(frames, height, width, 3)`, 0 to 255.
    """
    scaled = (images.float() * 255).round().clamp(0, 255).to(torch.uint8)
    frames: Frames = scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return frames
