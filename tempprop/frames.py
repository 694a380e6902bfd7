"""Frames of a clip, as they leave the decoder and go into an encoder."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tempprop.checkpoint import ClipState

Frames = npt.NDArray[np.uint8]
"""Shape `(frames, height, width, 3)`, RGB, 0 to 255."""


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
    state: "ClipState | None"

    def from_frame(self, index: int) -> "FrameChunk":
        """Leave out the first so many frames."""
        return replace(self, first_frame=self.first_frame + index, frames=self.frames[index:])
