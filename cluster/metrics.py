"""What a run tells Prometheus, by way of Ray: every node of a cluster exports it with its own.

Ray puts `ray_` before the names, and `_total` behind those of counters.
"""

import time

from ray.util.metrics import Counter, Gauge

from cluster.events import Committed, Event, GivenUp, Progress, Quarantined, Retried
from tempprop.spec import ClipResult, StageSeconds

COUNTERS = {
    "tempprop_clips": ("Clips that came to an end, by how.", ("state",)),
    "tempprop_failed_attempts": ("Attempts at clips that failed, by kind.", ("kind",)),
    "tempprop_frames": ("Frames of committed clips.", ()),
    "tempprop_stage_seconds": ("Seconds that committed clips spent in each stage.", ("stage",)),
    "tempprop_quarantined_workers": ("Workers and GPUs that were found broken.", ()),
}
"""What each counter counts, and its tags."""

GAUGES = {
    "tempprop_clips_waiting": "Clips that no worker has.",
    "tempprop_clips_in_work": "Clips that workers have.",
    "tempprop_workers": "Workers that take clips.",
    "tempprop_gpu_busy": "Share of the workers' time, 0 to 1, in which they denoised and decoded "
    "the clips committed in the last minute.",
}
"""What each gauge shows."""

WINDOW_SECONDS = 60.0


class FarmMetrics:
    """The counters and gauges of one run. Ray has to be connected."""

    def __init__(self) -> None:
        self._counters = {
            name: Counter(name, description=description, tag_keys=tags)
            for name, (description, tags) in COUNTERS.items()
        }
        self._gauges = {
            name: Gauge(name, description=description) for name, description in GAUGES.items()
        }
        self._busy: list[tuple[float, float]] = []
        """When clips were committed, and the seconds for which each kept its GPU busy."""

    def note(self, event: Event) -> None:
        """Count what happened."""
        match event:
            case Committed(result):
                self._note_committed(result)
            case GivenUp(failure):
                self._count("tempprop_clips", state="dead letter")
                self._count("tempprop_failed_attempts", kind=failure.attempts[-1].kind)
            case Retried(_, attempt):
                self._count("tempprop_failed_attempts", kind=attempt.kind)
            case Quarantined():
                self._count("tempprop_quarantined_workers")
            case Progress():
                self._show(event)

    def end(self) -> None:
        """Show that nothing is left in work; gauges would stay as they were."""
        for gauge in self._gauges.values():
            gauge.set(0)

    def _note_committed(self, result: ClipResult) -> None:
        self._count("tempprop_clips", state="committed")
        self._count("tempprop_frames", result.media.num_frames)
        for stage in StageSeconds.model_fields:
            self._count("tempprop_stage_seconds", getattr(result.seconds, stage), stage=stage)
        self._busy.append((time.monotonic(), result.seconds.denoise + result.seconds.decode))

    def _show(self, progress: Progress) -> None:
        now = time.monotonic()
        self._busy = [(when, busy) for when, busy in self._busy if now - when < WINDOW_SECONDS]
        busy = sum(seconds for _, seconds in self._busy)
        self._gauges["tempprop_clips_waiting"].set(progress.waiting)
        self._gauges["tempprop_clips_in_work"].set(progress.in_work)
        self._gauges["tempprop_workers"].set(progress.workers)
        available = WINDOW_SECONDS * max(1, progress.workers)
        self._gauges["tempprop_gpu_busy"].set(min(1.0, busy / available))

    def _count(self, name: str, value: float = 1.0, **tags: str) -> None:
        if value > 0:
            self._counters[name].inc(value, tags=tags)
