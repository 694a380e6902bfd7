import itertools
import uuid
from datetime import timedelta

import duckdb
import pyarrow.parquet as pq
import pytest
from records import result_of

from tempprop import catalog, catalog_upkeep, filesystems, objects
from tempprop.catalog import find_clip, read_catalog, write_catalog
from tempprop.catalog_upkeep import Upkeep, compact_catalog, rebuild_catalog
from tempprop.errors import StoreError
from tempprop.objects import list_names, read_object, remove_object, write_object
from tempprop.store import commit, open_store


class Killed(BaseException):
    """The process ends here."""


def nights(store, count=4, first=0):
    """Commit and catalog nights of two clips each, as runs do."""
    results = []
    for night in range(first, first + count):
        clips = [
            result_of(f"clip-{night}-{n}", run_id=f"night-{night}", minute=10 * night + n)
            for n in range(2)
        ]
        for clip in clips:
            commit(store, clip)
        write_catalog(store, f"night-{night}", clips)
        results += clips
    return results


def rows(store):
    return read_catalog(store).sort_by("key")


def keys_as_others_see_them(store):
    """Read the files as the README says, which tells what is there twice."""
    files = f"{store.path('catalog')}/**/*.parquet"
    return [key for (key,) in duckdb.sql(f"SELECT key FROM read_parquet('{files}')").fetchall()]


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    local = request.param == "local"
    return open_store(str(tmp_path) if local else f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def local(tmp_path):
    return open_store(str(tmp_path))


def test_many_small_parts_become_one(store):
    results = nights(store)
    before = rows(store)
    assert compact_catalog(store) == Upkeep(rows=8, parts_before=4, parts=1)
    assert rows(store).equals(before)
    assert set(rows(store)["run_id"].to_pylist()) == {f"night-{n}" for n in range(4)}
    assert find_clip(store, "clip-1-0") == [results[2]]
    assert compact_catalog(store) == Upkeep(rows=8, parts_before=1, parts=1)


def test_nothing_is_left_of_what_was_compacted(local, tmp_path):
    nights(local)
    compact_catalog(local)
    (folder,) = (tmp_path / "catalog").iterdir()
    assert folder.name.startswith("run=compacted-")
    assert [path.name for path in folder.iterdir()] == ["part-00000.parquet"]


def test_new_runs_go_on_and_old_parts_do_not_come_back(local):
    nights(local)
    compact_catalog(local)
    nights(local, 2, first=4)
    before = rows(local)
    assert len(list_names(local, "catalog")) == 3
    compact_catalog(local)
    assert rows(local).equals(before)
    assert len(list_names(local, "catalog")) == 1
    assert sorted(keys_as_others_see_them(local)) == before["key"].to_pylist()


def test_parts_that_are_full_are_left_alone(local, monkeypatch):
    monkeypatch.setattr(catalog_upkeep, "ROWS_PER_PART", 4)
    monkeypatch.setattr(catalog_upkeep, "ROWS_PER_GROUP", 2)
    nights(local, 5)
    before = rows(local)
    assert compact_catalog(local) == Upkeep(rows=10, parts_before=5, parts=3)
    assert rows(local).equals(before)
    old = set(list_names(local, "catalog"))
    nights(local, 1, first=5)
    assert compact_catalog(local) == Upkeep(rows=12, parts_before=4, parts=3)
    assert len(old & set(list_names(local, "catalog"))) == 2
    times = duckdb.sql(
        f"SELECT max(created_at) - min(created_at) FROM "
        f"read_parquet('{local.path('catalog')}/*/*.parquet', filename = true) GROUP BY filename"
    ).fetchall()
    assert max(times)[0] == timedelta(minutes=11)


def test_what_full_parts_have_twice_is_cleared_away(local, monkeypatch):
    monkeypatch.setattr(catalog_upkeep, "ROWS_PER_PART", 4)
    monkeypatch.setattr(catalog_upkeep, "ROWS_PER_GROUP", 2)
    results = nights(local, 2)
    write_catalog(local, "one", results)
    write_catalog(local, "other", results)
    before = rows(local)
    assert compact_catalog(local) == Upkeep(rows=4, parts_before=4, parts=1)
    assert rows(local).equals(before)
    assert sorted(keys_as_others_see_them(local)) == before["key"].to_pylist()


def test_a_damaged_part_is_neither_merged_nor_removed(local, tmp_path, caplog):
    nights(local, 3)
    part = tmp_path / "catalog/run=night-1/part-00000.parquet"
    data = bytearray(part.read_bytes())
    data[4:200] = bytes(196)
    part.write_bytes(data)
    assert compact_catalog(local) == Upkeep(rows=4, parts_before=2, parts=1)
    assert part.read_bytes() == data
    assert "catalog/run=night-1/part-00000.parquet is damaged" in caplog.text


def test_columns_of_a_newer_version_are_not_lost(local, tmp_path):
    nights(local, 3)
    part = tmp_path / "catalog/run=night-1/part-00000.parquet"
    duckdb.sql(f"SELECT *, 1 AS new FROM read_parquet('{part}')").write_parquet(f"{tmp_path}/new")
    (tmp_path / "new").rename(part)
    assert compact_catalog(local) == Upkeep(rows=4, parts_before=2, parts=1)
    assert "new" in pq.read_schema(part).names
    assert len(rows(local)) == 6


def test_a_catalog_that_is_gone_or_damaged_or_stale_is_written_again(store):
    nights(store)
    before = rows(store)
    remove_object(store, "catalog/run=night-0/part-00000.parquet")
    write_object(store, "catalog/run=night-1/part-00000.parquet", b"nonsense")
    write_catalog(store, "night-9", [result_of("never-committed")])
    assert rebuild_catalog(store).rows == 8
    assert rows(store).equals(before)
    remaining = [name for name in list_names(store, "catalog") if "compacted" in name]
    remove_object(store, f"catalog/{remaining[0]}/part-00000.parquet")
    assert len(rows(store)) == 0
    rebuild_catalog(store)
    assert rows(store).equals(before)
    assert (len(remaining), compact_catalog(store).parts) == (1, 1)


def test_a_catalog_of_nothing(store):
    assert compact_catalog(store) == rebuild_catalog(store) == Upkeep(0, 0, 0)
    write_catalog(store, "night-9", [result_of("never-committed")])
    assert rebuild_catalog(store).rows == 0
    assert len(rows(store)) == 0


def test_a_damaged_record_leaves_the_catalog_as_it_was(local):
    (first, *_) = nights(local)
    before = rows(local)
    write_object(local, f"records/{first.key}.json", b"{")
    with pytest.raises(StoreError, match="damaged"):
        rebuild_catalog(local)
    assert rows(local).equals(before)
    assert len(list_names(local, "catalog")) == 4


@pytest.mark.parametrize("upkeep", [compact_catalog, rebuild_catalog])
def test_killed_at_any_moment(upkeep, tmp_path, monkeypatch):
    """Before whatever operation of the store it ends, no row is lost, and none counts twice."""
    attempt, last, operations = filesystems.attempt, 0, itertools.count(1)

    def mortal(*args, **options):
        if next(operations) == last:
            raise Killed
        return attempt(*args, **options)

    while True:
        last += 1
        store = open_store(str(tmp_path / str(last)))
        nights(store, 2)
        before = rows(store)
        operations = itertools.count(1)
        with monkeypatch.context() as patched:
            for module in (filesystems, objects):
                patched.setattr(module, "attempt", mortal)
            try:
                upkeep(store)
            except Killed:
                over = False
            else:
                over = True
        assert rows(store).equals(before)
        assert set(keys_as_others_see_them(store)) == set(before["key"].to_pylist())
        nights(store, 1, first=2)
        compact_catalog(store)
        after = rows(store)["key"].to_pylist()
        assert sorted(keys_as_others_see_them(store)) == after
        assert set(after) > set(before["key"].to_pylist())
        assert len(list_names(store, "catalog")) == 1
        if over:
            break
    assert last > 8


def test_who_reads_while_it_is_compacted_misses_nothing(local, monkeypatch):
    nights(local)
    before = rows(local)
    read = []

    def read_slowly(store, name):
        read.append(name)
        if len(read) == 2:
            compact_catalog(local)
        return read_object(store, name)

    monkeypatch.setattr(catalog, "read_object", read_slowly)
    assert rows(local).equals(before)
    assert len(read) == 5


def test_two_at_a_time_lose_nothing(local, monkeypatch):
    nights(local)
    before = rows(local)
    put_file = catalog_upkeep.put_file

    def put_late(*args):
        monkeypatch.setattr(catalog_upkeep, "put_file", put_file)
        nights(local, 1, first=4)
        compact_catalog(local)
        put_file(*args)

    monkeypatch.setattr(catalog_upkeep, "put_file", put_late)
    compact_catalog(local)
    assert set(before["key"].to_pylist()) < set(rows(local)["key"].to_pylist())
    assert len(rows(local)) == 10
    compact_catalog(local)
    assert sorted(keys_as_others_see_them(local)) == rows(local)["key"].to_pylist()


def test_the_commands(call, tmp_path, local):
    nights(local)
    assert call("catalog", "compact", tmp_path).out == "8 clips in 1 file, before in 4\n"
    assert call("catalog", "rebuild", tmp_path).out == "8 clips in 1 file, before in 1\n"
