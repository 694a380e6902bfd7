import csv
import json
import os
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import MIDNIGHT, result_of

from tempprop.catalog import SCHEMA, write_catalog
from tempprop.catalog_query import query_catalog
from tempprop.errors import InputError, StoreError
from tempprop.spec import Attempt, PromptKeyframe, SchedulerConfig
from tempprop.store import commit, open_store

FAILED = Attempt(kind="worker death", error_class="E", message="m", worker="w", node="n", gpu="3")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    return tmp_path


def moving(clip_id, drift, **changes):
    result = result_of(clip_id)
    spec = result.spec.model_copy(update=changes)
    return result.model_copy(update={"spec": spec, "quality": {"color_drift": drift}})


@pytest.fixture
def library(here):
    """An output of two nights, in which one clip is catalogued twice, as after a crash."""
    store = open_store(str(here / "library"))
    a, b, c = moving("a", 0.3), moving("b", 0.1, priority=2), moving("c", 0.2)
    commit(store, a)
    write_catalog(store, "night-1", [a, b.model_copy(update={"failed_attempts": (FAILED,)})])
    write_catalog(store, "night-2", [a, c])
    return "library"


def ask(uri, sql):
    with query_catalog(open_store(uri), sql) as answer:
        return list(answer.rows)


def test_each_clip_is_there_once(library):
    assert ask(library, "SELECT clip_id FROM clips ORDER BY quality_color_drift") == [
        ("b",),
        ("c",),
        ("a",),
    ]


def test_the_whole_language_of_questions_is_there(library):
    assert ask(library, "FROM clips SELECT max(created_at)") == [(result_of("a").created_at,)]
    shares = "WITH s AS (SELECT tags['a'] AS a FROM clips) SELECT a, count(*) FROM s GROUP BY a"
    assert ask(library, shares) == [("b", 3)]
    broken = "SELECT t.a.node, t.a.gpu FROM clips, unnest(failed_attempts) AS t(a)"
    assert ask(library, broken) == [("n", "3")]
    assert [row[0] for row in ask(library, "DESCRIBE clips")] == SCHEMA.names
    nested = "SELECT (SELECT count(*) FROM clips WHERE priority = n) FROM range(3) AS t(n)"
    assert ask(library, nested) == [(2,), (0,), (1,)]


def test_times_are_in_utc(library):
    sql = "SELECT DISTINCT created_at::VARCHAR FROM clips"
    command = [sys.executable, "-m", "flows.cli", "catalog", "query", library, sql, "--csv"]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"TZ": "Asia/Tokyo"},
    )
    assert ended.stdout.splitlines()[1] == "2026-01-01 00:00:00.000005+00"


def test_what_is_not_in_a_spec_of_most_clips(here):
    store = open_store("library")
    result = result_of("a")
    spec = result.spec.model_copy(update={"prompts": (PromptKeyframe(frame=3, prompt="x"),)})
    changes = {"spec": spec, "scheduler": SchedulerConfig(name="DDIMScheduler")}
    write_catalog(store, "night-1", [result.model_copy(update=changes)])
    sql = "SELECT prompts[1].frame, scheduler, versions['torch'], encoder['profile'] FROM clips"
    assert ask("library", sql) == [(3, "DDIMScheduler", "2", "h264")]


def test_a_part_that_is_older_than_a_column(here):
    store = open_store("library")
    write_catalog(store, "night-1", [result_of("a")])
    part = here / "library/catalog/run=night-1/part-00000.parquet"
    older = duckdb.sql(f"SELECT * EXCLUDE (priority, versions) FROM read_parquet('{part}')")
    older.write_parquet(str(here / "older.parquet"))
    (here / "older.parquet").rename(part)
    write_catalog(store, "night-2", [result_of("b")])
    assert ask("library", "SELECT clip_id, priority, versions FROM clips ORDER BY ALL") == [
        ("a", None, None),
        ("b", 0, {"torch": "2"}),
    ]


def test_an_output_without_a_catalog(here):
    commit(open_store("library"), result_of("a"))
    assert ask("library", "SELECT count(*), max(clip_id) FROM clips") == [(0, None)]


@pytest.mark.parametrize(
    "sql",
    [
        "COPY clips TO 'stolen.csv'",
        "COPY (SELECT 1) TO 'stolen.csv'",
        "EXPORT DATABASE 'stolen'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT (SELECT max(x) FROM read_csv('/etc/passwd') AS t(x))",
        "SELECT * FROM clips WHERE EXISTS (FROM read_text('/etc/passwd'))",
        "WITH clips AS (FROM read_blob('/etc/passwd')) FROM clips",
        "FROM '/etc/passwd'",
        'FROM "/etc/passwd"',
        "FROM 'library/catalog/run=night-1/part-00000.parquet'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM parquet_metadata('library/catalog/run=night-1/part-00000.parquet')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "FROM query('FROM read_text(''/etc/passwd'')')",
        "FROM query_table('clips')",
        "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 42'))",
        "SELECT * FROM enable_logging(storage = 'file', storage_path = 'stolen')",
        "SELECT * FROM enable_profiling(save_location = 'stolen.txt')",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM duckdb_settings",
        "SELECT * FROM information_schema.tables",
        "DESCRIBE duckdb_settings",
        "SHOW ALL TABLES",
        "ATTACH 'stolen.db' AS stolen",
        "ATTACH 'https://example.com/x.db' AS stolen",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "PRAGMA enable_profiling = 'json'",
        "SET memory_limit = '100GB'",
        "RESET lock_configuration",
        "CALL enable_logging()",
        "CREATE TABLE stolen AS SELECT * FROM clips",
        "CREATE SECRET s (TYPE s3)",
        "DROP VIEW clips",
        "INSERT INTO clips SELECT * FROM clips",
        "UPDATE clips SET prompt = ''",
        "DELETE FROM clips",
        "PREPARE p AS SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "BEGIN",
        "CHECKPOINT",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY clips TO 'stolen.csv'",
        "SELECT * FROM result",
        "SELECT getenv('HOME')",
        "",
        "/* nothing */",
        "SELEC",
        "SELECT clipid FROM clips",
        "SELECT 1 / 'a'",
        "SELECT '\ud800'",
        "\0",
    ],
)
def test_what_is_not_a_question_about_clips(refused, library, sql):
    result = open_store("library")  # a variable that DuckDB would look for
    assert result
    message = refused("catalog", "query", library, sql)
    assert message.startswith(f"error: the catalog cannot be asked {sql!r}: ")
    assert "DESCRIBE clips lists its columns" in message


