"""The catalog, put in order: small parts merged, or all of it written again from the records.

Both write the new parts first and remove the old ones then, one object at a time, so that they may
be killed at any moment: nothing is lost, and what is there twice counts once, see
`tempprop.catalog`. The next time clears it away. A new part is named by the keys that are in it, so
that the same work done again writes the same objects.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq

from tempprop.catalog import (
    ROWS_PER_GROUP,
    SCHEMA,
    each_part,
    open_writer,
    part_name,
    part_names,
    warn_of_damage,
    write_rows,
)
from tempprop.objects import Store, fetch_file, is_file, put_file, remove_object
from tempprop.store import iter_results

ROWS_PER_PART = 200_000
"""Rows of a full part, about 50 MB: compaction leaves those alone, and they travel in seconds."""

COMPACTED = "compacted-"


@dataclass(frozen=True)
class Part:
    """A part of the catalog, copied to this machine.

    Attributes:
        name: Its name below the root.
        path: The copy.
    """

    name: str
    path: Path

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return int(pq.read_metadata(self.path).num_rows)


@dataclass(frozen=True)
class Upkeep:
    """What was done to a catalog.

    Attributes:
        rows: Clips in it.
        parts_before: Parquet files that there were.
        parts: Parquet files that there are.
    """

    rows: int
    parts_before: int
    parts: int


def rebuild_catalog(store: Store) -> Upkeep:
    """Write the catalog again from the records.

    Args:
        store: The output.

    Raises:
        StoreInputError: The location cannot be written.
        StoreError: A record is damaged, in which case nothing was written, or the store did not do
            its part.
    """
    # Listed first: a part that a run adds from now on stays.
    old = [name for name in part_names(store) if is_file(store, name)]
    with tempfile.TemporaryDirectory(prefix="tempprop-catalog-") as directory:
        records = Path(directory) / "records.parquet"
        count = write_rows(records, iter_results(store))
        new = merged([records], Path(directory))
        _replace(store, old, new)
    return Upkeep(rows=count, parts_before=len(old), parts=len(new))


def compact_catalog(store: Store) -> Upkeep:
    """Merge the parts that are not full into few that are; a clip that is there twice, once.

    Args:
        store: The output.

    A part that is damaged is left where it is, with a warning; so is one of a newer version, whose
    columns would get lost.

    Raises:
        StoreInputError: The location cannot be written.
        StoreError: The store did not do its part.
    """
    with tempfile.TemporaryDirectory(prefix="tempprop-catalog-") as directory:
        found = fetch_parts(store, Path(directory))
        parts = [part for part in found if _is_known(part) and _is_sound(store, part)]
        everything = bool(repeated_keys([part.path for part in parts]))
        merging = [part for part in parts if everything or part.rows < ROWS_PER_PART]
        new = []
        if len(merging) > 1:
            new = merged([part.path for part in merging], Path(directory))
            _replace(store, [part.name for part in merging], new)
        after = [*new, *(part for part in parts if not new or part not in merging)]
        return Upkeep(sum(part.rows for part in after), len(parts), len(after))


def fetch_parts(store: Store, directory: Path) -> list[Part]:
    """Copy all parts of the catalog to this machine, where no compaction takes them away.

    Args:
        store: Where from.
        directory: Where to; whoever made it removes it.

    Returns:
        The parts whose end, where Parquet keeps its contents, can be read.

    Raises:
        StoreError: The store did not do its part.
    """
    numbers = iter(range(2**31))

    def fetch(store: Store, name: str) -> Path:
        path = directory / f"part-{next(numbers):05}.parquet"
        fetch_file(store, name, path)
        return path

    parts = []
    for name, path in each_part(store, fetch):
        try:
            pq.read_metadata(path)
        except (pa.ArrowException, OSError) as error:
            warn_of_damage(store, name, error)
            continue
        parts.append(Part(name, path))
    return parts


def dataset_of(paths: list[Path]) -> Any:
    """Give local parts as one Arrow dataset with the columns of `SCHEMA`, read as it is needed."""
    return pyarrow.dataset.dataset([str(path) for path in paths], schema=SCHEMA, format="parquet")


def repeated_keys(paths: list[Path]) -> dict[str, datetime]:
    """Find the keys that are in several rows of some local parts, with the time of their newest."""
    if not paths:
        return {}
    rows = dataset_of(paths).to_table(columns=["key", "created_at"])
    grouped = rows.group_by("key").aggregate([("created_at", "max"), ("created_at", "count")])
    repeated = grouped.filter(pc.greater(grouped["created_at_count"], 1))
    newest = repeated["created_at_max"].to_pylist()
    return dict(zip(repeated["key"].to_pylist(), newest, strict=True))


def merged(paths: list[Path], directory: Path) -> list[Part]:
    """Write the rows of some local parts into new ones, each key once, part after part by time.

    Args:
        paths: The parts; their rows keep their order, and are never all in memory.
        directory: Where to.

    Returns:
        The new parts, which are full but for the last.
    """
    in_time = sorted(paths, key=_oldest)
    batches = _each_key_once(_batches(in_time), repeated_keys(in_time))
    new: list[Part] = []
    while first := next(batches, None):
        path = directory / f"new-{len(new):05}.parquet"
        new.append(_write_part(path, chain([first], batches)))
    return new


def _oldest(path: Path) -> datetime:
    """Tell when the oldest clip of a part was committed."""
    times = dataset_of([path]).to_table(columns=["created_at"])["created_at"]
    oldest: datetime | None = pc.min(times).as_py()
    return oldest or datetime.max.replace(tzinfo=UTC)


def _batches(paths: list[Path]) -> Iterator[pa.RecordBatch]:
    """Read parts in order, few rows ahead."""
    return iter(
        dataset_of(paths).to_batches(
            batch_size=ROWS_PER_GROUP, batch_readahead=2, fragment_readahead=1
        )
    )


def _each_key_once(
    batches: Iterable[pa.RecordBatch], repeated: dict[str, datetime]
) -> Iterator[pa.RecordBatch]:
    """Keep the newest row of each repeated key, and leave out batches of which nothing is left."""
    wanted: dict[str, datetime | None] = {**repeated}

    def is_kept(key: str, created_at: datetime) -> bool:
        if key not in wanted:
            return True
        kept = wanted[key] == created_at
        if kept:
            wanted[key] = None
        return kept

    for batch in batches:
        rows = batch
        if repeated:
            columns = (batch.column(name).to_pylist() for name in ("key", "created_at"))
            pairs = zip(*columns, strict=True)
            rows = batch.filter(pa.array([is_kept(*pair) for pair in pairs], pa.bool_()))
        if rows.num_rows:
            yield rows


def _is_known(part: Part) -> bool:
    """Tell whether a part has no other columns than those that this version writes."""
    return set(pq.read_schema(part.path).names) <= set(SCHEMA.names)


def _is_sound(store: Store, part: Part) -> bool:
    """Read a part to its end, since what is compacted from it takes its place."""
    try:
        for _ in _batches([part.path]):
            pass
    except (pa.ArrowException, OSError) as error:
        warn_of_damage(store, part.name, error)
        return False
    return True


def _write_part(path: Path, batches: Iterator[pa.RecordBatch]) -> Part:
    """Write rows until the part is full, and name it by their keys."""
    keys, count = hashlib.sha256(), 0
    with open_writer(path) as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_batches([batch]).cast(SCHEMA))
            for key in batch.column("key").to_pylist():
                keys.update(key.encode())
            count += batch.num_rows
            if count >= ROWS_PER_PART:
                break
    return Part(part_name(f"{COMPACTED}{keys.hexdigest()[:16]}"), path)


def _replace(store: Store, old: list[str], new: list[Part]) -> None:
    """Put new parts, then remove the old ones whose rows they hold."""
    for part in new:
        put_file(store, part.path, part.name)
    for name in set(old) - {part.name for part in new}:
        remove_object(store, name)
    for name in part_names(store) if store.is_local else ():
        # The directory of a part that was removed is empty, perhaps since a crash.
        with suppress(OSError):
            Path(store.path(name)).parent.rmdir()
