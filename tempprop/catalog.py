"""Records as Parquet: one typed, flat row a clip, one part a run, for DuckDB and its kind.

The records are the truth and the catalog is an index of them: it is written once at the end of a
run, by one writer, and can be written again from the records at any time. A key never changes the
clip that it names, so what the catalog says about a key that is committed always holds.

    SELECT clip_id, media_url FROM read_parquet('OUT/catalog/**/*.parquet', hive_partitioning=true)
"""

import logging
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tempprop.objects import Store, list_names, put_file, read_object
from tempprop.quality import FIGURES, RENDER_FIGURES
from tempprop.spec import ClipFailure, ClipResult
from tempprop.storage_faults import one_line
from tempprop.store import check_segment, committed_keys, iter_failures, iter_results

CATALOG = "catalog"
PART = "part-00000.parquet"
ROWS_PER_GROUP = 4096

logger = logging.getLogger("tempprop.catalog")
QUALITY = (*FIGURES, *RENDER_FIGURES)
STAGES = ("denoise", "decode", "encode", "upload")

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("clip_id", pa.string()),
        ("prompt", pa.string()),
        ("negative_prompt", pa.string()),
        ("project", pa.string()),
        ("tags", pa.map_(pa.string(), pa.string())),
        ("seed", pa.int64()),
        ("num_frames", pa.int32()),
        ("fps", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("model_uri", pa.string()),
        ("model_class", pa.string()),
        ("model_digest", pa.string()),
        ("init_image", pa.string()),
        ("init_image_sha256", pa.string()),
        ("dtype", pa.string()),
        ("media_url", pa.string()),
        ("poster_url", pa.string()),
        ("media_sha256", pa.string()),
        ("media_bytes", pa.int64()),
        ("media_codec", pa.string()),
        ("duration_seconds", pa.float64()),
        *((f"quality_{figure}", pa.float64()) for figure in QUALITY),
        *((f"seconds_{stage}", pa.float64()) for stage in STAGES),
        ("hardware", pa.map_(pa.string(), pa.string())),
        ("attempts", pa.int32()),
        ("run_id", pa.string()),
        ("parent_key", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
        ("spec_json", pa.string()),
    ]
)


def write_catalog(store: Store, run_id: str, results: Iterable[ClipResult]) -> str | None:
    """Write what a run committed, over what was written about the same run before.

    Args:
        store: Where to.
        run_id: The run.
        results: Its clips; read once, and never held all at a time.

    Returns:
        Path of the Parquet file below the root; None where there are no results, in which case
        nothing is written.

    Raises:
        ValueError: The run_id cannot be part of a path.
        StoreError: The store did not do its part.
    """
    url = f"{CATALOG}/run={check_segment(run_id)}/{PART}"
    with tempfile.TemporaryDirectory(prefix="tempprop-") as directory:
        local = Path(directory) / PART
        if not _write_parquet(local, results):
            return None
        put_file(store, local, url)
    return url


def _write_parquet(path: Path, results: Iterable[ClipResult]) -> int:
    """Write rows in groups, and count them."""
    rows = (_row(result) for result in results)
    count = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        while group := list(islice(rows, ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, SCHEMA))
            count += len(group)
    return count


def _row(result: ClipResult) -> dict[str, Any]:
    spec, media = result.spec, result.media
    return {
        "key": result.key,
        "clip_id": result.clip_id,
        "prompt": spec.prompt,
        "negative_prompt": spec.negative_prompt,
        "project": spec.project,
        "tags": list(spec.tags.items()),
        "seed": spec.seed,
        "num_frames": media.num_frames,
        "fps": media.fps,
        "width": media.width,
        "height": media.height,
        "model_uri": result.model.uri,
        "model_class": result.model.pipeline_class,
        "model_digest": result.model.digest,
        "init_image": spec.init_image,
        "init_image_sha256": result.init_image_sha256,
        "dtype": result.dtype,
        "media_url": media.url,
        "poster_url": media.poster_url,
        "media_sha256": media.sha256,
        "media_bytes": media.bytes,
        "media_codec": media.codec,
        "duration_seconds": media.duration_seconds,
        **{f"quality_{figure}": result.quality.get(figure) for figure in QUALITY},
        **{f"seconds_{stage}": getattr(result.seconds, stage) for stage in STAGES},
        "hardware": list(result.hardware.items()),
        "attempts": len(result.failed_attempts) + 1,
        "run_id": result.run_id,
        "parent_key": result.parent_key,
        "created_at": result.created_at,
        "spec_json": spec.model_dump_json(),
    }


def read_catalog(store: Store, columns: list[str] | None = None) -> pa.Table:
    """Read the catalog of all runs.

    Args:
        store: Where from.
        columns: Names of the columns that are needed; None for all.

    A part that is damaged is left out with a warning.

    Returns:
        A table with the columns of `SCHEMA`, without rows where there is no catalog yet.

    Raises:
        StoreError: The store did not answer.
    """
    names = columns or SCHEMA.names
    empty = SCHEMA.empty_table().select(names)
    return pa.concat_tables([empty, *_parts(store, names)], promote_options="default")


def _parts(store: Store, columns: list[str]) -> Iterator[pa.Table]:
    for folder in list_names(store, CATALOG):
        try:
            part = read_object(store, f"{CATALOG}/{folder}/{PART}")
        except FileNotFoundError:
            continue
        try:
            parquet = pq.ParquetFile(pa.BufferReader(part))
            # A part of an older version may lack columns.
            yield parquet.read([name for name in columns if name in parquet.schema_arrow.names])
        except (pa.ArrowException, OSError) as error:
            logger.warning(
                "%s/%s/%s/%s is damaged and not read (%s). Delete it: the next run writes its "
                "clips again, from their records",
                store.uri,
                CATALOG,
                folder,
                PART,
                one_line(error),
            )


def find_clip(store: Store, clip_id: str) -> list[ClipResult]:
    """Find every committed take of a clip.

    The catalog tells the clips of finished runs; of a run that is going on, the records are read.

    Args:
        store: Where from.
        clip_id: Name of the clip.

    Returns:
        Its records, the newest first; none where the clip was never committed.

    Raises:
        StoreError: A record is damaged, or the store did not answer.
    """
    committed = committed_keys(store)
    index = read_catalog(store, ["key", "clip_id"])
    keys, clip_ids = index["key"].to_pylist(), index["clip_id"].to_pylist()
    of_other_clips = {key for key, other in zip(keys, clip_ids, strict=True) if other != clip_id}
    candidates = iter_results(store, committed - of_other_clips)
    results = (result for result in candidates if result.clip_id == clip_id)
    return sorted(results, key=lambda result: result.created_at, reverse=True)


def find_failures(store: Store, clip_id: str) -> list[ClipFailure]:
    """Find every failure of a clip that no later success has replaced.

    Returns:
        Its failures, the newest first.

    Raises:
        StoreError: A failure is damaged, or the store did not answer.
    """
    failures = (failure for failure in iter_failures(store) if failure.clip_id == clip_id)
    return sorted(failures, key=lambda failure: failure.created_at, reverse=True)
