"""How many frames to denoise together: `frames_per_batch: auto`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from tempprop.errors import is_out_of_memory
from tempprop.memory import release_memory
from tempprop.pipeline import LoadedModel
from tempprop.render import render_clips
from tempprop.spec import ClipSpec, Motion

SIZES_ON_A_GPU = (1, 2, 4, 8, 16, 32, 64, 128)

SIZES_ON_THE_CPU = (1, 2, 4, 8, 16)
"""Larger batches gain nothing there, and the next clip would wait for longer."""

MARGIN = 0.9
"""Share of the free memory that a batch may take."""

WORTHWHILE_GAIN = 0.03
"""By how much a larger batch must be faster a frame to be worth its memory."""


@dataclass(frozen=True)
class Trial:
    """What a batch took.

    Attributes:
        seconds_per_frame: Time of denoising.
        bytes: Memory at its peak; 0 where it cannot be told.
    """

    seconds_per_frame: float
    bytes: int


def measured_frames_per_batch(model: LoadedModel, spec: ClipSpec) -> int:
    """Find the batch that renders clips like this one fastest and fits into memory with a margin.

    A few batches of growing size take two steps each: seconds on a GPU, once a model and size.

    Args:
        model: The loaded pipeline.
        spec: A clip; its size, guidance and attention count.
    """
    trial = partial(_trial, model, spec)
    if model.device.type != "cuda":
        return fastest_that_fits(trial, SIZES_ON_THE_CPU, float("inf"))
    release_memory()
    free, _ = torch.cuda.mem_get_info(model.device)
    available = free + torch.cuda.memory_allocated(model.device)
    return fastest_that_fits(trial, SIZES_ON_A_GPU, MARGIN * available)


def fastest_that_fits(
    trial: Callable[[int], Trial], sizes: Sequence[int], available_bytes: float
) -> int:
    """Choose the size at which a frame takes the least time, within the memory there is.

    Sizes are tried in turn, until one does not fit, is expected not to, or is no faster than the
    one before it.

    Args:
        trial: Renders a batch of the given size and measures it; may run out of memory.
        sizes: Sizes to try, ascending, at least one.
        available_bytes: Memory that a batch may take.

    Returns:
        The size; the smallest one if none fits.
    """
    trials: dict[int, Trial] = {}
    for size in sizes:
        if expected_bytes(trials, size) > available_bytes:
            break
        try:
            measured = trial(size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            release_memory()
            break
        fastest = min((t.seconds_per_frame for t in trials.values()), default=float("inf"))
        too_large = measured.bytes > available_bytes
        if too_large or measured.seconds_per_frame > (1 - WORTHWHILE_GAIN) * fastest:
            break
        trials[size] = measured
    return max(trials, default=sizes[0])


def expected_bytes(trials: Mapping[int, Trial], size: int) -> float:
    """Draw the straight line through the last two trials on to a size; below two, 0."""
    if len(trials) < 2:
        return 0.0
    (small, first), (large, second) = list(trials.items())[-2:]
    return second.bytes + (second.bytes - first.bytes) / (large - small) * (size - large)


def _trial(model: LoadedModel, spec: ClipSpec, num_frames: int) -> Trial:
    """Render two steps twice, since the first time also tunes kernels; measure the second."""
    plain = {"motion": Motion(), "init_image": None}
    short = spec.model_copy(update={"num_frames": num_frames, "num_inference_steps": 2, **plain})
    on_gpu = model.device.type == "cuda"
    seconds = 0.0
    for _ in range(2):
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(model.device)
        chunks = list(render_clips(model, [short], frames_per_batch=num_frames))
        if any(chunk.frames_per_batch < num_frames for chunk in chunks):
            raise MemoryError(f"{num_frames} frames do not fit")
        seconds = sum(chunk.denoise_seconds for chunk in chunks)
    peak = torch.cuda.max_memory_allocated(model.device) if on_gpu else 0
    return Trial(seconds / num_frames, peak)
