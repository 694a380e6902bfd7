"""Made-up batches, for commands that measure the route of a clip and not its rendering."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tempprop.clip_queue import ClipQueue, open_queue
from tempprop.manifest_writing import write_manifest
from tempprop.plan import plan_batch
from tempprop.planned_clip import PlannedClip
from tempprop.preflight import identify
from tempprop.spec import ClipResult, Media, RenderConfig, StageSeconds

MEDIA = Media(
    url="media/none.mp4",
    poster_url="media/none.jpg",
    sha256="0" * 64,
    bytes=0,
    codec="h264",
    width=128,
    height=128,
    fps=8.0,
    num_frames=16,
    duration_seconds=2.0,
)
"""What records point to where nothing is rendered: nothing is uploaded."""


@dataclass(frozen=True)
class Rehearsal:
    """A batch that is ready to be dispatched.

    Attributes:
        queue: All of its clips.
        out: Its output, an empty directory on the local disk.
    """

    queue: ClipQueue
    out: str


@contextmanager
def rehearsal(clips: int, config: RenderConfig) -> Iterator[Rehearsal]:
    """Write a manifest, plan it and queue it, as a batch does.

    Args:
        clips: How many.
        config: Model and look of all of them.

    Yields:
        The batch; its files are gone afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="tempprop-rehearsal-") as directory:
        plan = plan_batch(
            write_made_up_manifest(clips, Path(directory) / "clips.parquet"),
            config,
            committed_keys=set(),
            identify=partial(identify, config),
            queue_path=Path(directory) / "queue.parquet",
        )
        with open_queue(plan) as queue:
            yield Rehearsal(queue, str(Path(directory) / "out"))


def write_made_up_manifest(clips: int, path: Path) -> str:
    """Write a manifest in which every clip has a prompt of its own.

    Returns:
        The path, as those who read a manifest want it.
    """
    rows = (
        {"clip_id": f"clip-{n:07}", "prompt": f"a large red balloon number {n} over green hills"}
        for n in range(clips)
    )
    write_manifest(rows, str(path))
    return str(path)


def made_up_result(clip: PlannedClip, config: RenderConfig) -> ClipResult:
    """Make the record of a clip that nobody has rendered."""
    return ClipResult(
        key=clip.key,
        clip_id=clip.spec.clip_id,
        spec=clip.spec,
        model=clip.identity,
        encoder=config.encoder,
        finishing=config.finishing,
        dtype=config.dtype,
        versions={},
        media=MEDIA,
        quality={},
        seconds=StageSeconds(),
        frames_per_batch=1,
        hardware={},
        run_id="rehearsal",
        created_at=datetime.now(UTC),
    )
