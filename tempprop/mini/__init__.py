"""The embedded model: a small text-to-image diffusion model that ships with tempprop.

It knows a world of simple drawn things and is described by `describe`.  Importing this module
loads neither torch nor the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tempprop.mini import captions

MINI_PATH = Path(__file__).parent / "weights"
"""The model as a directory for ``StableDiffusionPipeline.from_pretrained``."""


@dataclass(frozen=True)
class Description:
    """What the embedded model understands, for people to read.

    Attributes:
        things: What can be shown, each with its synonyms.
        colors: What color the thing can have.
        sizes: How large it can be.
        places: Where it can be.
        backgrounds: What it can be shown before.
        lights: At what hour a landscape can be shown.
        example_prompts: Prompts that work well.
    """

    things: tuple[str, ...]
    colors: tuple[str, ...]
    sizes: tuple[str, ...]
    places: tuple[str, ...]
    backgrounds: tuple[str, ...]
    lights: tuple[str, ...]
    example_prompts: tuple[str, ...]


def _phrases(table: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(phrase for phrases in table.values() for phrase in phrases))


def describe() -> Description:
    """Describe the vocabulary of the embedded model."""
    places = captions.PLACE_WORDS.values()
    return Description(
        things=_phrases(captions.THING_WORDS),
        colors=_phrases(captions.COLOR_WORDS),
        sizes=_phrases(captions.SIZE_WORDS),
        places=tuple(dict.fromkeys(phrase for phrases in places for phrase in phrases)),
        backgrounds=_phrases(captions.BACKGROUND_WORDS),
        lights=_phrases(captions.LIGHT_WORDS),
        example_prompts=captions.EXAMPLE_PROMPTS,
    )


def unknown_words(prompt: str) -> list[str]:
    """List the words of a prompt that the embedded model has never seen.

    Args:
        prompt: Any text; case and punctuation do not matter.

    Returns:
        The unknown words in lower case, in the order of their first appearance.
    """
    known = captions.vocabulary()
    return [word for word in dict.fromkeys(captions.split_words(prompt)) if word not in known]
