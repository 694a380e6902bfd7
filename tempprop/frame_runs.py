"""What neighbouring frames of one clip bring to a batch: prompts, noise, and what they couple to.

A batch is made of runs of frames, and of companions: frames of the same clips that were rendered in
an earlier batch and ride along once more, so that the frames of the runs can attend to them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from tempprop.autoencoder import encode_pictures
from tempprop.checkpoint import ClipState
from tempprop.families import LatentLayout, family_of, is_guided
from tempprop.init_image import load_picture
from tempprop.motion import (
    CameraMaps,
    Matrix,
    View,
    camera_maps,
    ending_maps,
    in_latent_pixels,
    views,
)
from tempprop.noise import (
    NoiseRun,
    NoiseState,
    correlated_noise,
    frame_noise,
    looped_noise,
    return_begins,
)
from tempprop.pipeline import LoadedModel
from tempprop.prompt_travel import frame_embeddings
from tempprop.prompts import Embeddings, PromptEncoder
from tempprop.propagation import HeldTo, Segment
from tempprop.spec import Attention, ClipSpec, Motion

PictureDigest = Callable[[str], str | None]
"""Gives, by clip_id, the sha256 of the picture's file that a clip has to start from."""


@dataclass(frozen=True)
class FrameRun:
    """Neighbouring frames of one clip.

    Attributes:
        spec: The clip.
        first_frame: Number of the first of them.
        num_frames: How many.
        state: What the frames before them left behind; None for frames that begin with frame 0, and
            for companions, which need nothing of it.
    """

    spec: ClipSpec
    first_frame: int
    num_frames: int
    state: ClipState | None

    @property
    def end(self) -> int:
        """Number of the frame after the last of them."""
        return self.first_frame + self.num_frames

    @property
    def frames(self) -> range:
        """Numbers of the frames."""
        return range(self.first_frame, self.end)


@dataclass(frozen=True)
class PreparedRun:
    """A run with all that goes into a pipeline's call.

    Attributes:
        run: The frames.
        embeddings: The prompt of each.
        noise: Initial noise of each, shape `(frames, channels, h, w)`, on the CPU.
        chain: Noise from which the next run goes on.
        views: How each frame sees those before it; None for a camera that stands still.
        held: What the first of the frames is held to.
    """

    run: FrameRun
    embeddings: Sequence[Embeddings]
    noise: torch.Tensor
    chain: NoiseState
    views: Sequence[View] | None
    held: HeldTo | None

    def segment(self, row: int, layout: LatentLayout) -> Segment:
        """Say to the coupling what the frames are, which begin at a row of the batch."""
        run = self.run
        return Segment(
            clip_id=run.spec.clip_id,
            settings=run.spec,
            first_frame=run.first_frame,
            rows=slice(row, row + run.num_frames),
            carry=run.state.carry if run.state is not None else None,
            layout=layout,
            views=self.views,
            held=self.held,
        )


def prepare(
    model: LoadedModel,
    encode: PromptEncoder,
    layout: LatentLayout,
    run: FrameRun,
    picture_digest: PictureDigest | None = None,
) -> PreparedRun:
    """Make ready what the frames of a run need.

    Args:
        model: The pipeline.
        encode: Encodes prompts.
        layout: How the pipeline holds latents of the clip's size.
        run: The frames.
        picture_digest: Knows the pictures that clips have to start from; None for any.

    Raises:
        ModelError: The model cannot lead away from a negative prompt, or mix the prompts.
        PictureError: The picture that the clip starts from cannot be used, or is another one.
    """
    camera, endings = _camera(run, layout), _endings(run, layout)
    chain = _chain(run, layout, camera)
    return PreparedRun(
        run=run,
        embeddings=_embeddings(model, encode, run),
        noise=_noise(run, chain.frames, layout),
        chain=chain.state,
        views=views(camera, layout.shape[1:], model.device, endings) if camera else None,
        held=_picture(model, run, layout, picture_digest),
    )


def companions(
    model: LoadedModel,
    encode: PromptEncoder,
    layout: LatentLayout,
    runs: Sequence[FrameRun],
    attention: Attention,
) -> list[PreparedRun]:
    """Make ready the frames of earlier batches to which the frames of some runs attend.

    Each is held, at every step, to the clean estimate that it had then: it goes the same way once
    more. They are runs of one frame each.

    Args:
        model: The pipeline.
        encode: Encodes prompts.
        layout: How the pipeline holds latents of the clips' size.
        runs: The runs of the batch.
        attention: Whom the frames attend to.
    """
    return [
        _companion(model, encode, layout, run, frame)
        for run in runs
        for frame in _frames_attended_to(run, attention)
    ]


