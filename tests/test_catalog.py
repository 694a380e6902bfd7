import uuid

import duckdb
import pytest
from records import failure_of, result_of

from tempprop import catalog
from tempprop.catalog import SCHEMA, find_clip, find_failures, read_catalog, write_catalog
from tempprop.provenance.claim import DIGITAL_SOURCE_TYPE
from tempprop.spec import Provenance, WatermarkConfig
from tempprop.store import commit, iter_results, open_store, write_failure


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    local = request.param == "local"
    return open_store(str(tmp_path) if local else f"memory://{uuid.uuid4().hex}")


def test_what_is_written_is_read(store):
    results = [result_of("a"), result_of("b", minute=1)]
    assert write_catalog(store, "night-1", results) == "catalog/run=night-1/part-00000.parquet"
    table = read_catalog(store)
    assert table.schema.equals(SCHEMA)
    first = table.to_pylist()[0]
    assert first["key"] == results[0].key
    assert first["tags"] == [("a", "b")]
    assert first["created_at"] == results[0].created_at
    assert (first["init_image"], first["init_image_sha256"]) == (None, None)
    assert first["quality_color_drift"] == 0.25
    assert first["quality_motion_floor_acted"] == 0.5
    assert first["quality_frozen_fraction"] is None
    assert type(results[0].spec).model_validate_json(first["spec_json"]) == results[0].spec


def test_the_picture_of_a_clip_is_in_it(store):
    result = result_of("a")
    spec = result.spec.model_copy(update={"init_image": "art/a.png"})
    started = result.model_copy(update={"spec": spec, "init_image_sha256": "1" * 64})
    write_catalog(store, "night-1", [started])
    (row,) = read_catalog(store, ["init_image", "init_image_sha256"]).to_pylist()
    assert row == {"init_image": "art/a.png", "init_image_sha256": "1" * 64}


def test_a_damaged_part_is_left_out_with_a_warning(tmp_path, caplog):
    store = open_store(str(tmp_path))
    write_catalog(store, "night-1", [result_of("a")])
    write_catalog(store, "night-2", [result_of("b")])
    part = tmp_path / "catalog/run=night-1/part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    assert read_catalog(store, ["clip_id"])["clip_id"].to_pylist() == ["b"]
    (warning,) = caplog.messages
    assert warning.startswith(f"{store.uri}/catalog/run=night-1/part-00000.parquet is damaged")


def test_duckdb_reads_it_by_run(tmp_path):
    store = open_store(str(tmp_path))
    write_catalog(store, "2026-01-01", [result_of("a"), result_of("b")])
    write_catalog(store, "2026-01-02", [result_of("c")])
    rows = duckdb.sql(
        f"SELECT run::VARCHAR, count(*), any_value(tags['a']), max(fps), max(created_at) "
        f"FROM read_parquet('{tmp_path}/catalog/**/*.parquet', hive_partitioning=true) "
        f"GROUP BY run ORDER BY run"
    ).fetchall()
    assert [row[:3] for row in rows] == [("2026-01-01", 2, "b"), ("2026-01-02", 1, "b")]
    assert rows[0][3] == 24000 / 1001
    assert rows[0][4] == result_of("a").created_at


def test_it_tells_who_signed_what(tmp_path):
    store = open_store(str(tmp_path))
    provenance = Provenance(
        digital_source_type=DIGITAL_SOURCE_TYPE, signature="embedded", signer="CN=A studio"
    )
    signed = result_of("a").model_copy(
        update={"provenance": provenance, "watermark": WatermarkConfig(text="A studio")}
    )
    write_catalog(store, "night", [signed, result_of("b")])
    rows = duckdb.sql(
        "SELECT clip_id, signature, signer, digital_source_type, watermark['text'] "
        f"FROM read_parquet('{tmp_path}/catalog/**/*.parquet') ORDER BY clip_id"
    ).fetchall()
    assert rows == [
        ("a", "embedded", "CN=A studio", DIGITAL_SOURCE_TYPE, "A studio"),
        ("b", None, None, None, None),
    ]


def test_a_run_replaces_its_own_part_only(store):
    write_catalog(store, "one", [result_of("a"), result_of("b")])
    write_catalog(store, "two", [result_of("c")])
    write_catalog(store, "one", [result_of("d")])
    assert sorted(read_catalog(store, ["clip_id"])["clip_id"].to_pylist()) == ["c", "d"]


def test_rows_go_out_in_groups(store, monkeypatch):
    monkeypatch.setattr(catalog, "ROWS_PER_GROUP", 2)
    write_catalog(store, "one", (result_of(str(number)) for number in range(5)))
    assert read_catalog(store)["clip_id"].to_pylist() == list("01234")


def test_nothing_is_written_about_nothing(store):
    assert write_catalog(store, "one", []) is None
    assert read_catalog(store).num_rows == 0
    assert read_catalog(store).schema.equals(SCHEMA)


def test_run_ids_cannot_lead_elsewhere(store):
    with pytest.raises(ValueError, match="part of a path"):
        write_catalog(store, "../..", [result_of("a")])


def test_takes_of_a_clip_come_newest_first(store):
    old, new = result_of("a", "1", minute=1), result_of("a", "2", "night-2", minute=2)
    for result in (new, old, result_of("b")):
        commit(store, result)
    assert find_clip(store, "a") == [new, old]
    assert find_clip(store, "nobody") == []


def test_the_catalog_saves_reading_but_does_not_decide(store, monkeypatch):
    old, new = result_of("a", "1", minute=1), result_of("a", "2", "night-2", minute=2)
    commit(store, old)
    commit(store, result_of("b"))
    gone = result_of("a", "3")
    write_catalog(store, "night-1", [*iter_results(store), gone])
    commit(store, new)
    read = []
    monkeypatch.setattr(
        catalog, "iter_results", lambda store, keys: read.append(keys) or iter_results(store, keys)
    )
    assert find_clip(store, "a") == [new, old]
    assert read == [{new.key, old.key}]


def test_failures_of_a_clip_come_newest_first(store):
    old, new = failure_of("a", "1", minute=1), failure_of("a", "2", minute=2)
    for failure in (old, new, failure_of("b")):
        write_failure(store, failure)
    assert find_failures(store, "a") == [new, old]
    commit(store, result_of("a", "2"))
    assert find_failures(store, "a") == [old]
