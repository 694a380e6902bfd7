"""Optional last steps between rendering and encoding: larger pictures, and frames in between."""

from fractions import Fraction
from typing import Any

from tempprop.encoding.rates import frame_rate
from tempprop.spec import FinishingConfig

SCALING = "bicubic+accurate_rnd+full_chroma_int"
"""How FFmpeg converts pixels without losing more of them than it has to."""


def finished_size(width: int, height: int, finishing: FinishingConfig) -> tuple[int, int]:
    """Tell the size after upscaling: whole and even, as encoders want it."""
    factor = finishing.upscale or 1.0
    return _even(width * factor), _even(height * factor)


def finished_length(
    num_frames: int, rate: Fraction, finishing: FinishingConfig
) -> tuple[int, Fraction]:
    """Tell how many frames there are after interpolation, and how many a second.

    The clip takes as long as before, rounded to a whole frame.
    """
    if finishing.interpolate_fps is None:
        return num_frames, rate
    new_rate = frame_rate(finishing.interpolate_fps)
    return max(1, round(num_frames * new_rate / rate)), new_rate


def finish(
    frames: Any, num_frames: int, size: tuple[int, int], rate: Fraction, finishing: FinishingConfig
) -> Any:
    """Put the steps behind a stream of ffmpeg-python.

    Frames are interpolated first, while they are small. The interpolation follows the motion of
    blocks in both directions, and is FFmpeg's own (filter `minterpolate`).

    Args:
        frames: The stream.
        num_frames: Frames that come in.
        size: Width and height of what comes in.
        rate: Frames per second of what comes in.
        finishing: The steps.

    Returns:
        The stream of what comes out, see `finished_size` and `finished_length`.
    """
    if finishing.interpolate_fps is not None:
        total, new_rate = finished_length(num_frames, rate, finishing)
        # Between the last frame and the end there is nothing to interpolate: it is held.
        frames = (
            # The filter takes no RGB, and left to itself ffmpeg would take BT.601 and lift blacks.
            frames.filter("scale", out_range="full", out_color_matrix="bt709", flags=SCALING)
            .filter("format", "yuv444p")
            .filter("tpad", stop=3, stop_mode="clone")
            .filter("minterpolate", fps=str(new_rate), mi_mode="mci", mc_mode="aobmc", vsbmc=1)
            .filter("tpad", stop=int(new_rate / rate) + 2, stop_mode="clone")
            .filter("scale", in_range="full", in_color_matrix="bt709", flags=SCALING)
            .filter("format", "rgb24")
            .filter("trim", end_frame=total)
        )
    if finishing.upscale is not None:
        width, height = finished_size(*size, finishing)
        frames = frames.filter("scale", width, height, flags=finishing.upscale_filter)
    return frames


def _even(value: float) -> int:
    return 2 * max(1, round(value / 2))
