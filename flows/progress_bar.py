"""How far a command is, as a bar on a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from tempprop.watch import Watch, nobody


@contextmanager
def progress_watch(elsewhere: Watch = nobody) -> Iterator[Watch]:
    """Show on stderr how far work is, where that is a terminal.

    Args:
        elsewhere: Is told where it is none.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield elsewhere
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def watch(doing: str, done: int, total: int) -> None:
            bar.update(task, description=escape(doing), completed=done, total=total)

        yield watch
