"""Clips in, frames out."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch

from tempprop.autoencoder import encode_pictures
from tempprop.checkpoint import ClipState
from tempprop.decoding import decoded, undecoded
from tempprop.families import (
    LatentLayout,
    family_of,
    guidance_arguments,
    is_guided,
    latent_layout,
)
from tempprop.init_image import load_picture
from tempprop.memory import halved_when_out_of_memory
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
from tempprop.propagation import Segment, propagate
from tempprop.spec import ClipSpec, Motion

Frames = npt.NDArray[np.uint8]

NO_DIGESTS: Mapping[str, str] = MappingProxyType({})

logger = logging.getLogger("tempprop.render")


@dataclass(frozen=True)
class FrameChunk:
    """Neighbouring frames of one clip, decoded.

    Attributes:
        clip_id: The clip.
        first_frame: Number of the first of the frames, from 0.
        frames: Shape `(frames, height, width, 3)`, RGB, 0 to 255.
        denoise_seconds: Share of the batch's denoising time.
        decode_seconds: Share of the time of decoding.
        frames_per_batch: Frames that are denoised together: fewer than asked for where memory ran
            out.
        frame_steps: Frames times model calls that it took.
        frame_steps_lowered: In how many of a batch's `motion_floor` lowered the coupling; told with
            the batch's last frames of the clip.
        state: What the rest of the clip can go on from, see `tempprop.checkpoint`; None for frames
            in the middle of a batch, and at the end of the clip.
    """

    clip_id: str
    first_frame: int
    frames: Frames
    denoise_seconds: float
    decode_seconds: float
    frames_per_batch: int
    frame_steps: int
    frame_steps_lowered: int
    state: ClipState | None

    def from_frame(self, index: int) -> "FrameChunk":
        """Leave out the first so many frames."""
        return (
            replace(self, first_frame=self.first_frame + index, frames=self.frames[index:])
            if index
            else self
        )


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
class _Run:
    """Frames of one clip that go into one batch, and what the frames before them left behind."""

    spec: ClipSpec
    first_frame: int
    num_frames: int
    state: ClipState | None

    @property
    def end(self) -> int:
        return self.first_frame + self.num_frames


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

    runs: Sequence[_Run]
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
    encoder: PromptEncoder | None = None,
    states: Mapping[str, ClipState] | None = None,
    picture_digests: Mapping[str, str] = NO_DIGESTS,
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
        encoder: Keeps the prompts' embeddings from one call to the next; None starts afresh.
        states: By clip_id, what clips that were begun elsewhere go on from.
        picture_digests: By clip_id, the sha256 of the picture's file that a clip has to start
            from; without one it starts from whatever lies at `init_image`.
        more: Asked for another clip of the same `batch_key` whenever a batch has room for one;
            gives None when there is none at the moment.
        on_step: Called before each step with the share done, 0 to 1, of each clip of the batch;
            may raise to stop.

    Yields:
        The frames in order, as soon as they are decoded.

    Raises:
        ValueError: The clips cannot share a batch.
        ModelError: The model cannot render this size, or lead away from a negative prompt.
        PictureError: A picture that a clip starts from cannot be used, or is another one.
        NonFiniteLatentsError: A latent became NaN or infinite.
        RenderError: A decoded picture is not finite, or refused by a safety checker.
        torch.OutOfMemoryError: Memory does not suffice for a single frame.
    """
    known = states or {}
    clips = [_Clip(spec, known.get(spec.clip_id)) for spec in specs]
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
        work = partial(_denoise, model, encode, clips, picture_digests, on_step)
        batch, fitting = halved_when_out_of_memory(work, wanted)
        if fitting < wanted:
            frames_per_batch = fitting
            logger.warning("memory ran out: going on with %d frames at a time", fitting)
        for clip, state in zip(clips, batch.states, strict=False):
            clip.state = state
        clips = [clip for clip in clips if clip.frames_left]
        yield from _decode(model, batch, frames_per_batch)
        fill()


def _may_share_batches(model: LoadedModel) -> bool:
    return family_of(model.pipeline).prompt_lengths != "apart"


def _next_batch(model: LoadedModel, clips: Sequence[_Clip], frames_per_batch: int) -> list[_Run]:
    """Take the next frames of the first clips, as many as fit."""
    batch: list[_Run] = []
    room = frames_per_batch
    for clip in clips if _may_share_batches(model) else clips[:1]:
        num_frames = min(room, clip.frames_left)
        if num_frames:
            batch.append(_Run(clip.spec, clip.next_frame, num_frames, clip.state))
            room -= num_frames
    return batch


