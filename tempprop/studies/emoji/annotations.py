"""What the emoji are called: names, tags and groups of openmoji's table, by their code points."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
)

from tempprop.errors import InputError

VARIATION = "-fe0f"
"""The selector of the colored form, which some names of files have and the table leaves out."""

PERSON_WORDS = frozenset({"man", "men", "woman", "women", "person", "people"})

SHARED_BY = 2
"""A tag stays when at least so many animations have it."""


def _tags(text: object) -> object:
    if not isinstance(text, str):
        return text
    return tuple(tag.strip() for tag in text.lower().split(",") if tag.strip())


def _plain(text: object) -> object:
    """Put a name in lower case without colons: `family: man, boy` to `family with man and boy`."""
    if not isinstance(text, str):
        return text
    who, colon, what = text.lower().replace("’", "'").partition(": ")
    return f"{who} with {what.replace(', ', ' and ')}" if colon else who


class Annotation(BaseModel):
    """What one emoji is called.

    Attributes:
        code: Its code points in lower-case hexadecimal, joined by hyphens.
        name: In lower case, such as `grinning face`.
        tags: Words for it, in lower case.
        group: Of Unicode, such as `smileys-emotion`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    code: Annotated[str, StringConstraints(to_lower=True, min_length=1), Field(alias="hexcode")]
    name: Annotated[str, Field(alias="annotation", min_length=1), BeforeValidator(_plain)]
    tags: Annotated[tuple[str, ...], BeforeValidator(_tags)]
    group: str

    @property
    def kind(self) -> str:
        """The name without who it is: `man running` and `woman running` are both `running`."""
        words = self.name.partition(" with man")[0].partition(" with woman")[0].split()
        return " ".join(word for word in words if word not in PERSON_WORDS) or self.name


TABLE = TypeAdapter(tuple[Annotation, ...])


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
    return {row.code: row for row in rows}


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
        row.model_copy(update={"tags": tuple(t for t in row.tags if counts[t] >= SHARED_BY)})
        for row in rows
    ]
