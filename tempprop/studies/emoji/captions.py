"""Captions of the emoji in plain English, made from their annotations."""

import random

from tempprop.studies.emoji.annotations import Annotation

CAPTIONS_PER_STILL = 6

MOST_TAGS = 2

MOST_WORDS = 22
"""Words of a caption beyond which its tags are left out; the text encoder reads 30 tokens."""

OPENINGS = ("an emoji of ", "a picture of ", "an illustration of ", "")
"""How a caption may begin that is not one of `a waving hand emoji`."""


AN_BEFORE = ("a", "e", "i", "o", "hour", "umb", "unam", "ups")
A_BEFORE = ("ewe", "one")


def article_for(name: str) -> str:
    """Give the article of an emoji's name: `an` before the sound of a vowel, else `a`."""
    return "an" if name.startswith(AN_BEFORE) and not name.startswith(A_BEFORE) else "a"


def subject(annotation: Annotation) -> str:
    """Name an emoji so that every name fits: `a clapping hands emoji`."""
    return f"{article_for(annotation.name)} {annotation.name} emoji"


def prompt_of(annotation: Annotation, background: str) -> str:
    """Ask for an emoji in the plainest way, as measurements do."""
    return f"{subject(annotation)} on a {background} background"


def caption(annotation: Annotation, background: str, rng: random.Random) -> str:
    """Describe a frame.

    Wording, order, tags and group vary. Name and background are never left out, so that a prompt
    without them leaves them to chance.

    Args:
        annotation: What the emoji is called.
        background: Name of the background.
        rng: The source of chance; equal states give equal captions.

    Returns:
        A caption in lower case without punctuation but commas, hyphens and apostrophes.
    """
    named = subject(annotation) if rng.random() < 0.6 else rng.choice(OPENINGS) + annotation.name
    behind = rng.choice((f"on a {background} background", f"on {background}"))
    known = [*annotation.tags, annotation.group.replace("-", " and ")]
    number = rng.choice((0, 0, 1, MOST_TAGS))
    tags = " and ".join(rng.sample(known, min(number, len(known))))
    if tags and len(f"{named} {tags} {behind}".split()) <= MOST_WORDS:
        named = f"{named}, {tags},"
    if rng.random() < 0.15:
        return f"{behind}, {named.removesuffix(',')}"
    return f"{named} {behind}"


def captions_of(annotation: Annotation, background: str, *key: object) -> tuple[str, ...]:
    """Describe a frame in several ways.

    Args:
        annotation: What the emoji is called.
        background: Name of the background.
        key: The frame; equal keys give equal captions.
    """
    rng = random.Random(f"captions {annotation.code} {key}")
    return tuple(caption(annotation, background, rng) for _ in range(CAPTIONS_PER_STILL))
