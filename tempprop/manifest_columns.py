"""Whether a value may stand in a column of a manifest.

What a value may be is said once, by the fields of `ClipSpec`; this module applies it to whole
columns and turns every refusal into a `Complaint`. Scalar columns are checked by their *distinct*
values, so that a million equal cells cost as much as one.
"""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from numbers import Integral, Real
from types import GenericAlias
from typing import Annotated, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from tempprop.manifest_schema import (
    INTEGER,
    MANIFEST_SCHEMA,
    NUMBER,
    REQUIRED_COLUMNS,
    TEXT,
    kind_name,
)
from tempprop.spec import ClipSpec, LoRA, Motion, PromptKeyframe

CAST_FAILURES = {
    TEXT: "is not valid UTF-8",
    INTEGER: "is not a whole number below 2^63",
    NUMBER: "has more digits than a 64-bit float holds",
}

NESTED_COLUMNS = ("loras", "motion", "prompts", "tags")
"""Columns whose cells are not single values; they are checked cell by cell."""

IN_WORDS = {
    "clip_id": "1 to 128 ASCII letters, digits, dots, underscores or hyphens",
    "init_image": "the path or URI of a picture",
    "loras": "a list of {path, weight}",
    "motion": f"any of {', '.join(Motion.model_fields)}, "
    "each a number or keyframes such as 0:(1.0), 24:(1.04)",
    "prompts": "a list of {frame, prompt} in the order of the frames",
    "tags": "a map of text to text",
}
"""What may stand in a column, where the field's constraints do not say it."""

SHOWN_CHARACTERS = 80


class Complaint(NamedTuple):
    """Why one cell of a column is refused.

    Attributes:
        position: Where in the array or list that was checked the cell stands, from 0.
        message: What is wrong, in one line, without the value.
        value: The cell as text, shortened.
    """

    position: int
    message: str
    value: str


def nearest(name: str, candidates: Sequence[str]) -> str | None:
    """Find the candidate that `name` is most likely a misspelling of; None where none is close."""
    matches = difflib.get_close_matches(name.lower(), candidates, n=1)
    return matches[0] if matches else None


