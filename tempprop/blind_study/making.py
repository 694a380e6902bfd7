"""From the clips of two methods to the page and the key of a study."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tempprop.blind_study.answer_files import KEY_SUFFIX
from tempprop.blind_study.browser_copies import BrowserCopy, browser_copy, spoiled_copy
from tempprop.blind_study.design import (
    Comparison,
    comparisons,
    num_checks_for,
    secret_of,
    study_id_of,
    trials_of,
)
from tempprop.blind_study.documents import StudyKey, Trial
from tempprop.blind_study.page_writing import study_page
from tempprop.blind_study.pairing import Pair, Pairing, choose_pairs, pair_clips
from tempprop.errors import ClipError, EncodeError, StudyError
from tempprop.evaluation.clip_files import find_clips, identified, local_copy
from tempprop.storage_faults import display_uri
from tempprop.whole_files import draft_of

MAILED_MEGABYTES = 20
"""What most mail servers still take."""

NAMES_SHOWN = 5

logger = logging.getLogger("tempprop.study")


@dataclass(frozen=True)
class StudyPlan:
    """What a study is to be.

    Attributes:
        a: Path or URI of the clips of the first method.
        b: Path or URI of the clips of the second method.
        out: The `.html` file to write; the key goes beside it as `.key.json`.
        title: Stands above the page.
        pairs: How many pairs at most, drawn at random; None for all.
        checks: How many attention checks; None for one to eight pairs, and at least two.
        identical: How many clips are shown beside themselves.
        show_prompts: Whether raters read what the clips are to show.
        seed: Of the choice of pairs, their order and their sides.
        largest_megabytes: A page that is larger is not written.
    """

    a: str
    b: str
    out: Path
    title: str = "Which clip is better?"
    pairs: int | None = None
    checks: int | None = None
    identical: int = 0
    show_prompts: bool = False
    seed: int = 0
    largest_megabytes: float = 500

    @property
    def key_file(self) -> Path:
        """Where the key goes."""
        return self.out.with_suffix(KEY_SUFFIX)


@dataclass(frozen=True)
class MadeStudy:
    """What was made.

    Attributes:
        key: Of the study.
        pairing: Which clips the methods have in common.
        megabytes: Size of the page.
    """

    key: StudyKey
    pairing: Pairing
    megabytes: float


@dataclass(frozen=True)
class _Material:
    """A pair of clips that is ready for the page: their digests, prompts and copies."""

    pair: Pair
    copies: Mapping[str, BrowserCopy]


def make_study(plan: StudyPlan) -> MadeStudy:
    """Write the page of a study, and its key.

    Args:
        plan: What it is to be.

    Returns:
        What was made. Clips that only one of the methods has are left out, with a warning.

    Raises:
        StudyError: The methods have no clip in common, clips cannot be used (all that cannot are
            told), the page would be too large, or the files cannot be written.
        ClipError: A source has no clips, or cannot be listed.
    """
    _check_target(plan)
    pairing = pair_clips(find_clips(plan.a), find_clips(plan.b))
    _report_unpaired(plan, pairing)
    materials = _prepare(choose_pairs(pairing.pairs, plan.pairs, plan.seed))
    _report_what_raters_cannot_judge(materials)
    _report_prompts(plan, materials)
    key, trials = _design(plan, materials)
    clips = dict(_clips(trials, materials, key))
    megabytes = _megabytes(clips.values())
    _check_size(plan, megabytes)
    prompts = [materials[planned.pair].pair.prompt for planned, _ in trials]
    shown = prompts if plan.show_prompts else [None] * len(prompts)
    with _finished(plan.key_file) as key_file, _finished(plan.out) as page:
        key_file.write(key.model_dump_json(indent=1))
        page.writelines(study_page(key, clips, shown))
    return MadeStudy(key, pairing, megabytes)


def _check_target(plan: StudyPlan) -> None:
    out = plan.out
    if out.suffix != ".html":
        raise StudyError(f"the page of a study is an .html file, not {out.name!r}: choose another")
    if not out.parent.is_dir():
        raise StudyError(f"there is no directory {out.parent}: make it, or choose another --out")
    for path in (out, plan.key_file):
        if path.exists():
            raise StudyError(
                f"{path} exists, and answers to its study cannot be counted without its key. "
                "Choose another --out, or remove both"
            )


def _report_unpaired(plan: StudyPlan, pairing: Pairing) -> None:
    a, b = display_uri(plan.a), display_uri(plan.b)
    if not pairing.pairs:
        raise StudyError(
            f"no clip of {a} has the name of one of {b}, so there are no pairs. {a} has "
            f"{_listed(pairing.only_a)}; {b} has {_listed(pairing.only_b)}. Name them alike"
        )
    for place, names in ((a, pairing.only_a), (b, pairing.only_b)):
        if names:
            logger.warning("only in %s, and left out: %s", place, _listed(names))


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _prepare(pairs: Iterable[Pair]) -> list[_Material]:
    """Read all clips, and tell all that cannot be used at once."""
    materials, problems = [], []
    for pair in pairs:
        clips, copies = {}, {}
        for method, clip in (("a", pair.a), ("b", pair.b)):
            try:
                with local_copy(clip) as path:
                    clips[method] = identified(clip, path)
                    copies[method] = browser_copy(path, clip.fps)
            except (ClipError, EncodeError) as error:
                problems.append(f"  {clip.uri}: {error}")
        if len(copies) == 2:
            materials.append(_Material(Pair(pair.name, clips["a"], clips["b"]), copies))
    if problems:
        count = f"{len(problems)} clip{'' if len(problems) == 1 else 's'} cannot be shown"
        raise StudyError("\n".join([count, *problems]))
    return materials


def _report_what_raters_cannot_judge(materials: Sequence[_Material]) -> None:
    pairs = [material.pair for material in materials]
    alike = [pair.name for pair in pairs if pair.a.sha256 == pair.b.sha256]
    if alike:
        logger.warning("both methods have the same file of: %s", _listed(alike))


def _report_prompts(plan: StudyPlan, materials: Sequence[_Material]) -> None:
    without = [material.pair.name for material in materials if material.pair.prompt is None]
    if plan.show_prompts and without:
        logger.warning("no prompt, or not the same, is known of: %s", _listed(without))


def _design(
    plan: StudyPlan, materials: Sequence[_Material]
) -> tuple[StudyKey, list[tuple[Comparison, Trial]]]:
    checks = num_checks_for(len(materials)) if plan.checks is None else plan.checks
    clips = [clip for material in materials for clip in (material.pair.a, material.pair.b)]
    identity = [f"{clip.name} {clip.sha256}" for clip in clips]
    secret = secret_of(plan.seed, [plan.title, f"{checks} {plan.identical}", *identity])
    planned = comparisons(len(materials), checks, plan.identical, secret)
    named = trials_of(planned, [material.pair.name for material in materials], secret)
    trials = sorted(zip(planned, named, strict=True), key=lambda trial: trial[1].trial)
    key = StudyKey(
        study_id=study_id_of(secret),
        title=plan.title,
        methods={"a": display_uri(plan.a), "b": display_uri(plan.b)},
        seed=plan.seed,
        trials=tuple(trial for _, trial in trials),
    )
    return key, trials


def _clips(
    trials: Iterable[tuple[Comparison, Trial]], materials: Sequence[_Material], key: StudyKey
) -> Iterator[tuple[str, BrowserCopy]]:
    """Give the clip of each side, by its token."""
    for number, (planned, trial) in enumerate(trials):
        material = materials[planned.pair]
        for token, role in trial.sides.items():
            if role == "spoiled":
                yield token, _spoiled(material, planned, key.seed + number)
            else:
                yield token, material.copies[planned.method or role]


def _spoiled(material: _Material, planned: Comparison, seed: int) -> BrowserCopy:
    return spoiled_copy(material.copies[planned.method or "a"], seed)


def _megabytes(clips: Iterable[BrowserCopy]) -> float:
    """Measure what the clips take in the page, where three bytes become four letters."""
    return sum(len(clip.content) for clip in clips) * 4 / 3 / 1e6


def _check_size(plan: StudyPlan, megabytes: float) -> None:
    if megabytes > plan.largest_megabytes:
        raise StudyError(
            f"the page would have {megabytes:,.0f} MB, and {plan.largest_megabytes:,.0f} MB are "
            "allowed: take fewer --pairs, or raise --largest-megabytes"
        )
    if megabytes > MAILED_MEGABYTES:
        logger.warning(
            "the page has %.0f MB, which many mail servers refuse: fewer --pairs make it smaller",
            megabytes,
        )


@contextmanager
def _finished(path: Path) -> Iterator[TextIO]:
    """Give a file to write to, which gets its name when everything is written."""
    try:
        with draft_of(path) as draft, draft.open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise StudyError(f"{path} cannot be written: {error.strerror}. Choose another") from error