def test_the_lock_holds_by_itself(library, monkeypatch):
    from tempprop import catalog_query

    monkeypatch.setattr(catalog_query, "_refuse_other_than_clips", lambda *_: None)
    for sql in (
        "COPY clips TO 'stolen.csv'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "ATTACH 'stolen.db' AS stolen",
        "INSTALL httpfs",
        "SET threads = 1",
        "SET enable_external_access = true",
    ):
        with pytest.raises(InputError, match=r"Permission|locked|disabled"):
            ask(library, sql)


WORDS = [
    *("SELECT", "FROM", "clips", "key", "*", "(", ")", ",", "WHERE", "1", "'a'", ";", "WITH", "="),
    *("DESCRIBE", "AS", "unnest", "tags", "GROUP BY", "ALL", "UNION", "[", "]", "count", "::INT"),
]


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)))
@settings(max_examples=40, deadline=None)
def test_any_text_is_answered_or_refused(tmp_path_factory, sql):
    place = str(tmp_path_factory.getbasetemp() / "fuzzed")
    store = open_store(place)
    write_catalog(store, "night-1", [result_of("a")])
    with suppress(InputError), query_catalog(store, sql) as answer:
        assert all(len(row) == len(answer.columns) for row in answer.rows)


def test_a_part_that_is_damaged(library, here):
    part = here / "library/catalog/run=night-1/part-00000.parquet"
    data = bytearray(part.read_bytes())
    data[4:200] = bytes(196)
    part.write_bytes(data)
    with pytest.raises(StoreError, match=r"a part of the catalog is damaged.*catalog rebuild"):
        ask(library, "SELECT max(key) FROM clips")


# What people and programs read


def test_a_table_for_people(call, library):
    sql = (
        "SELECT clip_id, tags, parent_key, 'x' || repeat('y', 70) || '[z]' AS l FROM clips LIMIT 1"
    )
    answer = call("catalog", "query", library, sql)
    assert (answer.code, answer.err) == (0, "")
    header, *lines = answer.out.splitlines()
    assert header.split() == ["clip_id", "tags", "parent_key", "l"]
    assert '{"a": "b"}' in lines[0]
    assert "".join(line.split()[-1] for line in lines) == "x" + "y" * 70 + "[z]"


def test_a_table_ends_somewhere(call, library):
    sql = "SELECT x.key FROM clips AS x, range(400)"
    answer = call("catalog", "query", library, sql)
    assert answer.err == "only the first 1,000 rows are shown: take --csv or --json\n"
    assert len(call("catalog", "query", library, sql, "--csv").out.splitlines()) == 1201


VALUES = """
SELECT clip_id, created_at, tags, NULL AS n, 1.5::DECIMAL(4, 1) AS d, 'inf'::DOUBLE AS i,
       sum(num_frames) OVER () AS frames, 'a, "b"' AS text
FROM clips ORDER BY clip_id LIMIT 1
"""


def test_json_for_programs(call, library):
    assert call("catalog", "query", library, VALUES, "--json").json == [
        {
            "clip_id": "a",
            "created_at": (MIDNIGHT + timedelta(microseconds=5)).isoformat(),
            "tags": {"a": "b"},
            "n": None,
            "d": 1.5,
            "i": None,
            "frames": 48,
            "text": 'a, "b"',
        }
    ]
    empty = call("catalog", "query", library, "SELECT key FROM clips WHERE false", "--json")
    assert empty.json == []
    everything = call("catalog", "query", library, "FROM clips", "--json").json
    assert [list(row) for row in everything] == [SCHEMA.names] * 3


def test_csv_for_spreadsheets(call, library):
    header, row = csv.reader(call("catalog", "query", library, VALUES, "--csv").out.splitlines())
    assert header == ["clip_id", "created_at", "tags", "n", "d", "i", "frames", "text"]
    assert json.loads(row[2]) == {"a": "b"}
    assert [row[0], *row[3:]] == ["a", "", "1.5", "", "48", 'a, "b"']
    assert call("catalog", "query", library, VALUES, "--csv", "--json").code == 2


def test_a_place_without_an_output(refused):
    for words in (["query", "nowhere", "SELECT 1"], ["rebuild", "nowhere"], ["compact", "nowhere"]):
        assert "there is no output at nowhere" in refused("catalog", *words)
