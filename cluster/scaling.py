"""How much of its GPUs a run keeps busy, from one GPU to many.

``python -m cluster.scaling --gpus 1,2,4,8,16,32`` writes `docs/measurements/scaling.json` and
`docs/scaling.png`, and prints the table of `docs/clusters.md`. It needs the extra `evaluation`.

The GPUs are simulated: a private Ray is told that it has so many, and every worker renders test
cards that keep its GPU busy for `--seconds` each by waiting. Everything else is real: planning, the
queue, the dispatcher, Ray, a process for each worker, encoding, and records and media in an output
on the local disk.

What is measured is the throughput while there is enough to do. The clock starts when all workers
are up, and until then none gets a clip, so that the start of their processes does not count. It
stops when the last clip is taken from the queue: until then no GPU has to be idle for want of
clips. The clips committed in between, divided by the seconds, are the throughput. Filling the route
is part of it (at first no clip is being encoded), emptying it is not: the two clips that each
worker holds when the queue runs dry are not counted.

Efficiency on N GPUs is the throughput divided by N times the throughput on one GPU, which is
measured in the same way. What one worker loses between two clips is in both, and cancels out; the
share of the ideal, which is N / `--seconds` clips a second, has that too.

All workers, the dispatcher and Ray share the cores of one machine. In a cluster every machine
encodes on its own cores, and all share the dispatcher, the network and the storage. So the figures
tell what the dispatcher and Ray cost, and nothing of network and storage; where the cores are
short, they are lower than those of a cluster would be.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cluster.dispatch import dispatch
from cluster.events import Committed, Progress
from cluster.layout import WorkerFactory, worker_layout
from cluster.rehearsal import rehearsal
from cluster.session import ray_session
from tempprop.clip_queue import ClipQueue
from tempprop.errors import RenderError
from tempprop.planned_clip import PlannedClip, Weights
from tempprop.spec import ClipSettings, Frozen, RenderConfig, WorkerConfig
from tempprop.whole_files import write_whole

DIGITS = 4
"""Decimal places in the file."""

HEADER = (
    "| GPUs | clips | clips/s | ideal | share of the ideal | efficiency |\n"
    "| ---: | ---: | ---: | ---: | ---: | ---: |"
)

PANEL = (3.6, 3.0)
"""Width and height of a panel in inches."""
DPI = 120
QUIET = "#c9ccd3"
STRONG = "#c2412d"

app = typer.Typer()


class Throughput(Frozen):
    """What was measured on so many GPUs, while there was enough to do.

    Attributes:
        gpus: Simulated GPUs, each with a worker.
        clips: Clips of the whole run, all of which were committed.
        clips_counted: Those committed while the clock was running.
        seconds: For how long it was.
        start_seconds: How long it took before that until all workers were up.
        clips_per_second: `clips_counted` over `seconds`.
        ideal: Clips a second of GPUs that are never idle.
        efficiency: `clips_per_second` over `gpus` times that of one GPU.
    """

    gpus: int
    clips: int
    clips_counted: int
    seconds: float
    start_seconds: float
    clips_per_second: float
    ideal: float
    efficiency: float


class Scaling(Frozen):
    """What the command has measured.

    Attributes:
        command: How to measure it again.
        cores: CPU cores that all workers, the dispatcher and Ray had together.
        seconds_per_clip: For how long a clip keeps a GPU busy.
        rows: From one GPU to many.
    """

    command: str
    cores: int
    seconds_per_clip: float
    rows: tuple[Throughput, ...]


class HeldQueue(ClipQueue):
    """A queue that gives no clip before it is opened, and knows when the last one was taken.

    Args:
        queue: The clips.
    """

    def __init__(self, queue: ClipQueue) -> None:
        super().__init__(())
        self._queue = queue
        self.opened_at: float | None = None
        self.dry_at: float | None = None

    def open(self) -> None:
        """Give clips from now on."""
        if self.opened_at is None:
            self.opened_at = time.monotonic()

    def __len__(self) -> int:
        """Count the clips that are left."""
        return len(self._queue)

    def peek(self, held: Sequence[Weights], busy: Counter[Weights]) -> PlannedClip | None:
        """Look at the clip that `take` would give, if the queue were open."""
        return self._queue.peek(held, busy)

    def take(
        self,
        held: Sequence[Weights],
        busy: Counter[Weights],
        suits: Callable[[Weights], int] = lambda weights: 1,
    ) -> PlannedClip | None:
        """Take the next clip for a worker; None while the queue is held, or where it is empty."""
        if self.opened_at is None:
            return None
        clip = self._queue.take(held, busy, suits)
        if self.dry_at is None and not self._queue:
            self.dry_at = time.monotonic()
        return clip


def measure_scaling(
    gpus: Sequence[int], seconds: float, clips_per_gpu: int
) -> Iterator[Throughput]:
    """Measure one number of GPUs after the other.

    Args:
        gpus: The numbers; one GPU is measured in any case, and before all others.
        seconds: For how long a clip keeps a GPU busy.
        clips_per_gpu: Clips of each run, for each of its GPUs.

    Yields:
        What was measured, from one GPU to many.

    Raises:
        RenderError: Not all clips were committed.
    """
    alone: float | None = None
    for number in sorted({1, *gpus}):
        clips = number * clips_per_gpu
        start_seconds, counted, elapsed = _dispatched(number, clips, seconds)
        rate = counted / elapsed
        alone = alone or rate
        yield Throughput(
            gpus=number,
            clips=clips,
            clips_counted=counted,
            seconds=round(elapsed, DIGITS),
            start_seconds=round(start_seconds, DIGITS),
            clips_per_second=round(rate, DIGITS),
            ideal=round(number / seconds, DIGITS),
            efficiency=round(rate / (number * alone), DIGITS),
        )


def _dispatched(gpus: int, clips: int, seconds: float) -> tuple[float, int, float]:
    """Render test cards.

    Returns:
        Seconds until all workers were up; clips that were committed from then on until the queue
        was dry; and the seconds that this took.
    """
    config = RenderConfig(
        model=f"test-card?seconds={seconds}",
        clip=ClipSettings(width=32, height=32, num_frames=2),
        workers=WorkerConfig(num_workers=gpus, num_gpus=1.0, torch_threads=1, canary=False),
    )
    committed = counted = 0
    with rehearsal(clips, config) as batch, ray_session(None, num_gpus=gpus):
        queue = HeldQueue(batch.queue)
        factory = WorkerFactory(worker_layout(config), batch.out, config, "scaling")
        began = time.monotonic()
        for event in dispatch(queue, factory, threading.Event()):
            if isinstance(event, Progress) and event.workers == gpus:
                queue.open()
            elif isinstance(event, Committed):
                committed += 1
                counted += queue.dry_at is None
    if committed < clips or queue.opened_at is None or queue.dry_at is None:
        raise RenderError(f"on {gpus} GPUs only {committed} of {clips} clips were committed")
    return queue.opened_at - began, counted, queue.dry_at - queue.opened_at


def table_row(row: Throughput) -> str:
    """Write a row of the table, in Markdown; `HEADER` goes above it."""
    return (
        f"| {row.gpus} | {row.clips_counted} | {row.clips_per_second:.2f} | {row.ideal:.2f} "
        f"| {row.clips_per_second / row.ideal:.1%} | {row.efficiency:.1%} |"
    )


def scaling_table(scaling: Scaling) -> str:
    """Write the table of all that was measured, in Markdown."""
    return "\n".join((HEADER, *map(table_row, scaling.rows)))


def plot_scaling(scaling: Scaling, path: Path) -> None:
    """Draw throughput and efficiency against the number of GPUs.

    Args:
        scaling: What was measured.
        path: The PNG to write.
    """
    gpus = [row.gpus for row in scaling.rows]
    plot = Figure(figsize=(2 * PANEL[0], PANEL[1]), layout="constrained")
    throughput, efficiency = plot.subplots(1, 2)
    throughput.plot(gpus, [row.ideal for row in scaling.rows], "--", color=QUIET, label="ideal")
    measured = [row.clips_per_second for row in scaling.rows]
    throughput.plot(gpus, measured, "o-", color=STRONG, ms=4, label="measured")
    throughput.set_yscale("log", base=2)
    throughput.yaxis.set_major_formatter("{x:g}")
    throughput.legend(frameon=False, fontsize=8)
    efficiency.axhline(1.0, ls="--", color=QUIET)
    efficiency.plot(gpus, [row.efficiency for row in scaling.rows], "o-", color=STRONG, ms=4)
    efficiency.set_ylim(0.0, max(1.05, 1.05 * max(row.efficiency for row in scaling.rows)))
    efficiency.yaxis.set_major_formatter(PercentFormatter(1.0))
    _dress(throughput, "clips a second", gpus)
    _dress(efficiency, "efficiency", gpus)
    plot.savefig(path, dpi=DPI)


def _dress(axis: Axes, title: str, gpus: Sequence[int]) -> None:
    axis.set_title(title, fontsize=10)
    axis.set_xlabel("GPUs, simulated")
    axis.set_xscale("log", base=2)
    axis.set_xticks(gpus, [str(number) for number in gpus])
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def _numbers(text: str) -> list[int]:
    """Read numbers of GPUs."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise typer.BadParameter(f"{text!r} is no list of numbers from 1 on, such as 1,2,4")
    return numbers


