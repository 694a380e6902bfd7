"""Write manifests, checked as they will be when they are read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tempprop.errors import Problem
from tempprop.manifest_columns import Complaint, check_cells
from tempprop.manifest_files import replacing, unwritable
from tempprop.manifest_problems import (
    CheckedBatch,
    ProblemList,
    checked_batch,
    clip_ids,
    missing_column,
    unknown_column,
)
from tempprop.manifest_schema import MANIFEST_SCHEMA, REQUIRED_COLUMNS
from tempprop.spec import ClipSpec

BATCH_ROWS = 8192


def write_manifest(rows: Iterable[Mapping[str, Any]] | Iterable[ClipSpec], target: str) -> int:
    """Write a manifest with the types of `MANIFEST_SCHEMA`, all of it or nothing.

    Args:
        rows: Mappings of column to value, where a missing column or None is an empty cell; or
            clips. They are checked as `validate_manifest` would.
        target: Path or fsspec URI of the Parquet file. An existing one is replaced.

    Returns:
        The number of rows.

    Raises:
        ManifestError: With all problems, and nothing is written.
    """
    return write_rows(rows, target, source=target)


def write_rows(
    rows: Iterable[Mapping[str, Any] | ClipSpec | Problem], target: str, *, source: str
) -> int:
    """Do the work of `write_manifest` for rows that come from somewhere.

    Args:
        rows: As for `write_manifest`; a `Problem` stands for a row that could not be made out.
        target: Path or fsspec URI of the Parquet file.
        source: What to call the origin of the rows in an error.

    Returns:
        The number of rows.

    Raises:
        ManifestError: With all problems, and nothing is written.
    """
    problems = ProblemList(source)
    try:
        with replacing(target) as path, clip_ids() as ids:
            with pq.ParquetWriter(path, MANIFEST_SCHEMA) as writer:
                for batch in _batches_from_rows(rows, problems):
                    ids.add(batch.rows.column("clip_id"), batch.numbers)
                    if not problems:
                        writer.write_batch(batch.rows)
            ids.report(problems)
            problems.raise_if_any()
    except OSError as error:
        raise unwritable(target, error) from error
    return problems.num_rows


def _batches_from_rows(
    rows: Iterable[Mapping[str, Any] | ClipSpec | Problem], problems: ProblemList
) -> Iterator[CheckedBatch]:
    reported: set[str] = set()
    source = iter(rows)
    while chunk := list(islice(source, BATCH_ROWS)):
        first = problems.num_rows + 1
        problems.num_rows += len(chunk)
        mappings = {
            number: mapping
            for number, row in enumerate(chunk, first)
            if (mapping := _mapping(row, number, problems)) is not None
        }
        columns = _columns_of(mappings, reported, problems)
        checked = {
            name: _checked_column(name, [mapping.get(name) for mapping in mappings.values()])
            for name in columns
        }
        yield checked_batch(checked, list(mappings), problems)


def _mapping(row: object, number: int, problems: ProblemList) -> Mapping[str, Any] | None:
    if isinstance(row, ClipSpec):
        return row.model_dump()
    if isinstance(row, Problem):
        problems.add(replace(row, row=number))
        return None
    if isinstance(row, Mapping):
        return row
    problems.add(Problem("is not a set of named values", "Give a value by column name", row=number))
    return None


def _columns_of(
    mappings: Mapping[int, Mapping[str, Any]], reported: set[str], problems: ProblemList
) -> list[str]:
    """Name the columns that occur in some rows; tell of an unknown or missing one once."""
    first_rows: dict[str, int] = {}
    for number, mapping in mappings.items():
        for name in mapping.keys() - first_rows.keys():
            first_rows[name] = number
    for name in first_rows.keys() - set(MANIFEST_SCHEMA.names) - reported:
        reported.add(name)
        problems.add(unknown_column(str(name), row=first_rows[name]))
    for name in REQUIRED_COLUMNS:
        # Rows that could not be made out tell nothing about the columns.
        if mappings and name not in first_rows and name not in reported:
            reported.add(name)
            problems.add(missing_column(name))
    return [name for name in MANIFEST_SCHEMA.names if name in first_rows]


def _checked_column(name: str, cells: Sequence[Any]) -> tuple[pa.Array, list[Complaint]]:
    values, complaints = check_cells(name, cells)
    return pa.array(values, MANIFEST_SCHEMA.field(name).type), complaints
