"""From the final latents of a pipeline to pictures, a few at a time.

A pipeline decodes its whole batch in one lump, which takes many times the memory of denoising it.
Here it hands over what it was about to decode, and its own autoencoder is called for a few frames
at a time, while those before them are already being encoded.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch

from tempprop.autoencoder import in_precision
from tempprop.errors import RenderError
from tempprop.memory import halved_when_out_of_memory
from tempprop.replacement import replaced

PIXELS_AT_A_TIME = 2**20
"""One frame of 1024x1024, or four of 512x512: more is no faster, and takes gigabytes."""


@contextmanager
def undecoded(pipeline: Any) -> Iterator[list[torch.Tensor]]:
    """Keep a pipeline from decoding, for the time of a `with` block.

    The autoencoder's `decode` is replaced on the instance and put back afterwards. So is the safety
    checker's turn, which comes in `decoded` when there is something to see.

    Args:
        pipeline: The pipeline that is called in the block.

    Yields:
        A list to which every call of the pipeline adds what it hands to its autoencoder: latents
        in the autoencoder's own scale, their first axis the batch.
    """
    latents: list[torch.Tensor] = []

    def decode(batch: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor]:
        latents.append(batch)
        # Something with the axes of pictures, for the pipeline's own postprocessing.
        return (batch[:, :3],)

    with ExitStack() as stack:
        stack.enter_context(replaced(pipeline.vae, "decode", decode))
        if hasattr(pipeline, "run_safety_checker"):
            unchecked = replaced(pipeline, "run_safety_checker", lambda image, *_: (image, None))
            stack.enter_context(unchecked)
        yield latents


@torch.no_grad()
def decoded(
    pipeline: Any, latents: torch.Tensor, name_of: Callable[[int], str]
) -> Iterator[torch.Tensor]:
    """Decode latents a few frames at a time, as the pipeline would have.

    Where memory runs out, half as many are decoded at a time.

    Args:
        pipeline: The pipeline that made them.
        latents: What `undecoded` kept, `(frames, channels, h, w)`; with an axis for time behind
            the channels where the autoencoder is one for video.
        name_of: Names the clip and the frame of a row, for messages.

    Yields:
        Pictures of shape `(few frames, 3, height, width)`, `[0, 1]`, in order.

    Raises:
        RenderError: A picture is not finite, or the checkpoint's safety checker refuses it.
        torch.OutOfMemoryError: Memory does not suffice for a single frame.
    """
    pixels = latents.shape[-2] * latents.shape[-1] * int(pipeline.vae_scale_factor) ** 2
    at_a_time = max(1, PIXELS_AT_A_TIME // pixels)
    start = 0
    # In the precision that the pipeline chose: some autoencoders overflow in float16.
    with in_precision(pipeline.vae, latents.dtype):
        while start < len(latents):
            rest = partial(_raw, pipeline, latents[start:])
            raw, at_a_time = halved_when_out_of_memory(rest, at_a_time)
            _refuse_non_finite(raw, start, name_of)
            _refuse_unsafe(pipeline, raw, start, name_of)
            start += len(raw)
            yield pipeline.image_processor.postprocess(raw, output_type="pt")


def _raw(pipeline: Any, latents: torch.Tensor, few: int) -> torch.Tensor:
    """Decode the first few to pictures of shape `(frames, 3, height, width)`, about `[-1, 1]`."""
    pictures: torch.Tensor = pipeline.vae.decode(latents[:few], return_dict=False)[0]
    return pictures[:, :, 0] if pictures.ndim == 5 else pictures


def _refuse_non_finite(pictures: torch.Tensor, start: int, name_of: Callable[[int], str]) -> None:
    """Stop at pictures that are not finite, which would be encoded as black frames."""
    finite = torch.isfinite(pictures).flatten(1).all(dim=1)
    if not finite.all():
        row = start + int((~finite).nonzero()[0])
        raise RenderError(
            f"{name_of(row)} decodes to values that are not finite. "
            "Some autoencoders overflow in half precision: try dtype float32 or bfloat16"
        )


def _refuse_unsafe(
    pipeline: Any, pictures: torch.Tensor, start: int, name_of: Callable[[int], str]
) -> None:
    """Stop where diffusers would go on with a black picture."""
    if getattr(pipeline, "safety_checker", None) is None:
        return
    _, unsafe = pipeline.run_safety_checker(pictures, pictures.device, pictures.dtype)
    if any(unsafe):
        raise RenderError(
            f"{name_of(start + unsafe.index(True))} is refused by the safety checker of the "
            "checkpoint. Change the prompt, or take a checkpoint without one"
        )
