"""Prompts as embeddings: what a pipeline's text encoders make of them, once for all frames.

A frame's prompt is a value, `Embeddings`, without a batch axis. A batch of frames is therefore free
to hold another prompt in each row, or mixtures of prompts.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from tempprop.families import Family, family_of
from tempprop.pipeline import LoadedModel

Embeddings = Mapping[str, torch.Tensor]
"""A prompt and its negative prompt, by the names of the arguments of a pipeline's call.

Sequences have the shape `(tokens, dimension)`, pooled embeddings `(dimension,)` and masks
`(tokens,)`. Without guidance there is nothing negative.
"""

PromptEncoder = Callable[[str, str, bool], Embeddings]
"""Encodes (prompt, negative prompt, whether guidance leads away from the latter)."""

PROMPTS_KEPT = 32
"""With the text encoder of Flux, an embedding takes about 4 MB in half precision."""


def prompt_encoder(model: LoadedModel, prompts_kept: int = PROMPTS_KEPT) -> PromptEncoder:
    """Make an encoder that remembers the embeddings of the prompts that were used last.

    Args:
        model: The pipeline with the text encoders.
        prompts_kept: Pairs of prompt and negative prompt to remember; the one that was not used
            for longest makes room.
    """
    return lru_cache(maxsize=prompts_kept)(partial(encode_prompt, model))


@torch.no_grad()
def encode_prompt(
    model: LoadedModel, prompt: str, negative_prompt: str, guided: bool
) -> Embeddings:
    """Encode a prompt as the call of the model's pipeline would.

    Args:
        model: The pipeline with the text encoders.
        prompt: What a picture shows.
        negative_prompt: What guidance leads away from; empty for the pipeline's own default.
        guided: Whether there is classifier-free guidance.
    """
    pipeline, family = model.pipeline, family_of(model.pipeline)
    call = inspect.signature(pipeline.__call__).parameters
    encoder = inspect.signature(pipeline.encode_prompt).parameters
    defaults: dict[str, Any] = {name: call[name].default for name in encoder if name in call}
    options = defaults | {name: value for name, value in family.options.items() if name in encoder}
    options["device"] = model.device
    if family.encodes_pairs:
        # SDXL takes an empty negative prompt and none at all for two different things.
        options["negative_prompt"] = negative_prompt or defaults.get("negative_prompt")
        options["do_classifier_free_guidance"] = guided
        return _named(family, pipeline.encode_prompt(**options | {"prompt": prompt}))
    positive = _named(family, pipeline.encode_prompt(**options | {"prompt": prompt}))
    if not guided:
        return positive
    away_from = negative_prompt or family.default_negative_prompt
    negative = _named(family, pipeline.encode_prompt(**options | {"prompt": away_from}))
    return {**positive, **{f"negative_{name}": row for name, row in negative.items()}}


def _named(family: Family, outputs: Sequence[Any]) -> dict[str, torch.Tensor]:
    """Name the outputs of `encode_prompt` for one prompt, and take their batch axis away."""
    named = {
        name: output[0]
        for name, output in zip(family.embeddings, outputs, strict=True)
        if name is not None and output is not None and len(output) > 0
    }
    if family.prompt_lengths == "masked":
        # diffusers leaves a mask out that masks nothing.
        tokens = len(named["prompt_embeds"])
        everything = torch.ones(tokens, dtype=torch.long, device=named["prompt_embeds"].device)
        named = {"prompt_embeds_mask": everything} | named
    return named


def batch_embeddings(
    family: Family, frames: Sequence[Embeddings]
) -> dict[str, torch.Tensor | list[torch.Tensor]]:
    """Put the embeddings of frames together for one call of a pipeline.

    Args:
        family: Says how the pipeline takes prompts of different lengths.
        frames: The embeddings of each frame, with the same names.

    Returns:
        Arguments of the call: tensors with the batch as their first axis, or lists.
    """
    rows = {name: [frame[name] for frame in frames] for name in frames[0]}
    if family.prompt_lengths == "listed":
        return dict(rows)
    if family.prompt_lengths == "masked":
        return {name: pad_sequence(parts, batch_first=True) for name, parts in rows.items()}
    return {name: torch.stack(parts) for name, parts in rows.items()}