def attention_sources(
    runs: Sequence[FrameRun], riding: Sequence[FrameRun], attention: Attention
) -> list[tuple[int, ...]]:
    """Find the rows of a batch to which each of its rows attends.

    Args:
        runs: The runs of the batch, whose frames are its first rows.
        riding: The companions, whose frames are the rows after them.
        attention: Whom the frames attend to.

    Returns:
        For each row, the row of frame 0, and with `first+prev` also that of the frame before. The
        frame before a companion is not there; the companion itself stands in for it.
    """
    if attention == "none":
        return []
    rows = {
        (run.spec.clip_id, frame): row
        for row, (run, frame) in enumerate((r, f) for r in (*runs, *riding) for f in r.frames)
    }
    sources: list[tuple[int, ...]] = []
    for (clip_id, frame), row in rows.items():
        first, previous = rows[clip_id, 0], rows.get((clip_id, max(0, frame - 1)), row)
        sources.append((first, previous) if attention == "first+prev" else (first,))
    return sources


def _frames_attended_to(run: FrameRun, attention: Attention) -> Iterator[int]:
    """Give the frames of earlier batches to which the frames of a run attend, each once."""
    if attention != "none" and run.first_frame > 0:
        yield 0
        if attention == "first+prev" and run.first_frame > 1:
            yield run.first_frame - 1


def _companion(
    model: LoadedModel, encode: PromptEncoder, layout: LatentLayout, of: FrameRun, frame: int
) -> PreparedRun:
    state = of.state
    assert state is not None, "a run that begins with frame 0 needs no companions"
    run = FrameRun(of.spec, frame, 1, None)
    if frame == 0:
        noise = frame_noise(of.spec.seed, 0, layout.shape)[None]
    else:
        noise = _noise(run, state.noise.noise[None], layout)
    estimate = "first" if frame == 0 else "previous"
    return PreparedRun(
        run=run,
        embeddings=_embeddings(model, encode, run),
        noise=noise,
        chain=state.noise,
        views=None,
        held=lambda step: getattr(state.carry[step], estimate),
    )


def _camera(run: FrameRun, layout: LatentLayout) -> list[CameraMaps] | None:
    """Give the camera's maps in latent pixels; None where it stands still throughout."""
    spec = run.spec
    if spec.motion == Motion():
        return None
    size = (spec.width, spec.height)
    maps = camera_maps(spec.motion, run.first_frame, run.num_frames, size, spec.keyframe_interval)
    return [
        CameraMaps(
            in_latent_pixels(frame.from_previous, layout.scale),
            in_latent_pixels(frame.to_outgoing, layout.scale),
            in_latent_pixels(frame.to_incoming, layout.scale),
        )
        for frame in maps
    ]


def _endings(run: FrameRun, layout: LatentLayout) -> list[Matrix] | None:
    """Give the maps to the end in latent pixels; None where nothing leads back into frame 0."""
    spec = run.spec
    if not spec.loop or spec.motion == Motion():
        return None
    size = (spec.width, spec.height)
    maps = ending_maps(spec.motion, run.first_frame, run.num_frames, spec.num_frames, size)
    return [in_latent_pixels(matrix, layout.scale) for matrix in maps]


def _embeddings(model: LoadedModel, encode: PromptEncoder, run: FrameRun) -> list[Embeddings]:
    spec, family = run.spec, family_of(model.pipeline)
    guided = is_guided(model.pipeline, spec.guidance_scale, spec.negative_prompt)
    return [frame_embeddings(family, spec, frame, encode, guided=guided) for frame in run.frames]


def _chain(run: FrameRun, layout: LatentLayout, camera: list[CameraMaps] | None) -> NoiseRun:
    """Draw the noise that goes on from frame to frame."""
    return correlated_noise(
        run.spec.seed,
        run.first_frame,
        run.num_frames,
        layout.shape,
        run.spec.noise_correlation,
        run.state.noise if run.state is not None else None,
        [frame.from_previous for frame in camera] if camera is not None else None,
    )


def _noise(run: FrameRun, chain: torch.Tensor, layout: LatentLayout) -> torch.Tensor:
    """Give the initial noise: the chain itself, or in a loop what leads back to frame 0."""
    spec = run.spec
    begin = return_begins(run.first_frame, spec.num_frames)
    if not spec.loop or run.end <= begin:
        return chain
    camera = None
    if spec.motion != Motion():
        size = (spec.width, spec.height)
        maps = camera_maps(spec.motion, begin + 1, spec.num_frames - begin, size)
        camera = [in_latent_pixels(frame.from_previous, layout.scale) for frame in maps]
    place = (spec.seed, run.first_frame, spec.num_frames, spec.noise_correlation)
    return looped_noise(chain, *place, camera)


def _picture(
    model: LoadedModel,
    run: FrameRun,
    layout: LatentLayout,
    digest_of: PictureDigest | None,
) -> HeldTo | None:
    """Hold frame 0 to the picture that the clip starts from, where there is one.

    It is needed in the clip's first batch only: what is coupled to it later is in the carry.
    """
    spec = run.spec
    if spec.init_image is None or run.first_frame > 0:
        return None
    digest = digest_of(spec.clip_id) if digest_of is not None else None
    picture = load_picture(spec.init_image, spec.width, spec.height, sha256=digest)
    latent = layout.from_grid(encode_pictures(model.pipeline, picture[None]))[0].to(model.device)
    return lambda _: latent
