"""Whether a worker's machine is about to be taken away: SIGTERM, or Ray's notice."""

import signal
import threading
import time
from typing import Any

import ray

ASK_SECONDS = 2.0
ANSWER_SECONDS = 5.0


class DrainNotice:
    """Listens for the notice that this process has to make room.

    To be made in the main thread of an actor, which alone may handle signals; anywhere else no
    notice is ever given. A worker of a private Ray comes with SIGTERM blocked, see
    `cluster.session`.
    """

    def __init__(self) -> None:
        self._noticed = threading.Event()
        self._asked_at = time.monotonic()
        self._gcs: Any = None
        self._in_actor = ray.is_initialized() and bool(ray.get_runtime_context().get_actor_id())
        if self._in_actor:
            signal.signal(signal.SIGTERM, lambda *_: self._noticed.set())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    @property
    def given(self) -> bool:
        """Whether there was a notice; there is no way back."""
        return self._noticed.is_set()

    def look(self) -> bool:
        """Ask Ray, every few seconds, whether the machine is being drained; says `given`."""
        now = time.monotonic()
        if self._in_actor and not self.given and now - self._asked_at > ASK_SECONDS:
            self._asked_at = now
            if ray.get_runtime_context().get_node_id() in self._draining_nodes():
                self._noticed.set()
        return self.given

    def _draining_nodes(self) -> dict[str, int]:
        try:
            if self._gcs is None:
                address = ray.get_runtime_context().gcs_address
                # Ray Serve asks in this way too: there is no public one.
                self._gcs = ray._raylet.GcsClient(address=address)  # type: ignore[attr-defined]
            nodes: dict[str, int] = self._gcs.get_draining_nodes(timeout=ANSWER_SECONDS)
        except Exception:  # whatever gRPC raises: without an answer there is no notice
            return {}
        return nodes
