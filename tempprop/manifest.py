"""Manifests: Parquet files with one clip a row, read as a stream.

A manifest is never held as a whole: record batches go from the file through the checks to specs,
so that a million rows cost the memory of a few thousand. Empty cells take the value that the
configuration gives, and so does each empty field of a `motion`. What may stand in a column is told
in `tempprop.manifest_columns`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tempprop.encoding.limits import rate_problem
from tempprop.errors import InputError, Problem
from tempprop.manifest_columns import check_array, shown
from tempprop.manifest_files import (
    ManifestFile,
    find_manifest_files,
    open_parquet,
    read_problem,
    without_credentials,
)
from tempprop.manifest_problems import (
    CheckedBatch,
    ProblemList,
    checked_batch,
    clip_ids,
    missing_column,
    unknown_column,
)
from tempprop.manifest_schema import (
    MANIFEST_SCHEMA,
    REQUIRED_COLUMNS,
    kind_name,
    type_fits,
)
from tempprop.spec import ClipSpec, Frozen, LoRA, Motion, RenderConfig, seed_from_clip_id

BATCH_ROWS = 8192

ROW = "row of all files"
"""Column in which a row keeps its number, counted from 1 over all files, through a condition."""

PANDAS_INDEX = "__index_level_"
"""Prefix of the columns in which pandas keeps an unnamed index; they say nothing about clips."""


class ManifestSummary(Frozen):
    """What a valid manifest asks for.

    Attributes:
        num_clips: Rows.
        num_files: Parquet files.
        num_frames: Frames of all clips together.
        duration_seconds: Length of all clips together; infinite for absurdly low frame rates.
        models: The checkpoints that the clips use, sorted.
    """

    num_clips: int
    num_files: int
    num_frames: int
    duration_seconds: float = Field(allow_inf_nan=True)
    models: tuple[str, ...]


def validate_manifest(source: str, config: RenderConfig) -> ManifestSummary:
    """Check every cell of a manifest.

    Args:
        source: Path or fsspec URI of a Parquet file, a directory of them or a glob.
        config: Gives the values of empty cells.

    Returns:
        What the manifest asks for.

    Raises:
        ManifestError: With all problems: unknown, missing and mistyped columns, bad values,
            repeated clip_ids, unreadable files, or no rows at all. Rows count from 1 in each
            file. At most `MAX_PROBLEMS` are kept.
    """
    problems = ProblemList(source)
    files = find_manifest_files(source)
    models: set[str] = set()
    num_frames, duration = 0, 0.0
    with clip_ids() as ids:
        for batch in _checked_batches(files, problems):
            ids.add(batch.rows.column("clip_id"), batch.numbers)
            frames, fps, model = _filled(batch.rows, config, ("num_frames", "fps", "model"))
            _check_rates(fps, batch.numbers, config, problems)
            num_frames += pc.sum(frames).as_py()
            duration += pc.sum(pc.divide(frames.cast(pa.float64()), fps)).as_py()
            models.update(model.unique().to_pylist())
        ids.report(problems)
    problems.raise_if_any()
    return ManifestSummary(
        num_clips=problems.num_rows,
        num_files=len(files),
        num_frames=num_frames,
        duration_seconds=duration,
        models=tuple(sorted(models)),
    )


def read_clips(
    source: str, config: RenderConfig, *, where: str | None = None, limit: int | None = None
) -> Iterator[ClipSpec]:
    """Read the clips of a manifest as a stream, in the manifest's order.

    Args:
        source: Path or fsspec URI of a Parquet file, a directory of them or a glob.
        config: Gives the values of empty cells. A clip without a seed takes `config.seed`, or one
            that its clip_id decides.
        where: An SQL condition over the columns, in DuckDB's dialect, such as
            `project = 'spring' AND priority > 3`. It sees the values that will be rendered, with
            the empty cells filled in. It can reach no file, table or network.
        limit: Stop after so many clips that satisfy `where`, 0 or more; None for all.

    Yields:
        Clips with every value resolved.

    Raises:
        ManifestError: If a row has a problem; those of the same batch are told too. Repeated
            clip_ids are not looked for: `validate_manifest` does.
        InputError: If `where` is not a condition over the columns.
    """
    tables = _tables(source, ProblemList(source), config, where, limit)
    return (clip for table in tables for clip in _specs(table))


def read_weights(
    source: str, config: RenderConfig, *, where: str | None = None, limit: int | None = None
) -> list[tuple[str, tuple[LoRA, ...]]]:
    """Read which weights the clips need, without making a spec of every row.

    Args:
        source: Path or fsspec URI of a Parquet file, a directory of them or a glob.
        config: Gives the model of empty cells.
        where: An SQL condition over the columns, as for `read_clips`.
        limit: Look only at the first so many clips that satisfy `where`.

    Returns:
        Each checkpoint with its LoRAs, once, in the order of their first clips.

    Raises:
        ManifestError: If a row has a problem.
        InputError: If `where` is not a condition over the columns.
    """
    found: dict[tuple[str, tuple[LoRA, ...]], None] = {}
    for clips in _tables(source, ProblemList(source), config, where, limit):
        models, loras = (clips[name].to_pylist() for name in ("model", "loras"))
        found |= dict.fromkeys(zip(models, map(_loras, loras), strict=True))
    return list(found)


def check_texts(
    source: str,
    config: RenderConfig,
    column: str,
    verdicts: Callable[[Sequence[str]], Iterable[tuple[str, str] | None]],
    *,
    where: str | None = None,
    limit: int | None = None,
) -> None:
    """Check the texts of a column by something that is not in the manifest itself.

    Args:
        source: Path or fsspec URI of a Parquet file, a directory of them or a glob.
        config: Gives the values of empty cells.
        column: A column of texts.
        verdicts: Gives, for each of some different texts, what is wrong with it and what to do
            about it; None for one that is good.
        where: An SQL condition over the columns, as for `read_clips`.
        limit: Look only at the first so many clips that satisfy `where`.

    Raises:
        ManifestError: With all problems, row by row.
        InputError: If `where` is not a condition over the columns.
    """
    problems = ProblemList(source)
    refused: list[tuple[int, str, tuple[str, str]]] = []
    for clips in _tables(source, problems, config, where, limit):
        cells = clips[column].to_pylist()
        texts = list(dict.fromkeys(cell for cell in cells if cell is not None))
        found = dict(zip(texts, verdicts(texts), strict=True))
        rows = zip(clips[ROW].to_pylist(), cells, strict=True)
        refused += [(row, cell, verdict) for row, cell in rows if (verdict := found.get(cell))]
    for row, cell, (message, advice) in refused:
        problems.add_cell(column, row, message, shown(without_credentials(cell)), advice)
    problems.raise_if_any()


def _checked_batches(
    files: Iterable[ManifestFile], problems: ProblemList
) -> Iterator[CheckedBatch]:
    for file in files:
        problems.begin_file(file.name)
        for batch in _read_batches(file, problems):
            numbers = range(problems.num_rows + 1, problems.num_rows + batch.num_rows + 1)
            problems.num_rows += batch.num_rows
            columns = {
                name: check_array(name, column)
                for name, column in zip(batch.schema.names, batch.columns, strict=True)
            }
            yield checked_batch(columns, numbers, problems)


def _check_rates(
    rates: pa.Array, numbers: Sequence[int], config: RenderConfig, problems: ProblemList
) -> None:
    """Add a problem for every row whose clip cannot be encoded as the configuration says."""
    for fps in rates.unique().to_pylist():
        if fps is not None and (found := rate_problem(fps, config.encoder, config.finishing)):
            message, advice = found
            for index in np.flatnonzero(pc.equal(rates, fps).fill_null(False)):
                problems.add_cell("fps", numbers[int(index)], message, advice=advice)


def _read_batches(file: ManifestFile, problems: ProblemList) -> Iterator[pa.RecordBatch]:
    """Read the usable columns of one file; what keeps it from being read becomes a problem."""
    try:
        with open_parquet(file) as parquet:
            columns = _usable_columns(parquet.schema_arrow, file.name, problems)
            if columns:
                yield from parquet.iter_batches(BATCH_ROWS, columns=columns)
    except Exception as error:  # every fsspec driver raises its own
        problems.add(read_problem(error, file.name))


def _usable_columns(schema: pa.Schema, file: str | None, problems: ProblemList) -> list[str]:
    """Name the columns that can be checked cell by cell; the others become problems."""
    names = [name for name in schema.names if not name.startswith(PANDAS_INDEX)]
    for name in REQUIRED_COLUMNS:
        if name not in names:
            problems.add(missing_column(name, file=file))
    usable = []
    for name in dict.fromkeys(names):
        problem = _column_problem(name, schema, file)
        if problem:
            problems.add(problem)
        else:
            usable.append(name)
    return usable


def _column_problem(name: str, schema: pa.Schema, file: str | None) -> Problem | None:
    if name not in MANIFEST_SCHEMA.names:
        return unknown_column(name, file=file)
    if len(schema.get_all_field_indices(name)) > 1:
        return Problem("the column is there twice", "Keep one of them", column=name, file=file)
    found = schema.field(name).type
    if type_fits(name, found):
        return None
    message = f"the column holds {found}, not {kind_name(name)}"
    return Problem(message, f"Write it as {kind_name(name)}", column=name, file=file)


def _tables(
    source: str,
    problems: ProblemList,
    config: RenderConfig,
    where: str | None,
    limit: int | None,
) -> Iterator[pa.Table]:
    """Read the rows that satisfy a condition, checked and with the empty cells filled in.

    Each row has its number in the column `ROW`.
    """
    left, names = limit, MANIFEST_SCHEMA.names
    with _condition(where) as matching:
        for batch in _checked_batches(find_manifest_files(source), problems):
            if problems:
                break
            columns = [*_filled(batch.rows, config, names), pa.array(batch.numbers)]
            clips = matching(pa.table(columns, [*names, ROW])).slice(0, left)
            yield clips
            left = None if left is None else left - clips.num_rows
            if left == 0:
                return
    problems.raise_if_any()


def _filled(rows: pa.RecordBatch, config: RenderConfig, names: Sequence[str]) -> list[pa.Array]:
    """Fill the empty cells of some columns with the configuration's values."""
    defaults = _defaults(config)
    columns = [rows.column(name) for name in names]
    return [
        _filled_seeds(column, rows.column("clip_id"))
        if name == "seed" and config.seed is None
        else _filled_motion(column, config.clip.motion)
        if name == "motion"
        else pc.fill_null(column, defaults[name])
        if name in defaults
        else column
        for name, column in zip(names, columns, strict=True)
    ]


