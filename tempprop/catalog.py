"""Records as Parquet: one typed, flat row a clip, for DuckDB and its kind.

    OUT/catalog/run=<run_id>/part-00000.parquet               what one run committed
    OUT/catalog/run=compacted-<digest>/part-00000.parquet     what several did

The records are the truth and the catalog is an index of them: each run adds a part at its end, and
all of it can be written again from the records at any time, see `tempprop.catalog_upkeep`. A key
never changes the clip that it names, so what the catalog says about a key that is committed always
holds.

No storage replaces several objects at once. Whoever makes new parts of old ones therefore writes
the new ones first and removes the old ones then: no row is ever missing, and for that time, or
after a crash in it until the next compaction, some are there twice. Everything here counts them
once, by their key.
"""

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel

from tempprop.objects import Store, list_names, put_file, read_object
from tempprop.quality import FIGURES, RENDER_FIGURES
from tempprop.spec import ClipFailure, ClipResult, Provenance
from tempprop.storage_faults import one_line
from tempprop.store import check_segment, committed_keys, iter_failures, iter_results

CATALOG = "catalog"
PART = "part-00000.parquet"
PARTITION = "run="
"""The hive partition is called `run`, which says where a row lies. Who rendered it is `run_id`."""

ROWS_PER_GROUP = 4096

logger = logging.getLogger("tempprop.catalog")
QUALITY = (*FIGURES, *RENDER_FIGURES)
STAGES = ("denoise", "decode", "encode", "upload")
TEXTS = pa.map_(pa.string(), pa.string())
ATTEMPT = ("kind", "error_class", "worker", "node", "gpu", "seconds")
"""What the catalog tells of a failed attempt; its message is in the record."""

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("clip_id", pa.string()),
        ("prompt", pa.string()),
        ("prompts", pa.list_(pa.struct([("frame", pa.int32()), ("prompt", pa.string())]))),
        ("negative_prompt", pa.string()),
        ("project", pa.string()),
        ("tags", TEXTS),
        ("priority", pa.int32()),
        ("seed", pa.int64()),
        ("num_frames", pa.int32()),
        ("fps", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("num_inference_steps", pa.int32()),
        ("guidance_scale", pa.float64()),
        ("model_uri", pa.string()),
        ("model_class", pa.string()),
        ("model_digest", pa.string()),
        (
            "loras",
            pa.list_(
                pa.struct(
                    [("path", pa.string()), ("weight", pa.float64()), ("digest", pa.string())]
                )
            ),
        ),
        ("init_image", pa.string()),
        ("init_image_sha256", pa.string()),
        ("dtype", pa.string()),
        ("scheduler", pa.string()),
        ("encoder", TEXTS),
        ("versions", TEXTS),
        ("media_url", pa.string()),
        ("poster_url", pa.string()),
        ("preview_url", pa.string()),
        ("media_sha256", pa.string()),
        ("media_bytes", pa.int64()),
        ("media_codec", pa.string()),
        ("media_encoder", pa.string()),
        ("duration_seconds", pa.float64()),
        ("watermark", TEXTS),
        ("digital_source_type", pa.string()),
        ("signature", pa.string()),
        ("signer", pa.string()),
        ("certificate_sha256", pa.string()),
        *((f"quality_{figure}", pa.float64()) for figure in QUALITY),
        *((f"seconds_{stage}", pa.float64()) for stage in STAGES),
        ("frames_per_batch", pa.int32()),
        ("hardware", TEXTS),
        ("attempts", pa.int32()),
        (
            "failed_attempts",
            pa.list_(
                pa.struct(
                    [(name, pa.float64() if name == "seconds" else pa.string()) for name in ATTEMPT]
                )
            ),
        ),
        ("run_id", pa.string()),
        ("parent_key", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
        ("spec_json", pa.string()),
    ]
)
"""Columns are added over time: parts that lack one read as null in it."""

T = TypeVar("T")


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
    url = part_name(check_segment(run_id))
    with tempfile.TemporaryDirectory(prefix="tempprop-") as directory:
        local = Path(directory) / PART
        if not write_rows(local, results):
            return None
        put_file(store, local, url)
    return url


def part_name(run: str) -> str:
    """Name the part of a run below the root."""
    return f"{CATALOG}/{PARTITION}{run}/{PART}"


def write_rows(path: Path, results: Iterable[ClipResult]) -> int:
    """Write rows into a local Parquet file, in groups, and count them.

    Args:
        path: The file.
        results: Read once, and never held all at a time.
    """
    rows = (_row(result) for result in results)
    count = 0
    with open_writer(path) as writer:
        while group := list(islice(rows, ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, SCHEMA))
            count += len(group)
    return count


def open_writer(path: Path) -> pq.ParquetWriter:
    """Open a local file for rows of `SCHEMA`."""
    return pq.ParquetWriter(path, SCHEMA, compression="zstd")


