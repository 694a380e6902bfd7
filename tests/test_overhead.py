import re

import pytest
from typer.testing import CliRunner

from cluster import overhead


@pytest.mark.slow
def test_the_overhead_of_the_route_is_measured():
    ended = CliRunner().invoke(overhead.app, ["--clips", "40", "--workers", "1"])
    assert ended.exit_code == 0, ended.output
    (line,) = [line for line in ended.output.splitlines() if "clips/s" in line]
    assert line.startswith("40 clips by 1 workers: ")
    rates = re.findall(r"(\d+)(?: clips)?/s", line)
    assert len(rates) == 3
    assert all(int(rate) > 0 for rate in rates)
