"""Temporal propagation: each frame's clean estimate is drawn towards the frame before it.

At every denoising step, frame f needs its own model output at this step and the coupled clean
estimate of frame f - 1 at this step. The model's forward pass reads neither, so all frames of a
batch take the step together, and the coupling is a cheap scan along the frame axis after it. The
result equals that of rendering frame by frame. A long clip is rendered in chunks: the scan goes
on from a `Carry`, which holds what the scan last saw at each step. Where the camera moves, a frame
sees the frames before it through the camera's maps, see `tempprop.motion`.

The scan is put in front of `scheduler.step`, the one call that every diffusers text-to-image
pipeline makes once a step on its whole batch; the pipeline itself stays as it is.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from tempprop.coupling import Carry, CoupledEstimates, couple_frames, couple_step, strength_at
from tempprop.errors import NonFiniteLatentsError
from tempprop.families import LatentLayout
from tempprop.motion import View
from tempprop.prediction import clean_estimate
from tempprop.replacement import replaced
from tempprop.schedulers import is_probe, noise_level, prediction_type, schedule_position
from tempprop.spec import ClipSettings

HeldTo = Callable[[int], torch.Tensor]
"""Gives, for the number of a step, the clean estimate that a frame is held to."""


@dataclass(frozen=True)
class Segment:
    """Neighbouring frames of one clip that lie next to each other in a batch.

    Attributes:
        clip_id: The clip, for messages.
        settings: Strengths of the coupling.
        first_frame: Number of the first of these frames in the clip.
        rows: Where the frames are in the batch.
        carry: What the frames before left behind; None for a segment that begins with frame 0.
        layout: How the pipeline packs latents; None where they are `(channels, h, w)`.
        views: How each of the frames sees those before it; None for a camera that stands still.
        held: Gives, for the number of a step, the clean estimate that the first of the frames is
            held to, whatever the model says; None for a frame that is free. A latent of a picture
            makes this frame the picture; what a carry says of a frame makes it once more.
    """

    clip_id: str
    settings: ClipSettings
    first_frame: int
    rows: slice
    carry: Carry | None
    layout: LatentLayout | None = None
    views: Sequence[View] | None = None
    held: HeldTo | None = None


class Coupling:
    """The scan over all segments of one batch, from the first step to the last.

    It is the one object here with state: it counts the steps, gathers the carries, and counts what
    `motion_floor` did.

    Args:
        scheduler: The pipeline's scheduler.
        segments: The batch, in order of its rows.
        on_step: Called before each step with (step, number of steps); may raise to stop.
    """

    def __init__(
        self,
        scheduler: Any,
        segments: Sequence[Segment],
        on_step: Callable[[int, int], None] | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._segments = segments
        self._on_step = on_step
        self._step = 0
        self._carries: list[list[CoupledEstimates]] = [[] for _ in segments]
        self._lowered: list[torch.Tensor | int] = [0 for _ in segments]

    @property
    def steps(self) -> int:
        """Model calls so far."""
        return self._step

    @property
    def frame_steps_lowered(self) -> list[int]:
        """Frames times steps, of each segment, in which `motion_floor` lowered the strength.

        To be read once at the end: it waits for the device.
        """
        return [int(count) for count in self._lowered]

    @property
    def carries(self) -> list[Carry]:
        """What each segment leaves to the next segment of its clip."""
        return [tuple(carry) for carry in self._carries]

    def couple(
        self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Couple the frames of the batch at the next step.

        Args:
            model_output: Shape `(batch, channels, h, w)`, or twice the channels where the model
                also predicts a variance, or `(batch, tokens, channels)`.
            timestep: The pipeline's timestep.
            sample: Noisy latents of the batch.

        Returns:
            The model output and the sample to hand to the scheduler. Rows that are not coupled
            are handed on to the bit.

        Raises:
            NonFiniteLatentsError: The model's output holds NaN or infinity.
        """
        num_steps = len(self._scheduler.timesteps)
        if self._on_step is not None:
            self._on_step(self._step, num_steps)
        self._refuse_non_finite(model_output)
        level = noise_level(self._scheduler, timestep)
        predicts = prediction_type(self._scheduler)
        position = schedule_position(self._scheduler, self._step)
        probe = is_probe(self._scheduler)
        channels = sample.shape[1]
        estimate = model_output[:, :channels].float()
        noisy = sample.float()
        clean = clean_estimate(noisy, estimate, level, predicts)
        coupled_output, coupled_sample = model_output.clone(), sample.clone()
        for index, (segment, carry) in enumerate(zip(self._segments, self._carries, strict=True)):
            settings, rows = segment.settings, segment.rows
            strength = strength_at(settings, *position)
            before = segment.carry[self._step] if segment.carry is not None else None
            held = segment.held(self._step) if segment.held is not None else None
            coupled, after, lowered = couple_frames(
                clean[rows],
                before,
                strength,
                settings,
                segment.layout,
                segment.views,
                segment.first_frame,
                held,
            )
            carry.append(after)
            self._lowered[index] += lowered
            couples = strength > 0 or settings.color_coherence > 0
            first = rows.start + (1 if before is None and held is None else 0)
            last = rows.stop if couples else rows.start + (1 if held is not None else 0)
            if first >= last:
                continue
            bound = slice(first, last)
            new_sample, new_output = couple_step(
                noisy[bound],
                estimate[bound],
                clean[bound],
                coupled[first - rows.start : last - rows.start],
                level,
                predicts,
                # A moved probe would be thrown away, and the coupling with it.
                "sample" if probe else settings.propagation_keeps,
            )
            coupled_sample[bound] = new_sample.to(sample.dtype)
            coupled_output[bound, :channels] = new_output.to(model_output.dtype)
        self._step += 1
        return coupled_output, coupled_sample

    def _refuse_non_finite(self, model_output: torch.Tensor) -> None:
        if torch.isfinite(model_output).all():
            return
        finite = torch.isfinite(model_output).flatten(1).all(dim=1)
        segment, frame = locate(self._segments, int((~finite).nonzero()[0]))
        raise NonFiniteLatentsError(segment.clip_id, frame, self._step)


def locate(segments: Sequence[Segment], row: int) -> tuple[Segment, int]:
    """Find the segment and the number of the frame, in its clip, of a row of the batch."""
    segment = next(s for s in segments if s.rows.start <= row < s.rows.stop)
    return segment, segment.first_frame + row - segment.rows.start


@contextmanager
def propagate(
    scheduler: Any,
    segments: Sequence[Segment],
    on_step: Callable[[int, int], None] | None = None,
) -> Iterator[Coupling]:
    """Couple the frames of a batch at every step of a scheduler, for the time of a `with` block.

    The scheduler's `step` is replaced on the instance and put back afterwards. The replacement
    shows the original signature, since pipelines inspect it to decide what to pass.

    Args:
        scheduler: Scheduler of the pipeline that is called in the block.
        segments: What each row of the pipeline's batch is.
        on_step: Called before each step with (step, number of steps); may raise to stop.

    Yields:
        The coupling, whose `carries` are complete after the pipeline has run.
    """
    original = scheduler.step
    signature = inspect.signature(original)
    coupling = Coupling(scheduler, segments, on_step)

    @functools.wraps(original)
    def step(*args: Any, **kwargs: Any) -> Any:
        call = signature.bind(*args, **kwargs)
        call.arguments["model_output"], call.arguments["sample"] = coupling.couple(
            call.arguments["model_output"], call.arguments["timestep"], call.arguments["sample"]
        )
        return original(*call.args, **call.kwargs)

    with replaced(scheduler, "step", step):
        yield coupling
