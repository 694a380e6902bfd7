"""Manifests out of CSV and JSON Lines files, as spreadsheets and scripts write them.

In CSV, the first line names the columns, an empty cell is an empty cell, and the nested columns
hold JSON: `prompts` a list such as `[{"frame": 8, "prompt": "a fox at dusk"}]`, `loras` one such as
`[{"path": "look.safetensors", "weight": 0.8}]`, `motion` an object such as
`{"zoom": 1.02, "angle": "0:(0), 24:(3)"}`, `tags` one such as `{"shot": "12"}`. In JSON Lines,
every line is one object. Both are UTF-8.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import IO, Any

import pyarrow as pa

from tempprop.errors import InputError, ManifestError, Problem
from tempprop.manifest_files import unreadable, without_credentials
from tempprop.manifest_schema import BOOLEAN, INTEGER, MANIFEST_SCHEMA, NUMBER, TEXT
from tempprop.manifest_writing import write_rows
from tempprop.objects import open_filesystem

Row = Mapping[str, Any] | Problem


def convert_manifest(source: str, target: str) -> int:
    """Make a Parquet manifest of a CSV or JSON Lines file, or nothing where it has a problem.

    Args:
        source: Path or fsspec URI of a file that ends in `.csv`, `.jsonl` or `.ndjson`.
        target: Path or fsspec URI of the file to write, which ends in `.parquet`. An existing one
            is replaced.

    Returns:
        The number of clips.

    Raises:
        InputError: The target does not end in `.parquet`.
        ManifestError: With all problems. Row 1 is the first clip, not the line of column names;
            blank lines do not count.
    """
    reader = _reader(source)
    if not without_credentials(target).endswith(".parquet"):
        raise InputError(
            f"a manifest is a .parquet file, not {without_credentials(target)!r}: "
            "choose another TARGET"
        )
    try:
        filesystem, path = open_filesystem(source)
        stream = filesystem.open(path, "rb")
    except Exception as error:  # every fsspec driver raises its own
        raise unreadable(source, error) from error
    with stream:
        return write_rows(reader(stream), target, source=source)


def _reader(source: str) -> Callable[[IO[bytes]], Iterator[Row]]:
    suffix = PurePosixPath(without_credentials(source)).suffix.lower()
    readers = {".csv": _rows_of_csv, ".jsonl": _rows_of_json, ".ndjson": _rows_of_json}
    if suffix not in readers:
        advice = f"Use a file that ends in {', '.join(readers)}"
        problem = Problem("cannot be told to be CSV or JSON Lines by its name", advice)
        raise ManifestError(without_credentials(source), [problem])
    return readers[suffix]


def _rows_of_csv(stream: IO[bytes]) -> Iterator[Row]:
    records = csv.reader(_decoded(stream), strict=True)
    try:
        header = [name.strip() for name in next(records, [])]
        if len(set(header)) < len(header):
            yield Problem("the first line names a column twice", "Keep one of them")
            return
        if len(header) == 1 and (separator := re.search(r"[;\t]", header[0])):
            name = {";": "semicolons", "\t": "tabs"}[separator.group()]
            yield Problem(f"the cells are separated by {name}", "Save the file with commas")
            return
        for record in records:
            if record:
                yield _csv_row(header, record)
    except (csv.Error, UnicodeDecodeError) as error:
        yield Problem(
            f"the file is not proper CSV from line {records.line_num} on ({error})",
            'Save it as UTF-8, and write a quotation mark inside quotation marks as ""',
        )


def _decoded(stream: IO[bytes]) -> Iterator[str]:
    """Decode line by line, without the byte order mark that spreadsheets put in front."""
    for number, line in enumerate(stream):
        yield line.decode("utf-8" if number else "utf-8-sig")


def _csv_row(header: list[str], record: list[str]) -> Row:
    if len(record) != len(header):
        return Problem(
            f"has {len(record)} cells, the first line names {len(header)} columns",
            "Put cells with commas, quotation marks or line breaks into quotation marks",
        )
    return {name: _parse(name, text) for name, text in zip(header, record, strict=True)}


def _parse(column: str, text: str) -> Any:
    """Make a value of a cell's text; what cannot be parsed stays text, for the checks to refuse."""
    if column not in MANIFEST_SCHEMA.names or not text.strip():
        return None
    wanted = MANIFEST_SCHEMA.field(column).type
    if wanted == TEXT:
        return text
    parsers: dict[pa.DataType, Callable[[str], Any]] = {
        INTEGER: _whole_number,
        NUMBER: float,
        BOOLEAN: _truth,
    }
    try:
        return parsers.get(wanted, _loads)(text)
    except (ValueError, RecursionError):
        return text


def _whole_number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _truth(text: str) -> bool | str:
    """Read TRUE as spreadsheets write it, and true as programs do."""
    return {"true": True, "false": False}.get(text.strip().lower(), text)


def _rows_of_json(stream: IO[bytes]) -> Iterator[Row]:
    for line in stream:
        if line.strip():
            yield _json_row(line)


def _json_row(line: bytes) -> Row:
    try:
        row = _loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return Problem(f"is not proper JSON ({error})", "Write one JSON object a line, in UTF-8")
    if isinstance(row, dict):
        return row
    return Problem("is JSON, but not an object", 'Write it as {"clip_id": ..., "prompt": ...}')


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique_keys)


def _unique_keys(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found
