"""`evaluation.md`: does propagation make video? Nobody types a figure into it."""

from collections.abc import Sequence

from tempprop.evaluation.markdown import table
from tempprop.evaluation.metrics import BY_NAME
from tempprop.evaluation.results import Estimate, Evaluation, Row, written
from tempprop.studies.method_records import MethodRecord

OURS, BASELINE, OTHERS, STILL, REAL, DISORDERED, REAL_STILL = (
    "coupled",
    "independent",
    "text2video-zero",
    "frozen",
    "real",
    "real-shuffled",
    "real-frozen",
)
"""Names of the methods on which the question turns."""

LARGEST_SHARE = 1 / 3
"""Of the FVD of independent frames: what the defaults are to stay below."""

DYNAMIC_RANGE = (0.5, 2.0)
"""Of the dynamic degree of real clips: where that of the defaults is to lie."""

WEIGHTS = (
    (
        REAL,
        DISORDERED,
        "Real clips have an FVD of {:.1f}, and with their frames in random order one of {:.1f}: "
        "what lies between the two is all that it hears of their order.",
    ),
    (
        REAL_STILL,
        STILL,
        "Frame 0 of real clips, held, has an FVD of {:.1f}, and frame 0 of ours one of {:.1f}: "
        "what lies between the two is owed to the pictures, and to no motion.",
    ),
)
"""Pairs of rows that tell what FVD is made of here."""

FIRST_METRICS = ("fvd", "fid", "recognized", "consistency", "warping_error", "dynamic_degree")
"""Of the first table; the others follow in a second one."""

OPENING = """\
# Does propagation make video?

The same prompts under the same seeds, by every method, against real clips of other prompts of the
same kind. `real` against the same reference is the floor: as close as so many clips can come. FVD
and FID only compare between rows of equal numbers of clips. In brackets are intervals that hold
95 % of resamples of the clips. What each figure is, and where it comes from, stands in
[`tempprop/evaluation/metrics.py`](../tempprop/evaluation/metrics.py); what each method is, in
[`tempprop/studies/methods.py`](../tempprop/studies/methods.py).

    python -m tempprop.studies.render_methods CLIPS
    tempprop evaluate CLIPS/real CLIPS/independent ... --reference CLIPS/reference \\
        --prompts CLIPS/takes.jsonl --out REPORT
    python -m tempprop.studies.compare_methods CLIPS REPORT --domain NAME"""

Domain = tuple[str, Sequence[MethodRecord], Evaluation]
"""What the clips show, what the methods cost, and how their clips were judged."""


def comparison_page(domains: Sequence[Domain]) -> str:
    """Write the page.

    Args:
        domains: All that were compared.
    """
    return "\n\n".join([OPENING, *(_section(*domain) for domain in domains)]) + "\n"


def answers(evaluation: Evaluation) -> list[str]:
    """Say, in figures, how the defaults stand to what they are measured by.

    What is not among the rows is left out.
    """
    rows = {row.name: row for row in evaluation.rows}
    found = [
        _share_of_baseline(rows),
        _below(rows, OTHERS, "Text2Video-Zero"),
        _below(rows, STILL, "frozen clips"),
        _liveliness(rows),
        *(_side_by_side(rows, *weight) for weight in WEIGHTS),
    ]
    return [answer for answer in found if answer is not None]


def _figure(rows: dict[str, Row], name: str, metric: str) -> Estimate | None:
    return rows[name].figures.get(metric) if name in rows else None


def _share_of_baseline(rows: dict[str, Row]) -> str | None:
    ours, theirs = _figure(rows, OURS, "fvd"), _figure(rows, BASELINE, "fvd")
    if ours is None or theirs is None:
        return None
    share = ours.value / theirs.value
    verdict = "a third or less" if share <= LARGEST_SHARE else "more than a third"
    return f"The FVD of the defaults is {share:.0%} of that of independent frames: {verdict}."


def _below(rows: dict[str, Row], name: str, words: str) -> str | None:
    ours, theirs = _figure(rows, OURS, "fvd"), _figure(rows, name, "fvd")
    if ours is None or theirs is None:
        return None
    if ours.low <= theirs.high and theirs.low <= ours.high:
        verdict = "the intervals overlap"
    else:
        verdict = "below it" if ours.value < theirs.value else "above it"
    return f"It is {ours.value:.1f}, that of {words} {theirs.value:.1f}: {verdict}."


def _liveliness(rows: dict[str, Row]) -> str | None:
    ours, real = (_figure(rows, name, "dynamic_degree") for name in (OURS, REAL))
    if ours is None or real is None or real.value == 0:
        return None
    share = ours.value / real.value
    low, high = DYNAMIC_RANGE
    within = "within" if low <= share <= high else "not within"
    return (
        f"The dynamic degree of the defaults is {ours.value:.0%}, that of real clips "
        f"{real.value:.0%}: {within} a half and twice of it."
    )


def _side_by_side(rows: dict[str, Row], one: str, other: str, sentence: str) -> str | None:
    first, second = (_figure(rows, name, "fvd") for name in (one, other))
    if first is None or second is None:
        return None
    return sentence.format(first.value, second.value)


def _section(domain: str, records: Sequence[MethodRecord], evaluation: Evaluation) -> str:
    first = [name for name in FIRST_METRICS if name in evaluation.metrics]
    others = [name for name in evaluation.metrics if name not in first]
    parts = [
        f"## {domain}",
        _conditions(records, evaluation),
        "\n".join(f"- {answer}" for answer in answers(evaluation)),
        _table(evaluation, first),
        _table(evaluation, others) if others else "",
        _costs(records),
        "\n".join(f"- {note}." for note in evaluation.notes),
    ]
    return "\n\n".join(part for part in parts if part)


def _conditions(records: Sequence[MethodRecord], evaluation: Evaluation) -> str:
    common, record = records[0].common, records[0]
    return (
        f"{evaluation.rows[0].clips} clips a row of {evaluation.frames} frames of "
        f"{common.width}x{common.height}, {common.num_inference_steps} steps, guidance "
        f"{common.guidance_scale:g}, in {record.dtype} on {record.device}; "
        f"{evaluation.reference_clips} clips of reference."
    )


def _table(evaluation: Evaluation, names: Sequence[str]) -> str:
    metrics = [BY_NAME[name] for name in names]
    rows = [
        [row.name, *(written(row.figures.get(metric.name), metric.form) for metric in metrics)]
        for row in evaluation.rows
    ]
    return table(("method", *(metric.heading for metric in metrics)), rows)


def _costs(records: Sequence[MethodRecord]) -> str:
    rows = [
        [
            record.method,
            f"{record.frames_per_second:.2f}",
            f"{record.peak_memory_bytes / 2**30:.2f}",
            record.what,
        ]
        for record in records
    ]
    return table(("method", "frames a second", "peak memory, GiB", "what it does"), rows)
