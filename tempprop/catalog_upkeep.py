"""The catalog, put in order: small parts merged, or all of it written again from the records.

Both write the new parts first and remove the old ones then, one object at a time, so that they may
be killed at any moment: nothing is lost, and what is there twice counts once, see
`tempprop.catalog`. The next time clears it away. A new part is named by the keys that are in it, so
that the same work done again writes the same objects.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
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

MEMORY_LIMIT = "2GB"
"""Of DuckDB, which sorts on disk what does not fit."""

EACH_KEY_ONCE = """
SELECT * FROM {} QUALIFY row_number() OVER (PARTITION BY key ORDER BY created_at DESC) = 1
"""


@dataclass(frozen=True)
class Part:
    """A part of the catalog, copied to this machine.

    Attributes:
        name: Its name below the root.
        path: The copy.
    """

    name: str
    path: Path


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
        new = _merged([records], Path(directory))
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
        rows = {part: pq.read_metadata(part.path).num_rows for part in parts}
        distinct = _distinct_keys(parts)
        repeated = distinct < sum(rows.values())
        merging = [part for part in parts if repeated or rows[part] < ROWS_PER_PART]
        if len(merging) < 2:
            return Upkeep(distinct, len(parts), len(parts))
        new = _merged([part.path for part in merging], Path(directory))
        _replace(store, [part.name for part in merging], new)
    return Upkeep(distinct, len(parts), len(parts) - len(merging) + len(new))


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


def _is_known(part: Part) -> bool:
    """Tell whether a part has no other columns than those that this version writes."""
    return set(pq.read_schema(part.path).names) <= set(SCHEMA.names)


def _is_sound(store: Store, part: Part) -> bool:
    """Read a part to its end, since what is compacted from it takes its place."""
    try:
        for _ in dataset_of([part.path]).to_batches():
            pass
    except (pa.ArrowException, OSError) as error:
        warn_of_damage(store, part.name, error)
        return False
    return True


def _distinct_keys(parts: list[Part]) -> int:
    if not parts:
        return 0
    with duckdb.connect(config={"memory_limit": MEMORY_LIMIT}) as connection:
        rows = connection.from_arrow(dataset_of([part.path for part in parts]))
        return int(rows.aggregate("count(DISTINCT key)").fetchall()[0][0])


def _merged(paths: list[Path], directory: Path) -> list[Part]:
    """Write the rows of some local parts into new ones, each key once, the oldest clips first."""
    spill = str(directory / "spill")
    with duckdb.connect(
        config={"memory_limit": MEMORY_LIMIT, "temp_directory": spill}
    ) as connection:
        rows = connection.from_arrow(dataset_of(paths))
        ordered = rows.query("rows", EACH_KEY_ONCE.format("rows")).order("created_at, key")
        batches = iter(ordered.to_arrow_reader(ROWS_PER_GROUP))
        new: list[Part] = []
        while first := next(batches, None):
            path = directory / f"new-{len(new):05}.parquet"
            new.append(_write_part(path, chain([first], batches)))
        return new


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
