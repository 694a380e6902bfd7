"""The Python of the README runs as it stands, and its figures are those that were measured."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
from records import result_of

from tempprop.catalog import write_catalog
from tempprop.catalog_upkeep import compact_catalog
from tempprop.store import open_store
from tempprop.studies.compare_methods import kept_domains
from tempprop.studies.comparison_page import comparison_page, summary_table

ROOT = Path(__file__).parent.parent

README = ROOT / "README.md"


def test_the_notebook_examples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, list] = {}
    for example in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL):
        exec(example, names)
    assert [frame.shape for frame in names["frames"]] == [(128, 128, 3)] * 16
    assert names["rest"][0].first_frame == 8
    assert sum(len(chunk.frames) for chunk in names["rest"]) == 8


def test_the_table_of_methods_is_that_of_the_measurements():
    domains = kept_domains(ROOT / "docs")
    assert summary_table(domains) in README.read_text()
    assert (ROOT / "docs" / "evaluation.md").read_text() == comparison_page(domains)


def test_the_question_of_the_catalog(tmp_path, monkeypatch):
    """Over a catalog as runs write it, in which a row is there twice, as after a crash."""

    def clip(clip_id, prompt, drift, hours_ago):
        result = result_of(clip_id)
        changes = {
            "spec": result.spec.model_copy(update={"prompt": prompt}),
            "quality": {"color_drift": drift},
            "created_at": datetime.now(UTC) - timedelta(hours=hours_ago),
        }
        return result.model_copy(update=changes)

    (question,) = re.findall(r"```sql\n(.*?)```", README.read_text(), re.DOTALL)
    store = open_store(str(tmp_path / "library"))
    older = [clip("old", "a balloon", 0.0, 30), clip("older", "a balloon", 0.0, 40)]
    for number, result in enumerate(older):
        write_catalog(store, f"20260101T00000{number}Z-000000", [result])
    compact_catalog(store)
    red, blue = clip("red", "a red balloon", 0.2, 8), clip("blue", "A blue BALLOON", 0.1, 3)
    write_catalog(store, "20260102T000000Z-000000", [red, blue, clip("cat", "a cat", 0.0, 5)])
    write_catalog(store, "20260102T010000Z-000000", [red])
    monkeypatch.chdir(tmp_path)
    assert duckdb.sql(question).fetchall() == [
        ("blue", "media/blue.mp4", 0.1),
        ("red", "media/red.mp4", 0.2),
    ]
