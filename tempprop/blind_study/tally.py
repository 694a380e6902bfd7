"""What the raters prefer: counted for each rater, for all, for the attentive, and clip by clip.

Only pairs of the two methods count. "No difference" counts for neither: it is reported, and left
out of the share and of the sign test. Checks decide who is attentive, and nothing else.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from tempprop.blind_study.documents import (
    QUESTIONS,
    Answer,
    Answers,
    Kind,
    Question,
    StudyKey,
    Trial,
)
from tempprop.blind_study.statistics import sign_test, wilson_interval

PASSING_SHARE = 0.75
"""Of a rater's answers to checks, what has to be right; "no difference" is wrong there."""


@dataclass(frozen=True)
class Preference:
    """How often each method was preferred in answers to one question.

    Attributes:
        question: The question.
        a: Answers for the first method.
        b: Answers for the second method.
        same: Answers "no difference".
    """

    question: Question
    a: int
    b: int
    same: int

    @property
    def share(self) -> float | None:
        """Of the answers for one of the two, those for the first; None where there are none."""
        return self.a / (self.a + self.b) if self.a + self.b else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of that share, 95 %."""
        return wilson_interval(self.a, self.a + self.b)

    @property
    def p_value(self) -> float:
        """Of the exact two-sided sign test."""
        return sign_test(self.a, self.a + self.b)


@dataclass(frozen=True)
class Rater:
    """What one rater did.

    Attributes:
        rater_id: The name.
        answered: Answers, to pairs and checks.
        asked: Answers of a rater who has come to the end.
        checks: Answers to checks.
        checks_right: Those of them that are right.
        identical: Answers about a clip beside itself.
        identical_preferred: Those of them that prefer a side.
        left: Answers about pairs that prefer the left side.
        right: Answers about pairs that prefer the right side.
        reaction_seconds: Median time to an answer; None where there is no answer.
        preferences: For each question.
    """

    rater_id: str
    answered: int
    asked: int
    checks: int
    checks_right: int
    identical: int
    identical_preferred: int
    left: int
    right: int
    reaction_seconds: float | None
    preferences: tuple[Preference, ...]

    @property
    def failed(self) -> bool:
        """Whether too few checks were answered right; who met none has not failed."""
        return self.checks_right < PASSING_SHARE * self.checks


@dataclass(frozen=True)
class Tally:
    """What all raters of a study prefer.

    Attributes:
        key: The study.
        raters: All of them.
        pooled: Answers of all raters together, for each question.
        attentive: The same without the raters who failed the checks.
        by_clip: Each clip once, by what most attentive raters prefer: what they say about one clip
            is alike, and does not make a sample larger as more clips do.
    """

    key: StudyKey
    raters: tuple[Rater, ...]
    pooled: tuple[Preference, ...]
    attentive: tuple[Preference, ...]
    by_clip: tuple[Preference, ...]


def tally(key: StudyKey, answers: Sequence[Answers]) -> Tally:
    """Count what the raters answered.

    Args:
        key: Of the study, which says what the sides were.
        answers: One document of each rater; all of them fit the key.
    """
    raters = tuple(_rater(key, document) for document in answers)
    failed = {rater.rater_id for rater in raters if rater.failed}
    of_attentive = [document for document in answers if document.rater_id not in failed]
    return Tally(
        key=key,
        raters=raters,
        pooled=_together(raters),
        attentive=_together(rater for rater in raters if not rater.failed),
        by_clip=tuple(_by_clip(key, of_attentive, question) for question in QUESTIONS),
    )


def _rater(key: StudyKey, document: Answers) -> Rater:
    pairs = list(_about(key, document, "pair"))
    checks = list(_about(key, document, "check"))
    identical = list(_about(key, document, "identical"))
    times = [answer.reaction_ms / 1000 for answer in document.answers]
    return Rater(
        rater_id=document.rater_id,
        answered=len(document.answers),
        asked=len(key.trials) * len(QUESTIONS),
        checks=len(checks),
        checks_right=sum(_role(answer, trial) == "original" for answer, trial in checks),
        identical=len(identical),
        identical_preferred=sum(answer.chosen is not None for answer, _ in identical),
        left=sum(answer.choice == "left" for answer, _ in pairs),
        right=sum(answer.choice == "right" for answer, _ in pairs),
        reaction_seconds=median(times) if times else None,
        preferences=tuple(_preference(question, pairs) for question in QUESTIONS),
    )


def _about(key: StudyKey, document: Answers, kind: Kind) -> Iterator[tuple[Answer, Trial]]:
    """Give the answers about trials of a kind, each with its trial."""
    trials = {trial.trial: trial for trial in key.trials if trial.kind == kind}
    for answer in document.answers:
        if answer.trial in trials:
            yield answer, trials[answer.trial]


def _role(answer: Answer, trial: Trial) -> str | None:
    """Say what the preferred side is; None for no difference."""
    return None if answer.chosen is None else trial.sides[answer.chosen]


def _preference(question: Question, pairs: Iterable[tuple[Answer, Trial]]) -> Preference:
    chosen = [_role(answer, trial) for answer, trial in pairs if answer.question == question]
    return Preference(question, chosen.count("a"), chosen.count("b"), chosen.count(None))


def _together(raters: Iterable[Rater]) -> tuple[Preference, ...]:
    by_question = list(zip(*(rater.preferences for rater in raters), strict=True))
    return tuple(
        Preference(
            question,
            sum(preference.a for preference in same_question),
            sum(preference.b for preference in same_question),
            sum(preference.same for preference in same_question),
        )
        for question, same_question in zip(
            QUESTIONS, by_question or [()] * len(QUESTIONS), strict=True
        )
    )


def _by_clip(key: StudyKey, answers: Iterable[Answers], question: Question) -> Preference:
    lead: Counter[str] = Counter()
    for document in answers:
        for answer, trial in _about(key, document, "pair"):
            if answer.question == question:
                lead[trial.trial] += {"a": 1, "b": -1, None: 0}[_role(answer, trial)]
    leads = list(lead.values())
    a, b = sum(number > 0 for number in leads), sum(number < 0 for number in leads)
    return Preference(question, a, b, len(leads) - a - b)
