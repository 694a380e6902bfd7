"""A running batch's contact with Prefect's server: progress goes up, a wish to stop comes down.

The contact has a thread of its own, and a server that does not answer is put up with: rendering
must not wait for a progress bar, and a server that restarts at night must not cost the night.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import asdict
from typing import Any
from uuid import UUID

from prefect import get_client, get_run_logger
from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.runtime import flow_run

from flows.events import BatchSummary, DeadLetter, Tally

CONTACT_SECONDS = 5.0
CONTACTS_PER_LOG_LINE = 12
FAREWELL_SECONDS = 15.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_signals() -> Iterator["StopSignals"]:
    """Turn SIGINT and SIGTERM into an event for the time of a `with` block.

    Prefect's own handler, which is put back afterwards, would raise in the middle of whatever runs.
    """
    signals = StopSignals()
    previous = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    signals.listen()
    try:
        yield signals
    finally:
        if in_main_thread():
            for number, handler in previous.items():
                signal.signal(number, handler)


@contextmanager
def in_contact(tally: Tally, pending: int, stop: threading.Event) -> Iterator[None]:
    """Show progress in Prefect, and hear of a cancellation, for the time of a `with` block.

    A worker passes a cancellation on as a signal. A run that has no worker, because a person
    started it on the command line or another flow called it, hears of it here.

    Args:
        tally: Counts, which change while the block runs.
        pending: Clips to render, at least 1.
        stop: Is set when the run is being cancelled.
    """
    over = threading.Event()
    contact = _Contact(tally, pending, stop)
    # The thread logs, and is known to Prefect, as the task that starts it.
    thread = threading.Thread(
        target=copy_context().run, args=(contact.keep, over), name="prefect-contact", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(FAREWELL_SECONDS)


def publish_summary(summary: BatchSummary, dead_letters: list[DeadLetter]) -> None:
    """Put the outcome on the run's page, and the first dead letters where there are some."""
    rows = [
        {"what": name.replace("_", " "), "value": value}
        for name, value in asdict(summary).items()
        if value not in (None, []) and name != "failed_clip_ids"
    ]
    _put_up_with(
        lambda: create_table_artifact(
            key="batch-summary", table=rows, description="How the batch ended"
        )
    )
    if dead_letters:
        _put_up_with(
            lambda: create_table_artifact(
                key="dead-letters",
                table=[asdict(letter) for letter in dead_letters],
                description="Clips that were given up",
            )
        )


class StopSignals:
    """Handles SIGINT and SIGTERM: the first one sets an event, the second one interrupts.

    Attributes:
        stop: Set when somebody asked to stop.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._signals = 0

    def listen(self) -> None:
        """Handle the signals from now on.

        Python allows it in the main thread only; elsewhere the event is left to `in_contact`.
        """
        if in_main_thread():
            for number in STOP_SIGNALS:
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: Any) -> None:
        self._signals += 1
        self.stop.set()
        if self._signals > 1:
            raise KeyboardInterrupt


class _Contact:
    """What the thread of `in_contact` knows."""

    def __init__(self, tally: Tally, pending: int, stop: threading.Event) -> None:
        self._tally = tally
        self._pending = pending
        self._stop = stop
        self._artifact: UUID | None = None
        self._contacts = 0
        self._lost = False

    def keep(self, over: threading.Event) -> None:
        """Be in contact now, now and then, and once more at the end."""
        runs = {run for run in (flow_run.id, flow_run.root_flow_run_id) if run}
        while True:
            last = over.wait(CONTACT_SECONDS if self._contacts else 0.0)
            self._contacts += 1
            if _put_up_with(self._show_progress, quiet=self._lost):
                self._lost = not _put_up_with(lambda: self._hear(runs), quiet=self._lost)
            else:
                self._lost = True
            if self._contacts % CONTACTS_PER_LOG_LINE == 0:
                self._log_progress()
            if last:
                return

    def _show_progress(self) -> None:
        ended = self._tally.committed + self._tally.failed
        percent = 100 * ended / self._pending
        if self._artifact is not None:
            update_progress_artifact(self._artifact, progress=percent)
            return
        artifact = create_progress_artifact(
            progress=percent, key="render-progress", description=f"{self._pending} clips to render"
        )
        assert isinstance(artifact, UUID)
        self._artifact = artifact

    def _hear(self, runs: set[str]) -> None:
        with get_client(sync_client=True) as client:
            states = [client.read_flow_run(UUID(run)).state for run in runs]
        if any(state and (state.is_cancelling() or state.is_cancelled()) for state in states):
            self._stop.set()

    def _log_progress(self) -> None:
        get_run_logger().info(
            "%d of %d clips committed, %d given up",
            self._tally.committed,
            self._pending,
            self._tally.failed,
        )


def _put_up_with(call: Callable[[], object], *, quiet: bool = False) -> bool:
    """Call the server; what goes wrong is worth a line in the log and no more.

    Returns:
        Whether the server answered.
    """
    try:
        call()
    except Exception as error:  # of httpx, of Prefect, of the network
        if not quiet:
            get_run_logger().warning("no contact with the Prefect server: %r", error)
        return False
    return True


def in_main_thread() -> bool:
    """Tell whether signals can be handled here."""
    return threading.current_thread() is threading.main_thread()
