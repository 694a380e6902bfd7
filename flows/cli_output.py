"""What the command line prints: results on stdout, warnings and errors on stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from tempprop.errors import InputError, TempPropError

if TYPE_CHECKING:
    from tempprop.orphans import Orphan

EXIT_FAILED_CLIPS = 1
EXIT_INPUT = 2
EXIT_INTERRUPTED = 130

MOST_ORPHANS_SHOWN = 50
HOURS_SHOWN = 48
"""Ages from here on are told in days."""

SLOWEST_RATE = 1.0
"""Frames a second below which it is told how many seconds a frame takes."""

UNLIMITED_COLUMNS = 10_000
"""Width for readers that are programs: they want a row on a line, however long."""


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header; the last column is the one that folds where space is short."""
    table = Table(box=None, pad_edge=False, show_header=bool(header))
    for title in header or [""] * len(rows[0]):
        table.add_column(title, no_wrap=True)
    table.columns[-1].no_wrap = False
    table.columns[-1].overflow = "fold"
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def print_rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of any width under a header; every cell folds where space is short."""
    table = Table(box=None, pad_edge=False)
    for title in header:
        table.add_column(escape(title), overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    _console().print(table)


def print_facts(facts: Mapping[str, Any], as_json: bool) -> None:
    """Print named values, as JSON or as a table."""
    if as_json:
        print_json(facts)
        return
    print_table(
        [], [(name.replace("_", " "), escape(_shown(name, value))) for name, value in facts.items()]
    )


def print_json(value: Any) -> None:
    """Print what a program reads."""
    print(json.dumps(value, indent=2))


def print_summary(summary: Any, as_json: bool) -> None:
    """Print how a batch ended, and where its results are."""
    if as_json:
        print_json(asdict(summary))
        return
    print(_outcome(summary))
    base = summary.out.rstrip("/")
    print(f"clips          {base}/media/")
    if summary.contact_sheet_url:
        print(f"contact sheet  {base}/{summary.contact_sheet_url}")
    print(f"catalog        {base}/catalog/")
    print(f"summary        {base}/runs/{summary.run_id}/summary.json")
    if summary.failed:
        print(f"why            tempprop why {summary.out} {summary.failed_clip_ids[0]}")


def print_orphans(
    out: str, orphans: Sequence[Orphan], older_than: timedelta, removed: int | None, as_json: bool
) -> None:
    """Print what belongs to nothing in an output, and what became of it.

    Args:
        out: The output.
        orphans: What was found.
        older_than: How old it had to be.
        removed: How many were removed; None where that was not asked for.
        as_json: Whether to print JSON.
    """
    now = datetime.now(UTC)
    size = sum(orphan.bytes for orphan in orphans)
    if as_json:
        listed = [
            asdict(orphan) | {"modified": orphan.modified.isoformat(timespec="seconds")}
            for orphan in orphans
        ]
        print_json(
            {
                "output": out,
                "older_than_hours": older_than / timedelta(hours=1),
                "orphans": listed,
                "bytes": size,
                "removed": removed,
            }
        )
        return
    for_people = orphans[:MOST_ORPHANS_SHOWN]
    if for_people:
        print_table(
            ("kind", "age", "size", "name"),
            [
                (o.kind, _age(now - o.modified), decimal(o.bytes), escape(o.name))
                for o in for_people
            ],
        )
    if len(orphans) > len(for_people):
        print(f"and {len(orphans) - len(for_people):,} more, which --json lists")
    found = f"{len(orphans):,} orphan{'s' if len(orphans) != 1 else ''} in {out}, {decimal(size)}"
    if removed is not None:
        print(f"{found}: {removed:,} removed")
    else:
        print(f"{found}{': nothing was removed, see --delete' if orphans else ''}")


def count_clips(count: int) -> str:
    """Say how many clips there are."""
    return f"{count:,} clip{'s' if count != 1 else ''}"


@contextmanager
def clear_errors() -> Iterator[None]:
    """Make one message and an exit code of each error that tempprop raises on purpose."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_INPUT)
    except TempPropError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_FAILED_CLIPS)


class WarningLines(logging.Handler):
    """Writes each warning as one line to stderr, also where a progress bar has taken it over."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        print(f"{record.levelname.lower()}: {record.getMessage()}", file=sys.stderr)


def _age(age: timedelta) -> str:
    hours = age / timedelta(hours=1)
    return f"{hours / 24:,.1f} d" if hours >= HOURS_SHOWN else f"{hours:.1f} h"


def _outcome(summary: Any) -> str:
    if summary.total == 0:
        return "Nothing to render: no clip of the manifest was asked for."
    if summary.committed + summary.failed + summary.not_rendered == 0:
        return f"Nothing to render: all {summary.total} clips are committed."
    rate = summary.frames / summary.seconds if summary.seconds else 0.0
    pace = (
        f"{rate:.1f} frames/s" if rate >= SLOWEST_RATE or not rate else f"{1 / rate:.1f} s a frame"
    )
    return (
        f"{count_clips(summary.committed)} committed, {summary.failed:,} failed, "
        f"{summary.not_rendered:,} left; {summary.frames:,} frames in {summary.seconds:,.0f} s "
        f"({pace})"
    )


def _console() -> Console:
    wide = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, width=UNLIMITED_COLUMNS if wide else None)


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "not known yet"
    if name == "hours":
        return _duration(value)
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f}"
    seconds = round(hours * 3600)
    return f"{hours:.2f} ({seconds // 60} min {seconds % 60} s)"
