"""What a person sees of a batch: a live display on a terminal, plain lines elsewhere."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from cluster.events import Committed, GaveOut, GivenUp, Quarantined, Retried, WorkerLog
from cluster.events import Progress as ClipsInWork
from flows.cli_output import count_clips
from flows.events import Event, Observer, Planned, Stopping

Say = Callable[[str], None]

STOPPING = "stopping; clips that are nearly done are still committed, press Ctrl-C again to abort"
MESSAGE_CHARACTERS = 300


@contextmanager
def batch_display() -> Iterator[Observer]:
    """Show a batch on stderr for the time of a `with` block.

    Yields:
        The observer to pass to `flows.events.observed_by`.
    """
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        with progress_bar(console) as progress:
            yield LiveDisplay(progress).observe
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
                    f"run {run_id}: {count_clips(plan.total)}, {plan.committed:,} committed "
                    f"before, {plan.pending:,} to render"
                )
            case Committed(result):
                self._say(f"{self._count()} committed {result.clip_id}")
            case GivenUp():
                self._say(f"{self._count()} {trouble(event)}")
            case _ if line := trouble(event):
                self._say(line)

    def _count(self) -> str:
        self._ended += 1
        return f"[{self._ended}/{self._pending}]"


class LiveDisplay:
    """A bar that counts clips, with the frames rendered, their rate and the time left.

    Args:
        progress: The bar of `progress_bar`, already on the screen.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar: TaskID = progress.add_task("checking and planning", total=None, frames=0, done=0)
        self._frames = 0
        self._ended = 0
        self._stopping = False

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
            case Stopping():
                self._stopping = True
                self._progress.update(self._bar, description="stopping")
        if (line := trouble(event)) is not None:
            style = "red" if isinstance(event, GivenUp | Quarantined | GaveOut) else "yellow"
            self._progress.console.print(Text(line, style))

    def _end_clip(self) -> None:
        self._ended += 1
        self._progress.update(
            self._bar, completed=self._ended, done=self._ended, frames=self._frames
        )

    def _show_work(self, clips: dict[str, float], workers: int) -> None:
        if not workers or self._stopping:
            return
        self._progress.update(
            self._bar,
            # A clip that is half denoised counts half, so that the time left is known early.
            completed=self._ended + sum(0.99 * share for share in clips.values()),
            description=f"{workers} worker{'s' if workers > 1 else ''}",
        )


def trouble(event: Event) -> str | None:
    """Say in one line what went wrong, if something did."""
    match event:
        case GivenUp(failure):
            text = f"gave up {failure.clip_id}: {failure.error_class}: {failure.message}"
        case Retried(clip_id, attempt):
            text = f"trying {clip_id} again after {attempt.error_class}: {attempt.message}"
        case Quarantined(_, place, reason):
            text = f"{place} gets no more clips: {reason}"
        case GaveOut(reason):
            text = f"the run ends early: {reason}"
        case WorkerLog(worker, level, line) if level >= logging.WARNING:
            text = f"{worker}: {line}"
        case Stopping():
            text = STOPPING
        case _:
            return None
    text = " ".join(text.split())
    return text if len(text) <= MESSAGE_CHARACTERS else f"{text[: MESSAGE_CHARACTERS - 1]}…"


def progress_bar(console: Console) -> Progress:
    """Lay the live display out."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        ClipsColumn(),
        FramesColumn(),
        TimeLeftColumn(),
        console=console,
        expand=True,
    )


class ClipsColumn(MofNCompleteColumn):
    """Counts the clips that have ended; those in work only move the bar."""

    def render(self, task: Task) -> Text:
        """Write the count, once it is known out of how many."""
        if task.total is None:
            return Text()
        return Text(f"{task.fields['done']:,}/{task.total:,.0f} clips", "progress.download")


class FramesColumn(ProgressColumn):
    """Counts the frames of the clips that are committed, with the rate since the start."""

    def render(self, task: Task) -> Text:
        """Write both."""
        frames, seconds = task.fields["frames"], task.elapsed or 0.0
        rate = f" {frames / seconds:.1f}/s" if frames and seconds else ""
        return Text(f"{frames:,} frames{rate}", "progress.data.speed")


class TimeLeftColumn(TimeRemainingColumn):
    """Tells the time left, once there is something to estimate it from."""

    def render(self, task: Task) -> Text:
        """Write the time left."""
        if task.finished or task.time_remaining is None:
            return Text()
        return super().render(task) + Text(" left", "progress.remaining")
