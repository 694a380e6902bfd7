"""Prompts of clips: from a file, and what those of the embedded model's world ask for.

A file of prompts has one JSON object a line; names other than these two are passed over:

    {"clip": "0001", "prompt": "a red balloon over green hills"}
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from tempprop.errors import ClipError
from tempprop.mini import unknown_words
from tempprop.mini.captions import BACKGROUND_WORDS, LIGHT_WORDS, THING_WORDS, split_words


class Line(BaseModel):
    """A line of a file of prompts.

    Attributes:
        clip: Name of a clip, see `tempprop.evaluation.clip_files`.
        prompt: What it shows.
    """

    clip: str
    prompt: str


def read_prompts(path: Path) -> dict[str, str]:
    """Read what clips show.

    Returns:
        Prompts by the clip's name.

    Raises:
        ClipError: The file cannot be read, or a line is none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ClipError(f"the prompts {path} cannot be read ({error}). Check the path") from error
    read = [_read_line(path, number, text) for number, text in enumerate(lines, 1) if text.strip()]
    return {line.clip: line.prompt for line in read}


def _read_line(path: Path, number: int, text: str) -> Line:
    try:
        return Line.model_validate_json(text)
    except ValidationError as error:
        raise ClipError(
            f"the prompts {path}, line {number}: {error.errors(include_url=False)[0]['msg']}. "
            'A line looks like {"clip": "0001", "prompt": "a red balloon"}'
        ) from error


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
