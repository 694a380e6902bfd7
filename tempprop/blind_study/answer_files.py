"""Files of answers and the key that they belong to, read and checked: they come from outside."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from tempprop.blind_study.documents import Answer, Answers, StudyKey, Trial
from tempprop.errors import StudyError
from tempprop.manifest_columns import shown
from tempprop.spec import Frozen

KEY_SUFFIX = ".key.json"
LARGEST_FILE = 64 << 20
"""Bytes; a file that is larger holds no answers."""

logger = logging.getLogger("tempprop.study")

Document = TypeVar("Document", bound=Frozen)


def read_study(files: Sequence[Path]) -> tuple[StudyKey, list[Answers]]:
    """Read answers, and the key without which they mean nothing.

    The key is the one among the files, or one that lies beside any of them or in the working
    directory, and is of the same study. Of a rater with several files, the one saved last counts;
    a warning names the rater.

    Args:
        files: Answers as the page saves them; a name that ends in `.key.json` is a key.

    Returns:
        The key, and the answers of each rater, by the rater's name.

    Raises:
        StudyError: A file cannot be read or is not what it should be, the key is missing, or files
            are of different studies; all that is wrong is told at once.
    """
    answer_files = [path for path in files if not path.name.endswith(KEY_SUFFIX)]
    if not answer_files:
        raise StudyError("there are no answers: give the files that the page saved")
    problems: dict[Path, str] = {}
    answers = _read_all(answer_files, Answers, problems)
    if not answers:
        raise _refusal(problems)
    key = _find_key(files, answers)
    for path, document in answers.items():
        if finding := _mismatch(document, key):
            problems[path] = finding
    if problems:
        raise _refusal(problems)
    return key, _latest_of_each_rater(answers.values())


def _read_all(
    paths: Iterable[Path], kind: type[Document], problems: dict[Path, str]
) -> dict[Path, Document]:
    """Read documents; what is wrong with the others goes into `problems`."""
    documents: dict[Path, Document] = {}
    for path in dict.fromkeys(paths):
        try:
            documents[path] = read_document(path, kind)
        except StudyError as error:
            problems[path] = str(error)
    return documents


def read_document(path: Path, kind: type[Document]) -> Document:
    """Read a JSON file as a value of this kind, without any conversion.

    Raises:
        StudyError: It cannot be read, or is not one; in one line, without the file's name.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise StudyError(f"larger than {LARGEST_FILE >> 20} MiB: this is something else")
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StudyError(f"cannot be read: {error.strerror}. Check the path") from error
    except ValidationError as error:
        raise StudyError(_in_one_line(error)) from error


def _in_one_line(error: ValidationError) -> str:
    first, *others = error.errors(include_url=False)
    place = ".".join(map(str, first["loc"]))
    more = f", and {len(others)} more like this" if others else ""
    if first["type"] == "json_invalid":
        return "is not proper JSON: it may be cut off. Save it from the page again"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    value = f" (value: {shown(first['input'])})" if place else ""
    return f"{place + ': ' if place else ''}{message}{value}{more}"


def _find_key(files: Sequence[Path], answers: dict[Path, Answers]) -> StudyKey:
    """Find the key of the answers' study, or take the one that is given and will not fit."""
    studies = {document.study_id for document in answers.values()}
    given = [path for path in files if path.name.endswith(KEY_SUFFIX)]
    problems: dict[Path, str] = {}
    keys = list(_read_all(given or _keys_beside(answers), StudyKey, problems).values())
    if given and problems:
        raise _refusal(problems)
    fitting = [key for key in keys if key.study_id in studies]
    if not given and not fitting:
        raise StudyError(
            f"there is no key of study {min(studies)}, neither beside the answers nor in this "
            f"directory. Name it among the files: FILE{KEY_SUFFIX}, written beside the page"
        )
    return (fitting or keys)[0]


def _keys_beside(paths: Iterable[Path]) -> list[Path]:
    folders = dict.fromkeys([*(path.resolve().parent for path in paths), Path.cwd()])
    return [path for folder in folders for path in sorted(folder.glob(f"*{KEY_SUFFIX}"))]


def _mismatch(answers: Answers, key: StudyKey) -> str | None:
    """Say what in a file of answers does not fit the key."""
    if answers.study_id != key.study_id:
        return (
            f"is of study {answers.study_id}, and the key is of {key.study_id}. "
            "Count each study by itself, with its own key"
        )
    trials = {trial.trial: trial for trial in key.trials}
    for number, answer in enumerate(answers.answers):
        if not _fits(answer, trials):
            return f"answers.{number}: the key knows no such trial with these sides. Ask the rater"
    return None


def _fits(answer: Answer, trials: dict[str, Trial]) -> bool:
    trial = trials.get(answer.trial)
    return trial is not None and {answer.left, answer.right} == set(trial.sides)


def _latest_of_each_rater(answers: Iterable[Answers]) -> list[Answers]:
    latest: dict[str, Answers] = {}
    for document in sorted(answers, key=lambda document: document.saved_at):
        if document.rater_id in latest:
            logger.warning(
                "rater %s has several files: the one saved last counts", document.rater_id
            )
        latest[document.rater_id] = document
    return [latest[rater_id] for rater_id in sorted(latest)]


def _refusal(problems: dict[Path, str]) -> StudyError:
    count = len(problems)
    headline = f"{count} file{'' if count == 1 else 's'} cannot be counted"
    lines = [f"  {path}: {problem}" for path, problem in problems.items()]
    return StudyError("\n".join([headline, *lines]))
