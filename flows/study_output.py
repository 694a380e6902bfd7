"""What the command line prints of a blind study."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from flows.cli_output import print_facts, print_json, print_table
from tempprop.blind_study.statistics import CONFIDENCE
from tempprop.blind_study.tally import PASSING_SHARE, Preference, Rater, Tally

if TYPE_CHECKING:  # it reads clips, which counting does not
    from tempprop.blind_study.making import MadeStudy, StudyPlan

NOTES = (
    'Answers of "no difference" are in neither the share nor the sign test (exact, two-sided).',
    f"The interval is Wilson's, at {CONFIDENCE:.0%}. Answers about one clip are alike, which the "
    "rows that pool raters do not know: by clip, each counts once, as most attentive raters chose.",
    f"Attentive is who answered at least {PASSING_SHARE:.0%} of the checks rightly; identical are "
    "the answers that preferred one of two clips that were the same.",
)


def print_made_study(plan: "StudyPlan", made: "MadeStudy", as_json: bool) -> None:
    """Print what was made, and what to do with it."""
    kinds = [trial.kind for trial in made.key.trials]
    facts = {
        "page": str(plan.out),
        "key": str(plan.key_file),
        "study_id": made.key.study_id,
        "pairs": kinds.count("pair"),
        "checks": kinds.count("check"),
        "identical": kinds.count("identical"),
        "unpaired": len(made.pairing.only_a) + len(made.pairing.only_b),
        "megabytes": round(made.megabytes, 1),
    }
    print_facts(facts, as_json)
    if not as_json:
        print("Give the page to the raters, and the key to nobody.")


def print_tally(counted: Tally, as_json: bool) -> None:
    """Print what the raters prefer, as JSON or as tables."""
    if as_json:
        print_json(_for_programs(counted))
        return
    methods = counted.key.methods
    print(f"{counted.key.title} (study {counted.key.study_id})")
    print(f"A  {methods['a']}\nB  {methods['b']}\n")
    print_table(
        ("question", "raters", "A", "B", "no difference", "prefer A", "interval", "p"),
        [_row(preference, who) for preference, who in _rows(counted)],
    )
    print()
    print_table(
        ("rater", "answers", "checks right", "attentive", "left : right", "identical", "median"),
        [_rater_row(rater) for rater in counted.raters],
    )
    print("", *NOTES, sep="\n")


def _rows(counted: Tally) -> Iterator[tuple[Preference, str]]:
    """Give the preferences in the order of the table, each with whose they are."""
    attentive = sum(not rater.failed for rater in counted.raters)
    for number, pooled in enumerate(counted.pooled):
        yield pooled, f"all {len(counted.raters)}"
        yield counted.attentive[number], f"{attentive} attentive"
        yield counted.by_clip[number], "by clip"
        for rater in counted.raters:
            yield rater.preferences[number], rater.rater_id


def _row(preference: Preference, who: str) -> tuple[str, ...]:
    low, high = preference.interval
    return (
        preference.question,
        escape(who),
        str(preference.a),
        str(preference.b),
        str(preference.same),
        "-" if preference.share is None else f"{preference.share:.0%}",
        f"{low:.0%} to {high:.0%}",
        f"{preference.p_value:.2g}",
    )


def _rater_row(rater: Rater) -> tuple[str, ...]:
    seconds = rater.reaction_seconds
    return (
        escape(rater.rater_id),
        f"{rater.answered} of {rater.asked}",
        f"{rater.checks_right} of {rater.checks}",
        "unknown" if rater.checks == 0 else "no" if rater.failed else "yes",
        f"{rater.left} : {rater.right}",
        f"{rater.identical_preferred} of {rater.identical}",
        "-" if seconds is None else f"{seconds:.1f} s",
    )


def _for_programs(counted: Tally) -> dict[str, Any]:
    return {
        "study_id": counted.key.study_id,
        "title": counted.key.title,
        "methods": counted.key.methods,
        "confidence": CONFIDENCE,
        "passing_share": PASSING_SHARE,
        "pooled": [_preference(preference) for preference in counted.pooled],
        "attentive": [_preference(preference) for preference in counted.attentive],
        "by_clip": [_preference(preference) for preference in counted.by_clip],
        "raters": [
            asdict(rater)
            | {
                "failed": rater.failed,
                "preferences": [_preference(preference) for preference in rater.preferences],
            }
            for rater in counted.raters
        ],
    }


def _preference(preference: Preference) -> dict[str, Any]:
    low, high = preference.interval
    return asdict(preference) | {
        "share": preference.share,
        "low": low,
        "high": high,
        "p_value": preference.p_value,
    }
