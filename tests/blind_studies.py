"""Clips and made-up keys for blind studies, and answers to them by raters with a will."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from tempprop.blind_study.documents import (
    QUESTIONS,
    ROLES,
    Answer,
    Answers,
    Choice,
    Kind,
    StudyKey,
    Trial,
)

STUDY_ID = "0123456789abcdef"
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)

Will = Callable[[Trial, str], str | None]
"""Says which role a rater prefers in a trial, asked a question; None for no difference."""


def moving(step, height=48, width=64, num_frames=8):
    """A square that moves over a gradient: (frames, height, width, 3)."""
    frames = np.zeros((num_frames, height, width, 3), np.uint8)
    frames[..., 0] = np.arange(width)
    for number, frame in enumerate(frames):
        left = (step * number) % (width - 12)
        frame[12:24, left : left + 12] = (220, 200, 60)
    return frames


def key_with(pairs: int = 0, checks: int = 0, identical: int = 0, study_id=STUDY_ID) -> StudyKey:
    kinds: list[Kind] = ["pair"] * pairs + ["check"] * checks + ["identical"] * identical
    return StudyKey(
        study_id=study_id,
        title="A study",
        methods={"a": "old", "b": "new"},
        seed=0,
        trials=tuple(_trial(number, kind) for number, kind in enumerate(kinds)),
    )


def _trial(number: int, kind: Kind) -> Trial:
    tokens = (f"{2 * number:012x}", f"{2 * number + 1:012x}")
    return Trial(
        trial=f"{number + 10_000:012x}",
        kind=kind,
        clip=f"clip-{number}",
        sides=dict(zip(tokens, ROLES[kind], strict=True)),
        block=f"{number // 2:012x}",
    )


def answers_of(key: StudyKey, rater_id: str, will: Will, minute: int = 0) -> Answers:
    """Answer every question of a study; the first side is left in every other trial."""
    return Answers(
        study_id=key.study_id,
        rater_id=rater_id,
        started_at=MIDNIGHT,
        saved_at=MIDNIGHT + timedelta(minutes=minute),
        answers=tuple(
            _answer(trial, question, will(trial, question), number)
            for number, trial in enumerate(key.trials)
            for question in QUESTIONS
        ),
    )


def _answer(trial: Trial, question, role: str | None, number: int) -> Answer:
    left, right = list(trial.sides)[:: 1 if number % 2 == 0 else -1]
    choice: Choice = "same"
    if role is not None:
        choice = "left" if trial.sides[left] == role else "right"
    return Answer(
        trial=trial.trial,
        left=left,
        right=right,
        question=question,
        choice=choice,
        reaction_ms=1000 * (number + 1),
    )


def write(path: Path, document: StudyKey | Answers, **changes: object) -> Path:
    """Write a document as the product does, with some of its values replaced."""
    path.write_text(json.dumps(json.loads(document.model_dump_json()) | changes))
    return path