def _defaults(config: RenderConfig) -> dict[str, Any]:
    """Give the value of an empty cell for every scalar column that has one."""
    own = {name: ClipSpec.model_fields[name].default for name in ("priority", "project")}
    return own | config.clip.model_dump() | {"model": config.model, "seed": config.seed}


def _filled_seeds(seeds: pa.Array, names: pa.Array) -> pa.Array:
    if not seeds.null_count:
        return seeds
    return pa.array(
        [
            seed_from_clip_id(name or "") if seed is None else seed
            for seed, name in zip(seeds.to_pylist(), names.to_pylist(), strict=True)
        ],
        seeds.type,
    )


def _filled_motion(motions: pa.Array, default: Motion) -> pa.Array:
    fields = [
        pc.fill_null(pc.struct_field(motions, name), str(value))
        for name, value in default.model_dump().items()
    ]
    return pa.StructArray.from_arrays(fields, fields=list(motions.type))


@contextmanager
def _condition(where: str | None) -> Iterator[Callable[[pa.Table], pa.Table]]:
    """Give the function that keeps the rows which satisfy an SQL condition."""
    if where is None:
        yield lambda clips: clips
        return
    with duckdb.connect(config={"enable_external_access": False, "threads": 1}) as connection:
        connection.execute("SET python_enable_replacements = false")
        connection.execute("SET lock_configuration = true")
        yield lambda clips: _matching(connection, clips, where)


def _matching(connection: duckdb.DuckDBPyConnection, clips: pa.Table, where: str) -> pa.Table:
    try:
        condition = duckdb.SQLExpression(where)
        return connection.from_arrow(clips).filter(condition).to_arrow_table()
    except (duckdb.Error, TypeError) as error:  # the latter for text with lone surrogates
        details = str(error).split("\n\nLINE")[0]
        raise InputError(
            f"where {where!r} is not a condition over the columns: {details}"
        ) from error


def _specs(clips: pa.Table) -> Iterator[ClipSpec]:
    names = [name for name in clips.schema.names if name != ROW]
    columns = [clips[name].to_pylist() for name in names]
    for cells in zip(*columns, strict=True):
        row = dict(zip(names, cells, strict=True))
        row["loras"] = _loras(row["loras"])
        row["prompts"] = tuple(row["prompts"] or ())
        row["tags"] = dict(row["tags"] or ())
        yield ClipSpec.model_validate(row)


def _loras(cell: Sequence[Mapping[str, Any]] | None) -> tuple[LoRA, ...]:
    return tuple(
        LoRA(**{name: value for name, value in lora.items() if value is not None})
        for lora in cell or ()
    )
