"""Prompt travel: a clip's prompt moves from keyframe to keyframe, as embeddings.

Between two keyframes, each token's embedding is a mixture of those of the prompts before and after.
It means something only where both prompts have a token; where one is longer, the nearer keyframe
decides what there is.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import torch

from tempprop.errors import ModelError
from tempprop.families import Family
from tempprop.prompts import Embeddings, PromptEncoder
from tempprop.spec import ClipSpec, PromptKeyframe, prompt_keyframes

Interpolation = Literal["linear", "slerp"]

SMALLEST_SINE = 1e-3
"""Below it, two vectors point in nearly the same or opposite directions, and slerp divides by 0."""


def frame_embeddings(
    family: Family, spec: ClipSpec, frame: int, encode: PromptEncoder, *, guided: bool
) -> Embeddings:
    """Give what one frame of a clip shows.

    Args:
        family: Says whether prompts of different lengths can be mixed.
        spec: The clip with its keyframes.
        frame: Number of the frame.
        encode: Encodes the prompts of the keyframes.
        guided: Whether there is classifier-free guidance.

    Raises:
        ModelError: The prompts around the frame have lengths that the family cannot mix.
    """
    before, after, share = between(prompt_keyframes(spec), frame)
    embeddings = encode(before.prompt, spec.negative_prompt, guided)
    if before.prompt == after.prompt:
        return embeddings
    other = encode(after.prompt, spec.negative_prompt, guided)
    if family.prompt_lengths == "apart":
        _refuse_other_length(family, before, after, embeddings, other)
    if share == 0:
        return embeddings
    return mix(embeddings, other, share, spec.prompt_interpolation)


def _refuse_other_length(
    family: Family,
    before: PromptKeyframe,
    after: PromptKeyframe,
    embeddings: Embeddings,
    other: Embeddings,
) -> None:
    tokens = [len(prompt["prompt_embeds"]) for prompt in (embeddings, other)]
    if tokens[0] != tokens[1]:
        raise ModelError(
            f"{family.pipeline_class} cannot move from the prompt of frame {before.frame} to that "
            f"of frame {after.frame}: they take {tokens[0]} and {tokens[1]} tokens with their "
            "padding. Write prompts that are about equally long"
        )


def between(
    frames: Sequence[PromptKeyframe], frame: int
) -> tuple[PromptKeyframe, PromptKeyframe, float]:
    """Find the keyframes around a frame, and how far it is on its way between them.

    Args:
        frames: Keyframes in order, the first at frame 0.
        frame: Number of the frame.

    Returns:
        The keyframes before and after, and the share of the latter, 0 <= share < 1. After the last
        keyframe it is both.
    """
    for before, after in pairwise(frames):
        if frame < after.frame:
            return before, after, (frame - before.frame) / (after.frame - before.frame)
    return frames[-1], frames[-1], 0.0


def mix(
    before: Embeddings, after: Embeddings, share: float, interpolation: Interpolation
) -> Embeddings:
    """Mix the embeddings of two prompts.

    Args:
        before: Embeddings of the one prompt.
        after: Embeddings of the other prompt, with the same names.
        share: Share of the latter, 0 to 1.
        interpolation: How to mix two vectors, see `mix_vectors`.

    Returns:
        Embeddings; masks and what only one prompt has are those of the nearer keyframe.
    """
    nearer = before if share < 0.5 else after
    return {
        name: nearer[name]
        if name.endswith("_mask")
        else _mix_tokens(
            before[name],
            after[name],
            nearer[name],
            _tokens_of_both(name, before, after),
            share,
            interpolation,
        )
        for name in before
    }


def _tokens_of_both(
    name: str, before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """Tell for each token of the shorter of two prompts whether both have it: `(tokens,)`."""
    negative = name.startswith("negative_")
    masks = [
        mask
        for mask in before
        if mask.endswith("_mask") and mask.startswith("negative_") == negative
    ]
    tokens = min(len(before[name]), len(after[name]))
    both = torch.ones(tokens, dtype=torch.bool, device=before[name].device)
    for mask in masks:
        both &= before[mask][:tokens].bool() & after[mask][:tokens].bool()
    return both


def _mix_tokens(
    before: torch.Tensor,
    after: torch.Tensor,
    nearer: torch.Tensor,
    both: torch.Tensor,
    share: float,
    interpolation: Interpolation,
) -> torch.Tensor:
    """Mix the vectors of a sequence `(tokens, dimension)`, or a pooled one `(dimension,)`."""
    if before.ndim == 1:
        return mix_vectors(before, after, share, interpolation)
    tokens = len(both)
    mixed = mix_vectors(before[:tokens], after[:tokens], share, interpolation)
    kept = torch.where(both[:, None], mixed, nearer[:tokens])
    return torch.cat([kept, nearer[tokens:]])


def mix_vectors(
    before: torch.Tensor, after: torch.Tensor, share: float, interpolation: Interpolation
) -> torch.Tensor:
    """Mix vectors along their last axis.

    `linear` goes along the chord, `slerp` along the arc (Shoemake, "Animating Rotation with
    Quaternion Curves", 1985): sin((1 - t) W) / sin(W) * a + sin(t W) / sin(W) * b, with W the angle
    between a and b, which keeps the norm of vectors of equal norms. Vectors that point in nearly
    the same or opposite directions, or nowhere, have no arc and are mixed linearly.

    Args:
        before: Vectors, shape `(..., dimension)`.
        after: Vectors of the same shape.
        share: t, 0 to 1.
        interpolation: `linear` or `slerp`.

    Returns:
        Vectors of the same shape and precision.
    """
    a, b = before.float(), after.float()
    mixed = torch.lerp(a, b, share)
    if interpolation == "slerp":
        cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1)[..., None]
        angle = torch.arccos(cosine.clamp(-1, 1))
        sine = torch.sin(angle)
        arc = (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / sine
        directed = (a.norm(dim=-1) * b.norm(dim=-1) > 0)[..., None]
        mixed = torch.where(directed & (sine > SMALLEST_SINE), arc, mixed)
    return mixed.to(before.dtype)
