"""What has to be rendered, as a queue on disk.

A night may be a million clips. Planning streams the manifest, leaves out what is already committed
and writes the rest to a Parquet file, which `tempprop.clip_queue` sorts and reads.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tempprop.init_image import picture_digest
from tempprop.manifest import read_clips
from tempprop.planned_clip import clip_cost
from tempprop.spec import ClipSpec, LoRA, ModelIdentity, RenderConfig, clip_key

Identify = Callable[[str, tuple[LoRA, ...]], ModelIdentity]

QUEUE_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("clip_id", pa.string()),
        ("priority", pa.int64()),
        ("group", pa.int64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("cost", pa.int64()),
        ("position", pa.int64()),
        ("spec_json", pa.string()),
        ("identity_json", pa.string()),
        ("init_image_sha256", pa.string()),
    ]
)

BATCH_ROWS = 8192

RECENT_PICTURES = 4096
"""Pictures whose digests are remembered while a manifest streams past."""


@dataclass(frozen=True)
class Plan:
    """How much of a manifest is left to do.

    Attributes:
        total: Clips asked for.
        committed: Clips that are already in the store.
        pending: Clips to render.
        pending_frames: Frames of the pending clips.
        pending_cost: Cost of the pending clips, see `clip_cost`.
        pending_by_model: Pending clips of each checkpoint, by its name in the manifest.
        queue_path: Local Parquet file that holds the pending clips, for `tempprop.clip_queue`.
    """

    total: int
    committed: int
    pending: int
    pending_frames: int
    pending_cost: int
    pending_by_model: Mapping[str, int]
    queue_path: Path


def plan_batch(
    source: str,
    config: RenderConfig,
    *,
    committed_keys: Container[str],
    identify: Identify,
    queue_path: Path,
    where: str | None = None,
    limit: int | None = None,
) -> Plan:
    """Work out which clips of a manifest are not in the store yet, and queue them on disk.

    Args:
        source: The manifest, as for `tempprop.manifest.read_clips`.
        config: Model and look.
        committed_keys: Keys of the clips that are in the store.
        identify: Finds the weights behind a checkpoint's name and LoRAs. It is called once for
            every distinct pair.
        queue_path: Where to write the queue, on a local disk. An existing file is replaced.
        where: An SQL condition over the manifest's columns.
        limit: Plan only the first so many clips that satisfy `where`.

    Returns:
        The counts, and where the queue is.

    Raises:
        ManifestError: If a row has a problem.
        PictureError: If a picture cannot be used; `tempprop.preflight` finds all of them.
        InputError: If `where` is not a condition.
    """
    digest_of = lru_cache(maxsize=RECENT_PICTURES)(picture_digest)
    groups: dict[tuple[str, tuple[LoRA, ...]], tuple[int, ModelIdentity]] = {}
    total = frames = cost = 0
    by_model: Counter[str] = Counter()
    with _queue_writer(queue_path) as append:
        for spec in read_clips(source, config, where=where, limit=limit):
            total += 1
            weights = (spec.model, spec.loras)
            if weights not in groups:
                groups[weights] = (len(groups), identify(*weights))
            group, identity = groups[weights]
            picture = digest_of(spec.init_image) if spec.init_image is not None else None
            key = clip_key(spec, config, identity, picture)
            if key in committed_keys:
                continue
            append(_queue_row(key, spec, group, identity, picture, total))
            by_model[spec.model] += 1
            frames += spec.num_frames
            cost += clip_cost(spec)
    pending = by_model.total()
    return Plan(total, total - pending, pending, frames, cost, dict(by_model), queue_path)


def estimate_seconds(plan: Plan, *, seconds_per_cost: float, workers: int) -> float:
    """Estimate how long the pending clips take.

    Args:
        plan: What is pending.
        seconds_per_cost: Measured seconds of one worker for one unit of `clip_cost`.
        workers: Workers that render at the same time, at least 1.

    Returns:
        Wall-clock seconds, without loading models and without the idle end of the last clips.
    """
    return plan.pending_cost * seconds_per_cost / workers


def _queue_row(
    key: str,
    spec: ClipSpec,
    group: int,
    identity: ModelIdentity,
    init_image_sha256: str | None,
    position: int,
) -> dict[str, Any]:
    return {
        "key": key,
        "clip_id": spec.clip_id,
        "priority": spec.priority,
        "group": group,
        "width": spec.width,
        "height": spec.height,
        "cost": clip_cost(spec),
        "position": position,
        "spec_json": spec.model_dump_json(),
        "identity_json": identity.model_dump_json(),
        "init_image_sha256": init_image_sha256,
    }


@contextmanager
def _queue_writer(path: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that adds a row; rows reach the file in groups."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    with pq.ParquetWriter(path, QUEUE_SCHEMA, compression="zstd") as writer:

        def flush() -> None:
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=QUEUE_SCHEMA))
            rows.clear()

        def append(row: dict[str, Any]) -> None:
            rows.append(row)
            if len(rows) == BATCH_ROWS:
                flush()

        yield append
        flush()
