"""What the emoji are called: names, tags and groups of openmoji's table, by their code points."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pydantic import BaseModel, Field, TypeAdapter

from tempprop.errors import InputError

VARIATION = "-fe0f"
"""The selector of the colored form, which some names of files have and the table leaves out."""

PERSON_WORDS = frozenset({"man", "men", "woman", "women", "person", "people"})

SHARED_BY = 2
"""A tag stays when at least so many animations have it."""


@dataclass(frozen=True)
class Annotation:
    """What one emoji is called.

    Attributes:
        code: Its code points in lower-case hexadecimal, joined by hyphens.
        name: In lower case, see `plain_name`, such as `grinning face`.
        tags: Words for it, in lower case.
        group: Of Unicode, such as `smileys-emotion`.
    """

    code: str
    name: str
    tags: tuple[str, ...]
    group: str

    @property
    def kind(self) -> str:
        """The name without who it is: `man running` and `woman running` are both `running`."""
        words = self.name.partition(" with man")[0].partition(" with woman")[0].split()
        return " ".join(word for word in words if word not in PERSON_WORDS) or self.name


class Row(BaseModel):
    """One emoji in openmoji's table; what else the table says of it is not used."""

    hexcode: str = Field(min_length=1)
    annotation: str = Field(min_length=1)
    tags: str
    group: str


TABLE = TypeAdapter(tuple[Row, ...])


def plain_name(name: str) -> str:
    """Say a name in lower case, without colons and periods.

    `man: red hair` becomes `red hair man`, and `family: man, boy` `family with man and boy`.
    """
    who, colon, what = name.lower().replace("’", "'").replace(".", "").partition(": ")
    if colon and who in PERSON_WORDS:
        return f"{what} {who}"
    return f"{who} with {what.replace(', ', ' and ')}" if colon else who


def _annotation(row: Row) -> Annotation:
    tags = (tag.strip() for tag in row.tags.lower().split(","))
    return Annotation(
        code=row.hexcode.lower(),
        name=plain_name(row.annotation),
        tags=tuple(tag for tag in tags if tag),
        group=row.group,
    )


def read_annotations(text: bytes, source: str) -> dict[str, Annotation]:
    """Read openmoji's table.

    Args:
        text: The JSON, a list of objects with `hexcode`, `annotation`, `tags` and `group`.
        source: Where it comes from, for messages.

    Returns:
        Annotations by code.

    Raises:
        InputError: It is not such a table.
    """
    try:
        rows = TABLE.validate_python(json.loads(text))
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{source} is not a table of emoji: {reason}. Fetch the package again"
        ) from error
    return {annotation.code: annotation for annotation in map(_annotation, rows)}


def annotation_of(code: str, table: Mapping[str, Annotation]) -> Annotation:
    """Find what an animation shows, by the name of its file.

    Args:
        code: The code points, with or without variation selectors.
        table: What the emoji are called.

    Raises:
        InputError: The table does not have it.
    """
    for key in (code, code.replace(VARIATION, "")):
        if key in table:
            return table[key]
    raise InputError(
        f"the emoji {code} has no name in openmoji's table. Use the pinned versions of the packages"
    )


def with_shared_tags(annotations: Iterable[Annotation]) -> list[Annotation]:
    """Keep the tags that several animations share.

    A word that only one animation has says nothing that its name does not say, and hundreds of
    them would fill the vocabulary.
    """
    rows = list(annotations)
    counts = Counter(tag for row in rows for tag in row.tags)
    return [
        replace(row, tags=tuple(tag for tag in row.tags if counts[tag] >= SHARED_BY))
        for row in rows
    ]
