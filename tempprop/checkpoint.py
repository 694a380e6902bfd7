"""What a clip that is half done goes on from, and how it is kept on disk.

At the border of two batches a clip is a few latents: the noise of its last frame, and what the
coupling saw last at each step. Whoever keeps them can go on elsewhere, with the same result.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tempprop.coupling import Carry, CoupledEstimates
from tempprop.errors import InputError
from tempprop.noise import NoiseState

NOISE, COURSE = "noise", "course"


@dataclass(frozen=True)
class ClipState:
    """What the frames that are done leave to the rest of their clip.

    Attributes:
        next_frame: Number of the first frame that is not done.
        noise: Of the frame before it, shape `(channels, h, w)`, and where it was going.
        carry: What the coupling saw last, at every step.
    """

    next_frame: int
    noise: NoiseState
    carry: Carry


def save_checkpoint(path: Path, state: ClipState, key: str) -> None:
    """Write what a clip goes on from as a safetensors file: a few megabytes for large pictures.

    Args:
        path: The file to write; it should end in `.safetensors`.
        state: `FrameChunk.state` of the last frames that were kept.
        key: Content key of the clip, see `tempprop.spec.clip_key`.
    """
    noise, same_as = state.noise, dict[str, str]()
    tensors = {NOISE: noise.noise.contiguous(), COURSE: noise.course.contiguous()}
    for field in fields(CoupledEstimates):
        steps = torch.stack([getattr(step, field.name) for step in state.carry]).cpu()
        twin = next((name for name, other in tensors.items() if torch.equal(other, steps)), None)
        if twin is None:
            tensors[field.name] = steps
        else:
            same_as[field.name] = twin
    metadata = {
        "next_frame": str(state.next_frame),
        "same_as": json.dumps(same_as),
        "key": key,
    }
    save_file(tensors, path, metadata)


def load_checkpoint(path: Path, key: str, device: torch.device | str = "cpu") -> ClipState:
    """Read what a clip goes on from.

    Args:
        path: What `save_checkpoint` wrote.
        key: Content key of the clip that is to go on.
        device: Where it will be denoised.

    Raises:
        InputError: It is no checkpoint, or that of another clip.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        next_frame = int(metadata["next_frame"])
        same_as: dict[str, str] = json.loads(metadata["same_as"])
        columns = {
            field.name: tensors[same_as.get(field.name, field.name)].to(device)
            for field in fields(CoupledEstimates)
        }
        noise = NoiseState(tensors[NOISE], tensors[COURSE])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} is not the checkpoint of a clip: {error}. Render the clip from its beginning"
        ) from error
    if metadata.get("key") != key:
        raise InputError(
            f"{path} is the checkpoint of another clip, other settings or other weights than the "
            f"clip {key}. Render the clip from its beginning"
        )
    num_steps = len(next(iter(columns.values())))
    carry = tuple(
        CoupledEstimates(**{name: column[step] for name, column in columns.items()})
        for step in range(num_steps)
    )
    return ClipState(next_frame, noise, carry)
