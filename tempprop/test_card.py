"""A model that draws a test card instead of denoising: to rehearse a night without a GPU.

    model: test-card              color bars at once
    model: test-card?seconds=5    the same, after as long as a GPU would have been busy

Everything else is real: clips are placed on workers, encoded, uploaded, committed and catalogued. A
clip may be told, by a tag, to fail on its worker, so that one can see what the night does about it:

    tags: {"fault": "error"}      raises an error of its own
    tags: {"fault": "memory"}     runs out of memory
    tags: {"fault": "nan"}        gives pictures that are not finite
    tags: {"fault": "exit"}       ends its process
    tags: {"fault": "kill"}       kills its process
    tags: {"fault": "hang"}       never ends

With a tag `fault_attempts`, only its first so many attempts fail. Where the environment of a
worker has `TEMPPROP_TEST_CARD_FAULT=nan@1`, everything fails that is rendered on GPU 1, as on a
broken one.
"""

import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import parse_qsl

import numpy as np

from tempprop.errors import ModelError, NonFiniteLatentsError, RenderError
from tempprop.frames import FrameChunk, Frames
from tempprop.spec import ClipSpec, LoRA, ModelIdentity

NAME = "test-card"
FAULT_VARIABLE = "TEMPPROP_TEST_CARD_FAULT"
STEPS = 20
"""How often a clip looks up while it takes its time."""

BARS = np.array(
    [
        (191, 191, 191),
        (191, 191, 0),
        (0, 191, 191),
        (0, 191, 0),
        (191, 0, 191),
        (191, 0, 0),
        (0, 0, 191),
    ],
    np.uint8,
)
"""The seven bars of SMPTE EG 1, at 75 %."""


def is_test_card(model: str) -> bool:
    """Tell whether a model's name means the test card."""
    return model.partition("?")[0] == NAME


def identify_test_card(model: str, loras: Sequence[LoRA] = ()) -> ModelIdentity:
    """Give the identity of the test card, which is the same however long it takes.

    Raises:
        ModelError: The name asks for something that there is not, or LoRAs are given.
    """
    seconds_of(model)
    if loras:
        raise ModelError(f"the model {model!r} takes no LoRAs. Leave them out")
    return ModelIdentity(
        uri=model, pipeline_class="TestCard", digest=hashlib.sha256(NAME.encode()).hexdigest()
    )


def seconds_of(model: str) -> float:
    """Read from the name of the model how long a clip takes.

    Raises:
        ModelError: The name asks for something that there is not.
    """
    options = dict(parse_qsl(model.partition("?")[2], keep_blank_values=True))
    try:
        seconds = float(options.pop("seconds", 0.0))
    except ValueError:
        seconds = -1.0
    if options or not 0 <= seconds < float("inf"):
        raise ModelError(f"the model {model!r} is no test card. Write {NAME} or {NAME}?seconds=5")
    return seconds


def draw_test_card(
    spec: ClipSpec, attempt: int, on_step: Callable[[float], None]
) -> Iterator[FrameChunk]:
    """Draw a clip: color bars that move on by a pixel a frame, in an order that the seed decides.

    Args:
        spec: The clip.
        attempt: 1 for the first try.
        on_step: Called now and then with the share done, 0 to 1; may raise to stop.

    Yields:
        All of its frames at once.

    Raises:
        RenderError: The clip was told to fail.
    """
    started = time.perf_counter()
    seconds = seconds_of(spec.model)
    for step in range(STEPS):
        on_step(step / STEPS)
        if step == STEPS // 2:
            _fail_if_told(spec, attempt)
        # Until a point in time: what many short sleeps are late by would add up on busy cores.
        due = started + seconds * (step + 1) / STEPS
        time.sleep(max(0.0, due - time.perf_counter()))
    order = np.random.default_rng(spec.seed).permutation(len(BARS))
    columns = np.arange(spec.width)[None] + np.arange(spec.num_frames)[:, None]
    bars = BARS[order][columns * len(BARS) // spec.width % len(BARS)]
    frames: Frames = np.repeat(bars[:, None], spec.height, axis=1)
    yield FrameChunk(
        clip_id=spec.clip_id,
        first_frame=0,
        frames=frames,
        denoise_seconds=time.perf_counter() - started,
        decode_seconds=0.0,
        frames_per_batch=spec.num_frames,
        frame_steps=spec.num_frames,
        frame_steps_lowered=0,
        state=None,
    )


def _fail_if_told(spec: ClipSpec, attempt: int) -> None:
    broken, _, gpu = os.environ.get(FAULT_VARIABLE, "").partition("@")
    fault = broken if broken and gpu == os.environ.get("CUDA_VISIBLE_DEVICES", "") else None
    if fault is None and attempt <= int(spec.tags.get("fault_attempts", attempt)):
        fault = spec.tags.get("fault")
    match fault:
        case None:
            return
        case "memory":
            raise MemoryError(f"clip {spec.clip_id!r} was told to run out of memory")
        case "nan":
            raise NonFiniteLatentsError(spec.clip_id, 0, 0)
        case "exit":
            os._exit(1)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            while True:
                time.sleep(1)
    raise RenderError(f"clip {spec.clip_id!r} was told to fail")