def shown(value: object) -> str:
    """Write a value for a message: quoted, escaped and at most about 80 characters long."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write integers of more than 4,300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def remedy(column: str) -> str:
    """Say what may stand in a column, as an instruction that ends without a period."""
    advice = f"Give {_expectation(column)}"
    return advice if column in REQUIRED_COLUMNS else f"{advice}, or leave the cell empty"


def check_array(column: str, array: pa.Array) -> tuple[pa.Array, list[Complaint]]:
    """Bring a column of a file to its type in `MANIFEST_SCHEMA` and check every cell.

    Args:
        column: Name of the column.
        array: Its cells, of a type for which `type_fits` holds.

    Returns:
        The column with null in place of refused cells, and the complaints about these.
    """
    if array.null_count == len(array):
        return pa.nulls(len(array), MANIFEST_SCHEMA.field(column).type), []
    if column in NESTED_COLUMNS:
        cells, complaints = check_cells(column, array.to_pylist())
        return pa.array(cells, MANIFEST_SCHEMA.field(column).type), complaints
    return _check_scalars(column, array)


def check_cells(column: str, cells: Sequence[Any]) -> tuple[list[Any], list[Complaint]]:
    """Check Python values that are to stand in a column; None is an empty cell and always passes.

    Args:
        column: Name of the column.
        cells: Values, one a row.

    Returns:
        The values in the form that Arrow takes, None in place of refused ones, and the complaints.
    """
    tidied = [None if cell is None else _tidy(column, cell) for cell in cells]
    complaints = list(_complaints(column, tidied))
    refused = {complaint.position for complaint in complaints}
    return [None if index in refused else cell for index, cell in enumerate(tidied)], complaints


def _check_scalars(column: str, array: pa.Array) -> tuple[pa.Array, list[Complaint]]:
    cast, complaints = _cast(array, MANIFEST_SCHEMA.field(column).type)
    encoded = cast.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    for code, message, value in _complaints(column, encoded.dictionary.to_pylist()):
        complaints += [
            Complaint(int(index), message, value) for index in np.flatnonzero(codes == code)
        ]
    return _without(cast, [complaint.position for complaint in complaints]), complaints


def _complaints(column: str, cells: Sequence[Any]) -> Iterator[Complaint]:
    """Apply the field of `ClipSpec` to every value that is not None."""
    present = [index for index, cell in enumerate(cells) if cell is not None]
    for index in present:
        if any("\0" in text for text in _texts(cells[index])):
            yield Complaint(index, "contains a null byte", shown(cells[index]))
    try:
        _validator(column).validate_python([_validated_form(cells[index]) for index in present])
    except ValidationError as error:
        for details in error.errors(include_url=False, include_input=False):
            position, *path = details["loc"]
            index = present[int(position)]
            yield Complaint(index, _message(column, details, path), shown(cells[index]))


@cache
def _validator(column: str) -> TypeAdapter[list[Any]]:
    field = ClipSpec.model_fields[column]
    annotate: Any = Annotated
    cells_type: Any = GenericAlias(list, (annotate[(field.annotation, Field(), *field.metadata)],))
    return TypeAdapter(cells_type, config=ConfigDict(strict=True, allow_inf_nan=False))


def _validated_form(cell: Any) -> Any:
    return tuple(cell) if isinstance(cell, list) else cell


def _message(column: str, details: Any, path: Sequence[int | str]) -> str:
    if column == "clip_id" and details["type"] == "string_pattern_mismatch":
        return "is not usable as a file name"
    if details["type"] in ("tuple_type", "dict_type", "mapping_type", "is_instance_of"):
        return f"does not hold {kind_name(column)}{', each key once' if column == 'tags' else ''}"
    if column == "motion" and not path:
        return f"does not hold {kind_name(column)}"
    place = f"{'.'.join(map(str, path))}: " if path else ""
    message: str = details["msg"]
    return place + message.removeprefix("Input ").removeprefix("Value error, ").replace(
        "String ", ""
    )


def _tidy(column: str, cell: Any) -> Any:
    """Bring what pandas, Polars, DuckDB, JSON and callers make of a value to one form."""
    wanted = MANIFEST_SCHEMA.field(column).type
    if wanted == INTEGER:
        return _tidy_integer(cell)
    if wanted == NUMBER:
        return _tidy_number(cell)
    if column == "tags":
        return _tidy_tags(cell)
    if column in ("loras", "prompts") and isinstance(cell, list | tuple):
        return [_tidy_item(item) for item in cell]
    if column == "motion":
        return _tidy_motion(cell)
    return cell


def _tidy_integer(cell: Any) -> Any:
    """Make a whole number of what stands for one; leave anything else."""
    number = _tidy_number(cell)
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _tidy_number(cell: Any) -> Any:
    """Make a plain number of the numbers of numpy and of decimals; leave anything else."""
    if isinstance(cell, bool | int | float | str):
        return cell
    if isinstance(cell, Integral):
        return int(cell)
    if isinstance(cell, Real | Decimal):
        return float(cell)
    # Strict as it is, pydantic takes every object that can be made a float, arrays for example.
    return shown(cell) if hasattr(cell, "__float__") else cell


def _tidy_item(cell: Any) -> Any:
    """Bring one LoRA or one keyframe to a dict of plain values; leave anything else."""
    item = _without_nulls(cell.model_dump() if isinstance(cell, LoRA | PromptKeyframe) else cell)
    if isinstance(item, dict):
        tidy = {"weight": _tidy_number, "frame": _tidy_integer}
        item |= {name: tidy[name](item[name]) for name in tidy if name in item}
    return item


def _tidy_motion(cell: Any) -> Any:
    """Write the numbers of a motion as text, since keyframes are text and a column has one type."""
    motion = _without_nulls(cell.model_dump() if isinstance(cell, Motion) else cell)
    if not isinstance(motion, dict):
        return motion
    return {name: _number_as_text(_tidy_number(value)) for name, value in motion.items()}


def _number_as_text(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return shown(value) if is_number else value


def _tidy_tags(cell: Any) -> Any:
    """Make a dict of a map, a struct with gaps or a list of {key, value}; leave anything else."""
    if not isinstance(cell, list | tuple):
        return _without_nulls(cell)
    pairs = [tuple(item.values()) if isinstance(item, dict) else item for item in cell]
    well_formed = all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs)
    unique = well_formed and len({pair[0] for pair in pairs}) == len(pairs)
    return dict(pairs) if unique else cell


def _without_nulls(cell: Any) -> Any:
    if not isinstance(cell, Mapping):
        return cell
    return {key: value for key, value in cell.items() if value is not None}


def _texts(cell: Any) -> Iterator[str]:
    """List every piece of text in a value, however deep."""
    if isinstance(cell, str):
        yield cell
    elif isinstance(cell, dict):
        yield from _texts([*cell.keys(), *cell.values()])
    elif isinstance(cell, list | tuple):
        for item in cell:
            yield from _texts(item)


def _cast(array: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, list[Complaint]]:
    """Cast without loss; the cells that cannot be cast become null and a complaint."""
    try:
        return _lossless(array, wanted), []
    except pa.ArrowInvalid:
        return _cast_by_cell(array, wanted)


def _cast_by_cell(array: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, list[Complaint]]:
    cells, complaints = [], []
    for index in range(len(array)):
        try:
            cells.append(_lossless(array.slice(index, 1), wanted))
        except pa.ArrowInvalid:
            cells.append(pa.nulls(1, wanted))
            value = shown(_python_value(array[index]))
            complaints.append(Complaint(index, CAST_FAILURES[wanted], value))
    return pa.concat_arrays(cells), complaints


def _lossless(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    if wanted != TEXT:
        return array.cast(wanted)
    # A file may claim that any bytes are text; only the way through binary checks them.
    return array.cast(TEXT).cast(pa.binary()).cast(TEXT)


def _without(array: pa.Array, refused: Sequence[int]) -> pa.Array:
    if not refused:
        return array
    keep = np.ones(len(array), dtype=bool)
    keep[list(refused)] = False
    return pc.if_else(pa.array(keep), array, pa.scalar(None, array.type))


def _python_value(scalar: pa.Scalar) -> object:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.cast(pa.binary()).as_py()


@cache
def _expectation(column: str) -> str:
    """Put a field's constraints into words, for example `a number from 0 to 1`."""
    rules = ClipSpec.model_json_schema()["properties"][column]
    choices = rules.get("enum") or ([rules["const"]] if "const" in rules else [])
    if choices:
        return " or ".join(json.dumps(choice) for choice in choices)
    if column in IN_WORDS:
        return IN_WORDS[column]
    if rules["type"] == "integer":
        return f"a whole number {_range(rules)}"
    if rules["type"] == "number":
        return f"a number {_range(rules)}"
    if rules["type"] == "boolean":
        return "true or false"
    return "some text" if rules.get("minLength") else "text"


def _range(rules: dict[str, Any]) -> str:
    low = f"above {rules['exclusiveMinimum']}" if "exclusiveMinimum" in rules else None
    low = low or f"from {rules['minimum']}"
    high = rules["maximum"] if "maximum" in rules else rules["exclusiveMaximum"] - 1
    step = f", a multiple of {rules['multipleOf']}" if "multipleOf" in rules else ""
    return f"{low} to {high}{step}"