@app.command()
def scaling(
    gpus: Annotated[str, typer.Option(help="Numbers of GPUs, with commas.")] = "1,2,4,8,16,32",
    seconds: Annotated[float, typer.Option(min=0.01, help="A clip keeps its GPU busy.")] = 5.0,
    clips_per_gpu: Annotated[int, typer.Option(min=3, help="Two are never counted.")] = 12,
    out: Annotated[Path, typer.Option(help="Figures to write.")] = Path(
        "docs/measurements/scaling.json"
    ),
    plot: Annotated[Path, typer.Option(help="PNG to write.")] = Path("docs/scaling.png"),
) -> None:
    """Measure how throughput grows with the number of GPUs, all of them simulated."""
    rows = []
    print(HEADER, flush=True)
    for row in measure_scaling(_numbers(gpus), seconds, clips_per_gpu):
        print(table_row(row), flush=True)
        rows.append(row)
    measured = Scaling(
        command=f"python -m cluster.scaling --gpus {','.join(str(row.gpus) for row in rows)} "
        f"--seconds {seconds:g} --clips-per-gpu {clips_per_gpu}",
        cores=os.cpu_count() or 1,
        seconds_per_clip=seconds,
        rows=tuple(rows),
    )
    for path in (out, plot):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, measured.model_dump_json(indent=2) + "\n")
    plot_scaling(measured, plot)


if __name__ == "__main__":
    app()
