"""What is wrong with one manifest, collected in flat memory while its rows stream past."""

import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tempprop.errors import ManifestError, Problem
from tempprop.manifest_columns import Complaint, nearest, remedy, shown
from tempprop.manifest_files import without_credentials
from tempprop.manifest_schema import MANIFEST_SCHEMA, REQUIRED_COLUMNS

MAX_PROBLEMS = 1000
"""How many problems of a manifest are kept; further ones are only counted."""

DUCKDB_MEMORY = "512MB"
"""Above this DuckDB moves what it holds to a temporary directory."""


class ProblemList:
    """The problems of one manifest, in the order in which they are found.

    Attributes:
        source: What to call the manifest in the error.
        num_rows: Rows seen so far; whoever reads the rows counts it up.
    """

    def __init__(self, source: str) -> None:
        self.source = without_credentials(source)
        self.num_rows = 0
        self._kept: list[tuple[int, Problem]] = []
        self._omitted = 0
        self._file_starts: list[tuple[int, str | None]] = []

    def __bool__(self) -> bool:
        return bool(self._kept)

    def begin_file(self, name: str | None) -> None:
        """Note that the next rows come from another file; None where there is only one."""
        self._file_starts.append((self.num_rows + 1, name))

    def add(self, problem: Problem, place: int | None = None) -> None:
        """Keep a problem, or only count it once there are enough.

        Args:
            problem: What is wrong.
            place: Its row, counted over all files, by which it is sorted; None for `problem.row`.
        """
        if len(self._kept) < MAX_PROBLEMS:
            self._kept.append((problem.row or 0 if place is None else place, problem))
        else:
            self._omitted += 1

    def add_cell(
        self,
        column: str,
        row: int,
        message: str,
        value: str | None = None,
        advice: str | None = None,
    ) -> None:
        """Add what is wrong with one cell; `row` counts from 1 over all files."""
        file, number = self.locate(row)
        advice = advice or remedy(column)
        self.add(Problem(message, advice, row=number, column=column, value=value, file=file), row)

    def raise_if_any(self) -> None:
        """Raise a `ManifestError` if anything was wrong, or if there was no row at all."""
        if not self._kept and not self.num_rows:
            self.add(Problem("holds no clips", "Give at least one row"))
        if self._kept:
            ordered = sorted(self._kept, key=lambda kept: kept[0])
            raise ManifestError(self.source, [problem for _, problem in ordered], self._omitted)

    def locate(self, row: int) -> tuple[str | None, int]:
        """Tell the file of a row that is counted over all files, and its number in that file."""
        index = bisect_right(self._file_starts, row, key=lambda start: start[0]) - 1
        if index < 0:
            return None, row
        start, file = self._file_starts[index]
        return file, row - start + 1


class ClipIds:
    """The clip_ids of a manifest with their rows, in a DuckDB table that spills to disk."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        connection.execute("CREATE TABLE ids (clip_id VARCHAR, row BIGINT)")

    def add(self, clip_ids: pa.Array, rows: Sequence[int]) -> None:
        """Add the clip_ids of some rows; nulls are left out of the comparison."""
        table = pa.table({"clip_id": clip_ids, "row": np.asarray(rows, dtype=np.int64)})
        self._connection.from_arrow(table).insert_into("ids")

    def report(self, problems: ProblemList) -> None:
        """Add a problem for every row whose clip_id an earlier row has."""
        repeated = self._connection.execute(
            """
            SELECT ids.row, clip_id, first.row FROM ids JOIN (
                SELECT clip_id, min(row) AS row FROM ids GROUP BY clip_id HAVING count(*) > 1
            ) AS first USING (clip_id)
            WHERE ids.row > first.row ORDER BY ids.row
            """
        )
        while rows := repeated.fetchmany(MAX_PROBLEMS):
            for row, clip_id, first in rows:
                file, number = problems.locate(first)
                other = f"row {number}" if file is None else f"{file}, row {number},"
                message = f"{other} has this name too"
                problems.add_cell("clip_id", row, message, shown(clip_id), "Rename one of them")


class CheckedBatch(NamedTuple):
    """Some rows whose refused cells are null.

    Attributes:
        rows: Every column of `MANIFEST_SCHEMA`.
        numbers: Each row's number, counted from 1 over all files.
    """

    rows: pa.RecordBatch
    numbers: Sequence[int]


@contextmanager
def clip_ids() -> Iterator[ClipIds]:
    """Open an empty `ClipIds`, and remove what it spilled to disk at the end."""
    with (
        tempfile.TemporaryDirectory() as folder,
        duckdb.connect(
            config={"memory_limit": DUCKDB_MEMORY, "temp_directory": folder}
        ) as connection,
    ):
        yield ClipIds(connection)


def checked_batch(
    columns: Mapping[str, tuple[pa.Array, list[Complaint]]],
    numbers: Sequence[int],
    problems: ProblemList,
) -> CheckedBatch:
    """Report the complaints about some columns and fill up the missing ones with null.

    Args:
        columns: By name, the cells and the complaints about them, as `check_array` gives them.
        numbers: The number of each row.
        problems: Takes the complaints, and the empty cells of required columns.
    """
    for name, (array, complaints) in columns.items():
        for index, message, value in complaints:
            problems.add_cell(name, numbers[index], message, value)
        if name in REQUIRED_COLUMNS and array.null_count > len(complaints):
            _report_empty(
                name, array, {complaint.position for complaint in complaints}, numbers, problems
            )
    arrays = [
        columns[field.name][0] if field.name in columns else pa.nulls(len(numbers), field.type)
        for field in MANIFEST_SCHEMA
    ]
    return CheckedBatch(pa.RecordBatch.from_arrays(arrays, schema=MANIFEST_SCHEMA), numbers)


def unknown_column(name: str, *, row: int | None = None, file: str | None = None) -> Problem:
    """Describe a column that the contract does not have, with the nearest that it has."""
    guess = nearest(name, MANIFEST_SCHEMA.names)
    advice = f"Did you mean {guess!r}?" if guess else f"The columns are {_column_list()}"
    return Problem("there is no such column", advice, row=row, column=name, file=file)


def missing_column(name: str, *, file: str | None = None) -> Problem:
    """Describe a required column that is not there."""
    advice = f"Add it: {' and '.join(REQUIRED_COLUMNS)} are required"
    return Problem("the column is missing", advice, column=name, file=file)


def _column_list() -> str:
    return ", ".join(MANIFEST_SCHEMA.names)


def _report_empty(
    column: str,
    array: pa.Array,
    refused: set[int],
    numbers: Sequence[int],
    problems: ProblemList,
) -> None:
    for index in pc.indices_nonzero(array.is_null()).to_pylist():
        if index not in refused:
            problems.add_cell(column, numbers[index], "is empty")