def _denoise(
    model: LoadedModel,
    encode: PromptEncoder,
    clips: Sequence[_Clip],
    picture_digests: Mapping[str, str],
    on_step: Callable[[Mapping[str, float]], None] | None,
    frames_per_batch: int,
) -> _Denoised:
    """Run the pipeline over the next batch, up to the latents that it would decode."""
    batch = _next_batch(model, clips, frames_per_batch)
    spec = batch[0].spec
    layout = latent_layout(model.pipeline, spec.height, spec.width)
    embeddings = [frame for run in batch for frame in _run_embeddings(model, encode, run)]
    cameras = [_run_camera(run, layout) for run in batch]
    endings = [_run_endings(run, layout) for run in batch]
    chains = [_run_chain(run, layout, camera) for run, camera in zip(batch, cameras, strict=True)]
    noise = [
        _run_noise(run, chain, layout, ending)
        for run, chain, ending in zip(batch, chains, endings, strict=True)
    ]
    pictures = [_run_picture(model, run, layout, picture_digests) for run in batch]
    segments = list(_segments(batch, layout, cameras, endings, pictures, model.device))
    started = time.perf_counter()

    def note_step(step: int, num_steps: int) -> None:
        if on_step is not None:
            on_step({run.spec.clip_id: _share_done(run, step / num_steps) for run in batch})

    with (
        undecoded(model.pipeline) as latents,
        propagate(model.pipeline.scheduler, segments, note_step) as coupling,
    ):
        _call_pipeline(model, batch, embeddings, layout, torch.cat(noise))
    states = [
        ClipState(run.end, chain[-1], carry)
        for run, chain, carry in zip(batch, chains, coupling.carries, strict=True)
    ]
    return _Denoised(
        runs=batch,
        latents=torch.cat(latents),
        states=states,
        steps=coupling.steps,
        frame_steps_lowered=coupling.frame_steps_lowered,
        seconds=time.perf_counter() - started,
    )


def _share_done(run: _Run, share_of_steps: float) -> float:
    return (run.first_frame + run.num_frames * share_of_steps) / run.spec.num_frames


def _decode(model: LoadedModel, batch: _Denoised, frames_per_batch: int) -> Iterator[FrameChunk]:
    """Decode a batch a few frames at a time, and cut what comes at the borders of its clips."""
    places = [
        (index, frame)
        for index, run in enumerate(batch.runs)
        for frame in range(run.first_frame, run.end)
    ]

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


def _run_chain(run: _Run, layout: LatentLayout, camera: list[CameraMaps] | None) -> torch.Tensor:
    """Draw the noise that goes on from frame to frame."""
    spec, place = run.spec, (run.first_frame, run.num_frames)
    rho = spec.noise_correlation
    return correlated_noise(
        LOOP_SEED + spec.seed if spec.loop else spec.seed,
        *place,
        layout.shape,
        chain_correlations(rho, *place, spec.num_frames) if spec.loop else rho,
        run.state.noise if run.state is not None else None,
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


def _run_picture(
    model: LoadedModel, run: _Run, layout: LatentLayout, digests: Mapping[str, str]
) -> torch.Tensor | None:
    """Encode the picture that frame 0 is, as the scheduler sees it; None where there is none.

    It is needed in the clip's first batch only: what is coupled to it later is in the carry.
    """
    spec = run.spec
    if spec.init_image is None or run.first_frame > 0:
        return None
    digest = digests.get(spec.clip_id)
    picture = load_picture(spec.init_image, spec.width, spec.height, sha256=digest)
    return layout.from_grid(encode_pictures(model.pipeline, picture[None]))[0].to(model.device)


def _held_to(picture: torch.Tensor | None) -> Callable[[int], torch.Tensor] | None:
    return None if picture is None else lambda _: picture


def _segments(
    batch: Sequence[_Run],
    layout: LatentLayout,
    cameras: Sequence[list[CameraMaps] | None],
    endings: Sequence[list[Matrix] | None],
    pictures: Sequence[torch.Tensor | None],
    device: torch.device,
) -> Iterator[Segment]:
    row = 0
    for run, camera, ending, picture in zip(batch, cameras, endings, pictures, strict=True):
        yield Segment(
            clip_id=run.spec.clip_id,
            settings=run.spec,
            first_frame=run.first_frame,
            rows=slice(row, row + run.num_frames),
            carry=run.state.carry if run.state is not None else None,
            layout=layout,
            views=views(camera, layout.shape[1:], device, ending) if camera is not None else None,
            held=_held_to(picture),
        )
        row += run.num_frames


def _call_pipeline(
    model: LoadedModel,
    batch: Sequence[_Run],
    embeddings: Sequence[Embeddings],
    layout: LatentLayout,
    noise: torch.Tensor,
) -> None:
    """Run the pipeline as a caller of diffusers would."""
    spec, family = batch[0].spec, family_of(model.pipeline)
    model.pipeline(
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
    )


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
