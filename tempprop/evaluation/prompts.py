"""What prompts of the embedded model's world ask for, so that a judge can look for it.

Only prompts in the words of `tempprop.mini.captions` can be read.
"""

from collections.abc import Iterable, Mapping

from tempprop.mini import unknown_words
from tempprop.mini.captions import BACKGROUND_WORDS, LIGHT_WORDS, THING_WORDS, split_words


def asked_for(prompt: str) -> dict[str, str] | None:
    """Read from a prompt what the classifier should see.

    Args:
        prompt: Any text.

    Returns:
        The thing and, where it is named, the background with its light, in the words of
        `tempprop.mini.classifier.LABELS`; None for a prompt with a word that the embedded model
        does not know, with no thing, or with several things, backgrounds or lights.
    """
    text = f" {' '.join(split_words(prompt))} "
    things, backgrounds, lights = (
        _named(text, words) for words in (THING_WORDS, BACKGROUND_WORDS, LIGHT_WORDS)
    )
    if unknown_words(prompt) or len(things) != 1 or max(len(backgrounds), len(lights)) > 1:
        return None
    asked = {"thing": things[0]}
    if backgrounds:
        background, light = backgrounds[0], (lights or ["day"])[0]
        asked["background"] = background if "studio" in background else f"{background}/{light}"
    return asked


def _named(text: str, table: Mapping[str, Iterable[str]]) -> list[str]:
    return [
        key
        for key, phrases in table.items()
        if any(f" {' '.join(split_words(phrase))} " in text for phrase in phrases)
    ]
