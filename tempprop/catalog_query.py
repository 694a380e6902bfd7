"""SQL over the catalog of an output, by DuckDB, which is shown the clips and nothing else.

The parts are copied to this machine first, by the same way as everything else is read: so it works
for every kind of storage, and no compaction takes a part away in the middle. From there they are
read column by column as the question needs them, never as a whole.

A question may come from anyone, as from a page that asks for one. Two walls stand around it: the
parsed statement has to be one SELECT over `clips` and what it defines itself, without functions
that read or set anything else; and the connection that runs it has no access to files, network or
extensions, and its settings are locked.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from tempprop.catalog import SCHEMA
from tempprop.catalog_upkeep import dataset_of, fetch_parts, merged, repeated_keys
from tempprop.errors import InputError, StoreError
from tempprop.objects import Store
from tempprop.storage_faults import one_line

TABLE = "clips"
TABLE_FUNCTIONS = {"unnest", "range", "generate_series", "json_each", "json_tree"}
"""Functions that give rows, and see nothing but their arguments."""

ROWS_AT_A_TIME = 1000

MEMORY_LIMIT = "2GB"
"""Of DuckDB, which puts on disk what does not fit."""


@dataclass(frozen=True)
class Answer:
    """What a question gave.

    Attributes:
        columns: Names, in order; one may be there twice.
        rows: Values of Python, read as they are asked for.
    """

    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


@contextmanager
def query_catalog(store: Store, sql: str) -> Iterator[Answer]:
    """Ask the catalog something.

    Args:
        store: The output. Of runs that have not ended, the catalog knows nothing.
        sql: One SELECT in DuckDB's dialect over the table `clips`, which has a row for each clip
            and the columns of `tempprop.catalog.SCHEMA`. Times are in UTC.

    Yields:
        The answer; its rows are there until the `with` block ends.

    Raises:
        InputError: The SQL is wrong, or asks for something else.
        StoreError: The store did not do its part, or a part of the catalog is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="tempprop-catalog-") as directory:
        config: dict[str, str | bool | int | float | list[str]] = {
            "enable_external_access": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": str(Path(directory) / "spill"),
        }
        with duckdb.connect(config=config) as connection:
            _refuse_other_than_clips(connection, sql)
            parts = _parts(store, Path(directory))
            with _clear_errors(store, sql):
                _show_clips(connection, parts)
                connection.execute(sql)
                columns = tuple(column[0] for column in connection.description or ())
            yield Answer(columns, _rows(connection, store, sql))


def _parts(store: Store, directory: Path) -> list[Path]:
    """Copy the catalog to this machine, with each clip in it once."""
    paths = [part.path for part in fetch_parts(store, directory)]
    try:
        if repeated_keys(paths):
            return [part.path for part in merged(paths, directory)]
    except (pa.ArrowException, OSError) as error:
        raise _damage(store, error) from error
    return paths


def _show_clips(connection: duckdb.DuckDBPyConnection, parts: list[Path]) -> None:
    """Make the table, and lock the connection."""
    rows = dataset_of(parts) if parts else SCHEMA.empty_table()
    connection.from_arrow(rows).create_view(TABLE)
    for setting in (
        "TimeZone = 'UTC'",
        "python_enable_replacements = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")


def _rows(
    connection: duckdb.DuckDBPyConnection, store: Store, sql: str
) -> Iterator[tuple[Any, ...]]:
    while True:
        with _clear_errors(store, sql):
            rows = connection.fetchmany(ROWS_AT_A_TIME)
        if not rows:
            return
        yield from rows


def _refuse_other_than_clips(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Refuse what is not a question about clips.

    Raises:
        InputError: It is something else.
    """
    statement = list(_nodes(_parsed(connection, sql)))
    own = {table["key"].lower() for node in statement for table in _common_tables(node)}
    for node in statement:
        kind = node.get("type")
        if kind == "TABLE_FUNCTION":
            name = node["function"].get("function_name", "")
            if name not in TABLE_FUNCTIONS:
                raise _refusal(sql, f"there is no function {name}")
        if kind in ("BASE_TABLE", "SHOW_REF"):
            # That of `DESCRIBE clips` comes with its quotes.
            name = node.get("table_name", "").strip('"').lower()
            if name and name not in {TABLE, *own}:
                raise _refusal(sql, f"there is no table {name}")


def _parsed(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Any]:
    """Parse one statement, as DuckDB does.

    Raises:
        InputError: It cannot be parsed, is several, or no SELECT.
    """
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise _refusal(sql, "it is no text in UTF-8") from error
    ((answer,),) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    parsed = json.loads(answer)
    if parsed["error"]:
        # Of statements, DuckDB serializes those only that read.
        other = parsed["error_type"] == "not implemented"
        raise _refusal(sql, "it is no SELECT" if other else parsed["error_message"])
    statements: list[Any] = parsed["statements"]
    if len(statements) != 1:
        raise _refusal(sql, f"there are {len(statements)} statements in it")
    return statements


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Give every object in a tree of JSON."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value:
        if isinstance(child, dict | list):
            yield from _nodes(child)


def _common_tables(node: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the tables that a node of the statement defines by WITH."""
    tables: list[dict[str, Any]] = node.get("cte_map", {}).get("map", [])
    return tables


@contextmanager
def _clear_errors(store: Store, sql: str) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        reason = " ".join(str(error).split("\n\nLINE")[0].split())
        if "arrow_scan" in reason:
            raise _damage(store, error) from error
        raise _refusal(sql, reason) from error


def _damage(store: Store, error: Exception) -> StoreError:
    return StoreError(
        f"{store.uri}: a part of the catalog is damaged ({one_line(error)}). Run tempprop catalog "
        "rebuild, which writes it again, from the records"
    )


def _refusal(sql: str, reason: str) -> InputError:
    return InputError(
        f"the catalog cannot be asked {sql!r}: {reason.rstrip('.!')}. Give one SELECT over the "
        f"table {TABLE}, in DuckDB's SQL; DESCRIBE {TABLE} lists its columns"
    )
