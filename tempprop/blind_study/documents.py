"""The two documents of a study that are not the page: its key, and the answers of a rater.

The page names trials and sides by tokens that mean nothing. The key says what they mean, and stays
with whoever made the study. Answers come from outside, and are checked strictly.
"""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from tempprop.spec import Frozen

Question = Literal["realism", "smoothness"]
QUESTIONS: tuple[Question, ...] = ("realism", "smoothness")

Choice = Literal["left", "right", "same"]
"""Which side a rater prefers; `same` is "no difference"."""

Kind = Literal["pair", "check", "identical"]
"""What is compared: the two methods, a clip with a spoiled copy of it, or a clip with itself."""

Role = Literal["a", "b", "original", "spoiled"]
"""What a side is: a clip of the first or the second method, or one side of a check."""

ROLES: dict[Kind, list[Role]] = {
    "pair": ["a", "b"],
    "check": ["original", "spoiled"],
    "identical": ["original", "original"],
}

RATER_PATTERN = r"^[A-Za-z0-9._-]{1,40}$"
LONGEST_REACTION = 7 * 24 * 3600 * 1000

Token = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
StudyId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
RaterId = Annotated[str, Field(pattern=RATER_PATTERN)]


class Trial(Frozen):
    """Two clips side by side, about which both questions are asked.

    Attributes:
        trial: Its name in the page.
        kind: What is compared.
        clip: Name of the clip, which both methods have in common.
        sides: What each of the two sides is, by its token in the page.
        block: Name of the two trials that are turned together, see `tempprop.blind_study.design`.
    """

    trial: Token
    kind: Kind
    clip: str
    sides: dict[Token, Role]
    block: Token

    @model_validator(mode="after")
    def _has_the_sides_of_its_kind(self) -> Self:
        if sorted(self.sides.values()) != ROLES[self.kind]:
            raise ValueError(f"the sides of a {self.kind} are {' and '.join(ROLES[self.kind])}")
        return self


class StudyKey(Frozen):
    """What the page of a study does not say.

    Attributes:
        schema_version: Of this document.
        study_id: The study; it stands in the page and in every file of answers.
        title: The page's.
        methods: Where the clips of method a and b come from.
        seed: Of the choice of clips, their order and their sides.
        trials: All trials, in the order of the page.
    """

    schema_version: Literal[1] = 1
    study_id: StudyId
    title: str
    methods: dict[Literal["a", "b"], str]
    seed: int
    trials: tuple[Trial, ...] = Field(min_length=1)


class Answer(Frozen):
    """What a rater answered to one question about one trial.

    Attributes:
        trial: The trial.
        left: The side that was shown on the left.
        right: The side that was shown on the right.
        question: The question.
        choice: The answer.
        reaction_ms: Milliseconds from the moment the question stood on the screen.
    """

    trial: Token
    left: Token
    right: Token
    question: Question
    choice: Choice
    reaction_ms: int = Field(ge=0, le=LONGEST_REACTION)

    @property
    def chosen(self) -> str | None:
        """Token of the side that was preferred; None for no difference."""
        return {"left": self.left, "right": self.right, "same": None}[self.choice]


class Answers(Frozen):
    """What one rater has answered so far, as the page saves it.

    Attributes:
        schema_version: Of this document.
        study_id: The study.
        rater_id: The rater, as they call themselves.
        started_at: When they began.
        saved_at: When the file was made.
        answers: Their answers, at most one to a question about a trial.
    """

    schema_version: Literal[1] = 1
    study_id: StudyId
    rater_id: RaterId
    started_at: AwareDatetime
    saved_at: AwareDatetime
    answers: tuple[Answer, ...]

    @model_validator(mode="after")
    def _answers_nothing_twice(self) -> Self:
        asked = [(answer.trial, answer.question) for answer in self.answers]
        if len(set(asked)) < len(asked):
            raise ValueError("a question is answered twice")
        return self
