"""The command that evaluates clips: how far it is on stderr, its table on stdout, its files."""

import sys

from rich.markup import escape

from flows.cli_output import print_table
from flows.progress_bar import progress_watch
from tempprop.evaluation.evaluate import MEASURING, Request, evaluate
from tempprop.evaluation.report import FILES, as_json, terminal_lines, write_report
from tempprop.evaluation.rows import RESAMPLING
from tempprop.store import check_store, open_store
from tempprop.watch import Watch


def evaluate_clips(request: Request, out: str | None, json: bool) -> None:
    """Evaluate, write the report, and print what was found.

    Args:
        request: What to evaluate.
        out: Where the report goes; None for nowhere.
        json: Whether to print JSON.

    Raises:
        ClipError: The clips or the metrics cannot be had.
        StoreInputError: The report cannot be written there.
        StoreError: A store did not answer.
    """
    store = open_store(out) if out is not None else None
    if store is not None:
        check_store(store)
    with progress_watch(_lines()) as watch:
        evaluation = evaluate(request, store, watch)
    if store is not None:
        write_report(evaluation, store)
    if json:
        print(as_json(evaluation), end="")
        return
    header, lines = terminal_lines(evaluation)
    print_table(
        [escape(name) for name in header], [[escape(cell) for cell in line] for line in lines]
    )
    if store is not None:
        print("\n".join(f"{store.uri.rstrip('/')}/{name}" for name in FILES))


def _lines() -> Watch:
    """Write a line whenever another source begins to be worked on; a look at clips is short."""
    before = ""

    def watch(doing: str, done: int, total: int) -> None:
        nonlocal before
        if doing != before and doing.startswith((MEASURING, RESAMPLING)):
            print(f"{doing}, {done} of {total} done", file=sys.stderr, flush=True)
        before = doing

    return watch


__all__ = ["Request", "evaluate_clips"]
