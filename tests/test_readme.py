"""The Python of the README runs as it stands, and its figures are those that were measured."""

import re
from pathlib import Path

from tempprop.studies.compare_methods import kept_domains
from tempprop.studies.comparison_page import comparison_page, summary_table

ROOT = Path(__file__).parent.parent

README = ROOT / "README.md"


def test_the_notebook_example():
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict[str, list] = {}
    exec(example, names)
    assert [frame.shape for frame in names["frames"]] == [(128, 128, 3)] * 16


def test_the_table_of_methods_is_that_of_the_measurements():
    domains = kept_domains(ROOT / "docs")
    assert summary_table(domains) in README.read_text()
    assert (ROOT / "docs" / "evaluation.md").read_text() == comparison_page(domains)