def _row(result: ClipResult) -> dict[str, Any]:
    spec, media = result.spec, result.media
    return {
        "key": result.key,
        "clip_id": result.clip_id,
        "prompt": spec.prompt,
        "prompts": [keyframe.model_dump() for keyframe in spec.prompts],
        "negative_prompt": spec.negative_prompt,
        "project": spec.project,
        "tags": list(spec.tags.items()),
        "priority": spec.priority,
        "seed": spec.seed,
        "num_frames": media.num_frames,
        "fps": media.fps,
        "width": media.width,
        "height": media.height,
        "num_inference_steps": spec.num_inference_steps,
        "guidance_scale": spec.guidance_scale,
        "model_uri": result.model.uri,
        "model_class": result.model.pipeline_class,
        "model_digest": result.model.digest,
        "loras": [
            lora.model_dump() | {"digest": digest}
            for lora, digest in zip(spec.loras, result.model.lora_digests, strict=True)
        ],
        "init_image": spec.init_image,
        "init_image_sha256": result.init_image_sha256,
        "dtype": result.dtype,
        "scheduler": result.scheduler.name if result.scheduler else None,
        "encoder": _texts(result.encoder),
        "versions": list(result.versions.items()),
        "media_url": media.url,
        "poster_url": media.poster_url,
        "preview_url": media.preview_url,
        "media_sha256": media.sha256,
        "media_bytes": media.bytes,
        "media_codec": media.codec,
        "media_encoder": media.encoder,
        "duration_seconds": media.duration_seconds,
        "watermark": _texts(result.watermark) if result.watermark else [],
        **{name: getattr(result.provenance, name, None) for name in Provenance.model_fields},
        **{f"quality_{figure}": result.quality.get(figure) for figure in QUALITY},
        **{f"seconds_{stage}": getattr(result.seconds, stage) for stage in STAGES},
        "frames_per_batch": result.frames_per_batch,
        "hardware": list(result.hardware.items()),
        "attempts": len(result.failed_attempts) + 1,
        "failed_attempts": [
            attempt.model_dump(include=set(ATTEMPT)) for attempt in result.failed_attempts
        ],
        "run_id": result.run_id,
        "parent_key": result.parent_key,
        "created_at": result.created_at,
        "spec_json": spec.model_dump_json(),
    }


def _texts(settings: BaseModel) -> list[tuple[str, str]]:
    """Give the settings that are set."""
    values = settings.model_dump(mode="json", exclude_none=True)
    return [(name, str(value)) for name, value in values.items()]


def read_catalog(store: Store, columns: list[str] | None = None) -> pa.Table:
    """Read the catalog of all runs, each clip once.

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
    read = list(dict.fromkeys([*names, "key", "created_at"]))
    empty = SCHEMA.empty_table().select(read)
    parts = (_columns(store, name, data, read) for name, data in each_part(store, read_object))
    table = pa.concat_tables(
        [empty, *(part for part in parts if part is not None)], promote_options="default"
    )
    return _each_key_once(table).select(names)


def each_part(store: Store, get: Callable[[Store, str], T]) -> Iterator[tuple[str, T]]:
    """Get every part of the catalog, also where a compaction replaces some in the meantime.

    Args:
        store: Where from.
        get: Gets one, given its name below the root; raises FileNotFoundError where it is gone.

    Yields:
        Its name, and what was got. Rows of a part that was replaced may come twice, none is missed.

    Raises:
        StoreError: The store did not answer.
    """
    seen: set[str] = set()
    look_again = True
    while look_again:
        look_again = False
        for name in (name for name in part_names(store) if name not in seen):
            seen.add(name)
            try:
                yield name, get(store, name)
            except FileNotFoundError:
                # Its rows are in a part that was written before it was removed.
                look_again = True


def part_names(store: Store) -> list[str]:
    """List the parts of the catalog, by their names below the root.

    A name may stand for an empty directory, where its part was removed.

    Raises:
        StoreError: The store did not answer.
    """
    folders = [name for name in list_names(store, CATALOG) if name.startswith(PARTITION)]
    return [part_name(folder.removeprefix(PARTITION)) for folder in folders]


def warn_of_damage(store: Store, name: str, error: Exception) -> None:
    """Say that a part cannot be read, and what to do."""
    logger.warning(
        "%s/%s is damaged and not read (%s). Run tempprop catalog rebuild: it writes the catalog "
        "again, from the records",
        store.uri,
        name,
        one_line(error),
    )


def _columns(store: Store, name: str, data: bytes, columns: list[str]) -> pa.Table | None:
    """Read some columns of a part; None where it is damaged."""
    try:
        parquet = pq.ParquetFile(pa.BufferReader(data))
        # A part of an older version may lack columns.
        return parquet.read([column for column in columns if column in parquet.schema_arrow.names])
    except (pa.ArrowException, OSError) as error:
        warn_of_damage(store, name, error)
        return None


def _each_key_once(table: pa.Table) -> pa.Table:
    """Keep one row of each key: the newest, in the order in which the keys come."""
    if pc.count_distinct(table["key"]).as_py() == table.num_rows:
        return table
    rows = pa.table({"key": table["key"], "row": pa.array(range(table.num_rows))})
    newest_first = rows.take(pc.sort_indices(table, [("created_at", "descending")]))
    kept = newest_first.group_by("key", use_threads=False).aggregate([("row", "first")])
    return table.take(kept["row_first"].combine_chunks().sort())


def find_clip(store: Store, clip_id: str) -> list[ClipResult]:
    """Find every committed take of a clip, the newest first; see `find_results`."""
    return find_results(store, "clip_id", clip_id)


def find_results(store: Store, column: str, value: str) -> list[ClipResult]:
    """Find the records of which the catalog's row has, or would have, a value in a column.

    The catalog tells the clips of finished runs; of a run that is going on, the records are read.

    Args:
        store: Where from.
        column: A column of texts whose value never changes.
        value: What stands in it.

    Returns:
        The records, the newest first; none where no clip is like that.

    Raises:
        StoreError: A record is damaged, or the store did not answer.
    """
    committed = committed_keys(store)
    index = read_catalog(store, ["key", column])
    pairs = zip(index["key"].to_pylist(), index[column].to_pylist(), strict=True)
    of_other_clips = {key for key, other in pairs if other != value}
    candidates = iter_results(store, committed - of_other_clips)
    results = (result for result in candidates if _row(result)[column] == value)
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
