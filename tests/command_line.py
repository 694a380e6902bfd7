"""The command line, called in this process, and what its callers see of it."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli import main

STARTED = {"ray", "prefect"}


@dataclass(frozen=True)
class Answer:
    """What a command answered.

    Attributes:
        code: Its exit code.
        out: What it wrote to stdout.
        err: What it wrote to stderr.
    """

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Answer]


def caller(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Give the function that calls the command line as a shell would."""

    def call(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["tempprop", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Answer(int(ended.value.code or 0), captured.out, captured.err)

    return call


def refuser(call: Call, directory: Path) -> Call:
    """Give the function that calls, and makes sure that the input was refused and nothing done."""

    def refused(*words: object) -> str:
        files = sorted(directory.rglob("*"))
        loaded = STARTED & set(sys.modules)
        answer = call(*words)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.startswith("error: ")
        assert "Traceback" not in answer.err
        assert sorted(directory.rglob("*")) == files
        assert STARTED & set(sys.modules) == loaded
        return answer.err

    return refused


def write_parquet(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path
