"""The commands over the catalog of an output: ask it, write it again, put it in order."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli_options import JsonOption, OutArgument
from flows.cli_output import count_clips, print_rows

if TYPE_CHECKING:
    from tempprop.catalog_query import Answer
    from tempprop.catalog_upkeep import Upkeep

MOST_ROWS_SHOWN = 1000
"""Of a table for people, whose columns are as wide as their widest cells."""

catalog_app = typer.Typer(
    help="Ask the catalog of an output, and keep it in order.\n\n"
    'Example: [bold]tempprop catalog query library "SELECT clip_id FROM clips"[/bold]',
    no_args_is_help=True,
)


@catalog_app.command("query")
def catalog_query(
    out: OutArgument,
    sql: Annotated[
        str,
        typer.Argument(metavar="SQL", help="One SELECT over the table clips, in DuckDB's SQL."),
    ],
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV for spreadsheets.")] = False,
) -> None:
    """Ask the catalog by SQL: one row a clip, of all runs that have ended.

    DESCRIBE clips lists the columns. The SQL can read nothing else, and change nothing.

    Example: [bold]tempprop catalog query library "SELECT clip_id, media_url FROM clips"[/bold]
    """
    from tempprop.catalog_query import query_catalog
    from tempprop.store import open_output, open_store

    if as_json and as_csv:
        raise typer.BadParameter("give --json or --csv")
    open_output(out)
    with query_catalog(open_store(out), sql) as answer:
        if as_json:
            _print_json_rows(answer)
        elif as_csv:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(answer.columns)
            writer.writerows(_texts(answer.rows))
        else:
            print_rows(answer.columns, _texts(islice(answer.rows, MOST_ROWS_SHOWN)))
            if next(answer.rows, None) is not None:
                print(
                    f"only the first {MOST_ROWS_SHOWN:,} rows are shown: take --csv or --json",
                    file=sys.stderr,
                )


@catalog_app.command("rebuild")
def catalog_rebuild(out: OutArgument) -> None:
    """Write the catalog again from the records, which are the truth.

    Clips are never missing from it meanwhile, and it may be interrupted at any time.

    Example: [bold]tempprop catalog rebuild library[/bold]
    """
    from tempprop.catalog_upkeep import rebuild_catalog
    from tempprop.store import open_output, open_store

    open_output(out)
    _print_upkeep(rebuild_catalog(open_store(out)))


@catalog_app.command("compact")
def catalog_compact(out: OutArgument) -> None:
    """Merge the small files of many runs into few large ones.

    Clips are never missing from the catalog meanwhile, and it may be interrupted at any time.

    Example: [bold]tempprop catalog compact library[/bold]
    """
    from tempprop.catalog_upkeep import compact_catalog
    from tempprop.store import open_output, open_store

    open_output(out)
    _print_upkeep(compact_catalog(open_store(out)))


def _print_upkeep(done: Upkeep) -> None:
    files = f"{done.parts:,} file{'s' if done.parts != 1 else ''}"
    print(f"{count_clips(done.rows)} in {files}, before in {done.parts_before:,}")


def _print_json_rows(answer: Answer) -> None:
    """Print an array with an object a row, as the rows come."""
    separator = "["
    for row in answer.rows:
        values = dict(zip(answer.columns, map(_plain, row), strict=True))
        print(f"{separator}\n  {json.dumps(values)}", end="")
        separator = ","
    print("[]" if separator == "[" else "\n]")


def _texts(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[str]]:
    return ([_text(_plain(value)) for value in row] for row in rows)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Give a value of DuckDB as one of JSON: null for what is not finite, text for what JSON lacks.

    A time is text as ISO 8601 has it, with its zone.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case dict():
            return {str(key): _plain(part) for key, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
        case _:
            return value.isoformat() if hasattr(value, "isoformat") else str(value)
