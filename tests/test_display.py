import io
import logging
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from records import failure_of, result_of
from rich.console import Console

from cluster.events import Committed, GivenUp, Progress, Retried, WorkerLog
from flows.display import STOPPING, LiveDisplay, PlainDisplay, batch_display, progress_bar, trouble
from flows.events import BatchSummary, Ended, Event, Planned, Stopping
from tempprop.plan import Plan
from tempprop.spec import Attempt

PLANNED = Planned("night-1", Plan(1502, 1500, 2, 32, 1, {"mini": 2}, Path("queue.parquet")), 2)
ATTEMPT = Attempt(
    kind="infrastructure",
    error_class="NodeDiedError",
    message="gone",
    worker="worker-1",
    node="a",
    seconds=1.0,
)


def summary() -> BatchSummary:
    return BatchSummary(
        run_id="night-1",
        manifest="clips.parquet",
        out="library",
        total=1502,
        committed_before=1500,
        committed=1,
        failed=1,
        failed_clip_ids=["bad"],
        not_rendered=0,
        interrupted=False,
        gave_out=None,
        quarantined=[],
        frames=16,
        seconds=9.0,
        catalog_url=None,
        contact_sheet_url=None,
        started_at=datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
    )


EVENTS: list[Event] = [
    PLANNED,
    WorkerLog("worker-1", logging.INFO, "loaded"),
    WorkerLog(
        "worker-1", logging.WARNING, "clip 'a': the embedded model does not know: [zeppelin]"
    ),
    Progress({"a": 0.5}, 2),
    Retried("a", ATTEMPT),
    Committed(result_of("a")),
    GivenUp(failure_of("bad")),
    Stopping(),
    Ended(summary()),
]


def plain(events: list[Event]) -> list[str]:
    lines: list[str] = []
    display = PlainDisplay(lines.append)
    for event in events:
        display.observe(event)
    return lines


def live(events: list[Event], width: int = 100) -> tuple[str, str]:
    """What stays above the bar, and the bar as it stands at the end."""
    console = Console(
        record=True,
        force_terminal=True,
        width=width,
        height=20,
        file=io.StringIO(),
        highlight=False,
    )
    with progress_bar(console) as progress:
        display = LiveDisplay(progress)
        for event in events:
            display.observe(event)
        progress.refresh()
        bar = Console(width=width, file=io.StringIO(), record=True, highlight=False)
        bar.print(progress.get_renderable())
    return console.export_text(), bar.export_text()


def test_plain_lines_number_the_clips_that_ended_and_leave_chatter_out() -> None:
    failure = failure_of("bad")
    assert plain(EVENTS) == [
        "run night-1: 1,502 clips, 1,500 committed before, 2 to render",
        "worker-1: clip 'a': the embedded model does not know: [zeppelin]",
        "trying a again after NodeDiedError: gone",
        "[1/2] committed a",
        f"[2/2] gave up bad: {failure.error_class}: {failure.message}",
        STOPPING,
    ]


def test_the_live_display_keeps_trouble_above_the_bar_with_its_brackets() -> None:
    above, _ = live(EVENTS)
    assert "worker-1: clip 'a': the embedded model does not know: [zeppelin]" in above
    assert "trying a again after NodeDiedError: gone" in above
    assert "gave up bad" in above
    assert "loaded" not in above


def test_the_bar_counts_ended_clips_while_clips_in_work_only_move_it() -> None:
    _, bar = live([PLANNED, Progress({"a": 0.9, "b": 0.9}, 2)])
    assert "2 workers" in bar
    assert "0/2 clips" in bar
    assert "━" in bar
    _, bar = live([PLANNED, Progress({"a": 0.9}, 1), Committed(result_of("a"))])
    assert " 1 worker " in bar
    assert "1/2 clips" in bar
    assert re.search(r"16 frames \d+\.\d/s", bar)


def test_nothing_is_counted_before_the_plan_is_known() -> None:
    _, bar = live([])
    assert "checking and planning" in bar
    assert "clips" not in bar


def test_a_batch_that_stops_says_so_until_its_end() -> None:
    above, bar = live([PLANNED, Stopping(), Progress({"a": 0.9}, 2)])
    assert STOPPING in " ".join(above.split())
    assert "stopping" in bar
    assert "worker" not in bar


@pytest.mark.parametrize("width", [80, 120])
def test_the_bar_fits_on_one_line(width: int) -> None:
    big = Planned("r", Plan(99_999, 0, 99_999, 1_600_000, 1, {}, Path("q")), 64)
    _, bar = live([big, Progress({"a": 0.5}, 64), Committed(result_of("a"))], width)
    assert len(bar.strip("\n").splitlines()) == 1
    assert "…" not in bar


def test_a_long_message_of_several_lines_becomes_one_short_line() -> None:
    line = trouble(WorkerLog("worker-1", logging.ERROR, "first\n  second " + "x" * 1000))
    assert line is not None
    assert line.startswith("worker-1: first second xxx")
    assert line.endswith("…")
    assert len(line) == 300


def test_off_a_terminal_the_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with batch_display() as observe:
        observe(PLANNED)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("run night-1: 1,502 clips")
