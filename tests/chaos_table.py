"""Makes `docs/chaos.md` of what the tests of faults have written down.

TEMPPROP_CHAOS_TABLE=faults.jsonl python -m pytest -m chaos    as often as you like
python tests/chaos_table.py faults.jsonl > docs/chaos.md
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

HEAD = """# What was done to nights, and what became of them

Each line is one fault, done to nights of test cards on three machines with two GPUs each, here as
processes of one computer, by `tests/test_chaos_*.py`. After each, every clip was committed once or
was a dead letter of the right kind, every media file decoded to its end and matched its record, the
catalog agreed with the records, and no worker was left.

*Lost* are clips that are neither committed nor dead letters, *duplicated* those committed twice:
the tests fail at the first, so that only zeros can stand there. *Seconds to recover* is the time
from the last blow to the end of the last clip that it interrupted; for drivers it is what the rerun
took, with its start.

    TEMPPROP_CHAOS_TABLE=faults.jsonl python -m pytest -m chaos
    python tests/chaos_table.py faults.jsonl > docs/chaos.md

| fault | nights | blows | lost | duplicated | seconds to recover: median | longest |
| --- | --: | --: | --: | --: | --: | --: |"""


def table(lines: list[str]) -> str:
    """Sum up the nights of each fault."""
    nights = defaultdict(list)
    for line in lines:
        night = json.loads(line)
        nights[night["fault"]].append(night)
    return "\n".join([HEAD, *(_row(fault, each) for fault, each in nights.items())])


def _row(fault: str, nights: list[dict]) -> str:
    blows, lost, duplicated = (
        sum(night[name] for night in nights) for name in ("times", "lost", "duplicated")
    )
    seconds = [night["seconds"] for night in nights if night["seconds"] is not None]
    times = (f"{median(seconds):.0f}", f"{max(seconds):.0f}") if seconds else ("", "")
    cells = (fault, len(nights), blows, lost, duplicated, *times)
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    print(table(Path(sys.argv[1]).read_text().splitlines()))
