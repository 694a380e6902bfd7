"""What a person sees of a batch: a live display on a terminal, plain lines elsewhere."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cluster.dispatch import Committed, GivenUp, Retried, WorkerLog
from cluster.dispatch import Progress as ClipsInWork
from flows.events import Event, Observer, Planned

Say = Callable[[str], None]


@contextmanager
def batch_display() -> Iterator[Observer]:
    """Show a batch on stderr for the time of a `with` block.

    Yields:
        The observer to pass to `flows.events.observed_by`.
    """
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        with _progress_bar(console) as progress:
            display = LiveDisplay(progress)
            yield display.observe
    else:
        yield PlainDisplay(lambda line: print(line, file=sys.stderr, flush=True)).observe


class PlainDisplay:
    """One line for each thing that happens.

    Args:
        say: Writes a line.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._pending = 0
        self._ended = 0

    def observe(self, event: Event) -> None:
        """Write what an event says, if it says something."""
        match event:
            case Planned(run_id, plan):
                self._pending = plan.pending
                self._say(
                    f"run {run_id}: {plan.total} clips, {plan.committed} committed before, "
                    f"{plan.pending} to render"
                )
            case Committed(result):
                self._ended += 1
                self._say(f"{self._count()} committed {result.clip_id}")
            case _:
                line = trouble(event)
                self._ended += isinstance(event, GivenUp)
                if line is not None:
                    self._say(f"{self._count()} {line}" if isinstance(event, GivenUp) else line)

    def _count(self) -> str:
        return f"[{self._ended}/{self._pending}]"


class LiveDisplay:
    """A bar that counts clips, with the frames rendered, their rate and the time left.

    Args:
        progress: The bar, already on the screen.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar: TaskID = progress.add_task("starting", total=None, frames=0)
        self._frames = 0
        self._ended = 0

    def observe(self, event: Event) -> None:
        """Move the bar, and print above it what a person should know."""
        match event:
            case Planned(_, plan):
                self._progress.update(self._bar, total=plan.pending, description="starting workers")
            case ClipsInWork(clips, workers):
                self._show_work(clips, workers)
            case Committed(result):
                self._frames += result.media.num_frames
                self._end_clip()
            case GivenUp():
                self._end_clip()
        if (line := trouble(event)) is not None:
            self._progress.console.print(escape(line))

    def _end_clip(self) -> None:
        self._ended += 1
        self._progress.update(self._bar, completed=self._ended, frames=self._frames)

    def _show_work(self, clips: dict[str, float], workers: int) -> None:
        if workers:
            # A clip that is half denoised counts half, so that the time left is known early.
            self._progress.update(
                self._bar,
                completed=self._ended + sum(0.99 * share for share in clips.values()),
                description=f"rendering on {workers} worker{'s' if workers > 1 else ''}",
            )


def trouble(event: Event) -> str | None:
    """Say in one line what went wrong, if something did."""
    match event:
        case GivenUp(failure):
            return f"gave up {failure.clip_id}: {failure.error_class}: {failure.message}"
        case Retried(clip_id, attempt):
            return f"trying {clip_id} again after {attempt.error_class}: {attempt.message}"
        case WorkerLog(worker, level, line) if level >= logging.WARNING:
            return f"{worker}: {line}"
    return None


def _progress_bar(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[frames]} frames"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
