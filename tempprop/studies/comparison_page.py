"""`evaluation.md`: does propagation make video? Nobody types a figure into it."""

from collections.abc import Sequence

from pydantic import JsonValue

from tempprop.evaluation.markdown import table
from tempprop.evaluation.metrics import BY_NAME
from tempprop.evaluation.results import Estimate, Evaluation, Row, written
from tempprop.spec import Motion
from tempprop.studies.method_records import MethodRecord

OURS, LOOSE, BASELINE, STILL, REAL, DISORDERED, REAL_STILL = (
    "coupled",
    "coupled-loose",
    "independent",
    "frozen",
    "real",
    "real-shuffled",
    "real-frozen",
)
"""Names of the methods on which the question turns."""

PROPAGATED = {OURS: "the defaults", LOOSE: "the looser coupling"}
"""What the question is put to, and what the answers call it."""

ORDER = (
    *(REAL, "real-autoencoded", DISORDERED, REAL_STILL),
    *(OURS, LOOSE, "coupled-first", "coupled-first-prev", "coupled-zoom", "coupled-pan", "serial"),
    *("correlated-noise", "same-noise", STILL, "shuffled"),
    *(BASELINE, "text2video-zero", "feedback", "feedback-loose", "feedback-zoom"),
)
"""The films and what bounds them, ours, ours without this or that, others."""

NOT_DENOISED = {"reference", REAL, "real-autoencoded", DISORDERED, REAL_STILL, STILL, "shuffled"}
"""Methods whose speed says nothing."""

DISTANCES = ("fvd", "fvmd")
"""What it is measured by: the one responds to pictures above all, the other to motion alone."""

LARGEST_SHARE = 1 / 3
"""Of the distance of independent frames: what propagation is to stay below."""

DYNAMIC_RANGE = (0.5, 2.0)
"""Of the dynamic degree of films: where that of propagation is to lie."""

FIRST_METRICS = (
    "fvd",
    "fvmd",
    "fid",
    "recognized",
    "consistency",
    "warping_error",
    "dynamic_degree",
)
"""Of the first table; the others follow in a second one."""

DRAWN_MODEL = "mini"
"""Its clips are of its own world, whose prompts no file has to name."""

QUIET_CLIPS = 16
"""Clips a method whose speed is measured while the machine has nothing else to do."""

OPENING = """\
# Does propagation make video?

The same prompts under the same seeds, by every method, against films of other prompts of the same
domain. The films are animations, none of them photographic video: those of `drawn` are made by the
code of this project, those of `emoji` by designers. `real` against the same reference is the floor:
as close as so many clips can come. Distances only compare between rows of equal numbers of clips,
of this page: FVD is that of StyleGAN-V (I3D, 16 frames, few clips), FVMD takes its tracks from DIS
optical flow, which published values do not. In brackets are intervals that hold 95 % of resamples
of the clips; those of differences are of resamples of the same prompts, which vary less than the
rows do. What each figure is, and where it comes from, stands in
[`tempprop/evaluation/metrics.py`](../tempprop/evaluation/metrics.py); what each method is, in
[`tempprop/studies/methods.py`](../tempprop/studies/methods.py). The methods of others run with
their published settings.

In short (FVD and FVMD: less is better; dynamic: the nearer to that of the films, the better):"""

ABOUT = {
    "drawn": """\
Twenty things before eleven backgrounds, which the project draws itself: the world whose stills the
embedded model was trained on. In its films things sway, drift and grow, now and then the camera
moves or the hour changes. The defaults were chosen by clips of this world, some of them of these
very prompts, with an eye on the share that is dynamic ([log.md](log.md)): that it agrees with that
of the films is no independent result.""",
    "emoji": """\
Microsoft's Fluent animated emoji, and a model that was trained on single frames of them, out of
order ([emoji.md](emoji.md)). The films are the windows of time that were held out. The defaults
were not chosen here; the looser coupling was, by clips of 40 other prompts. What was recognized is
not measured: the classifier knows only the drawn world.""",
}
"""What a domain is, by its name."""

SUMMARY_METHODS = {
    REAL: "films",
    OURS: "propagation, the defaults",
    LOOSE: "propagation, looser",
    "correlated-noise": "correlated noise, no coupling",
    BASELINE: "independent frames",
    "text2video-zero": "Text2Video-Zero",
    "feedback": "image-to-image feedback",
    STILL: "frame 0 of ours, held",
    REAL_STILL: "frame 0 of films, held",
}
"""The methods of the small table, and what it calls them."""

SUMMARY_METRICS = {"fvd": ",.0f", "fvmd": ",.0f", "dynamic_degree": ".0%"}
"""The figures of the small table, and how it writes them."""

Domain = tuple[str, Sequence[MethodRecord], Evaluation]
"""What the clips show, what the methods cost, and how their clips were judged."""


def comparison_page(domains: Sequence[Domain]) -> str:
    """Write the page.

    Args:
        domains: All that were compared.
    """
    sections = [_section(*domain) for domain in domains]
    return "\n\n".join([OPENING, summary_table(domains), *sections]) + "\n"


def summary_table(domains: Sequence[Domain]) -> str:
    """Write the figures on which the question turns, of all domains beside each other.

    Args:
        domains: All that were compared. What was not measured in one is a dash.
    """
    header = [
        f"{domain}: {BY_NAME[metric].title}"
        for domain, _, _ in domains
        for metric in SUMMARY_METRICS
    ]
    found = [{row.name: row for row in evaluation.rows} for _, _, evaluation in domains]
    rows = [
        [
            words,
            *(
                "-" if figure is None else format(figure.value, form)
                for rows in found
                for metric, form in SUMMARY_METRICS.items()
                for figure in [_figure(rows, name, metric)]
            ),
        ]
        for name, words in SUMMARY_METHODS.items()
        if any(name in rows for rows in found)
    ]
    return table(("", *header), rows)


def answers(evaluation: Evaluation) -> list[str]:
    """Say, in figures, how propagation stands to what it is measured by.

    What is not among the rows is left out.
    """
    rows = {row.name: row for row in evaluation.rows}
    found = [
        *(
            answer
            for metric in DISTANCES
            for answer in (
                *(_share_of_baseline(rows, metric, name) for name in PROPAGATED),
                _order(rows, metric),
            )
        ),
        _pictures(rows),
        *(_liveliness(rows, name) for name in PROPAGATED),
    ]
    return [answer for answer in found if answer is not None]


def differences(evaluation: Evaluation) -> str:
    """Tabulate by how much the distances of the other methods exceed those of the defaults.

    Empty where the first row, to which differences are taken, is not that of the defaults.
    """
    if evaluation.rows[0].name != OURS:
        return ""
    metrics = [metric for metric in DISTANCES if metric in evaluation.metrics]
    rows = [
        [row.name, *(_compared(row.differences.get(metric)) for metric in metrics)]
        for row in in_order(evaluation).rows
        if any(metric in row.differences for metric in metrics)
    ]
    return table(("less the defaults", *(_title(metric) for metric in metrics)), rows)


def _compared(more: Estimate | None) -> str:
    if more is None:
        return "-"
    if more.low <= 0 <= more.high:
        verdict = "not told apart"
    else:
        verdict = "worse" if more.value > 0 else "better"
    return f"{written(more, '+,.0f')}, {verdict}"


def in_order(evaluation: Evaluation) -> Evaluation:
    """Put the rows into the order in which they are shown."""
    rows = sorted(evaluation.rows, key=lambda row: _rank(row.name))
    return evaluation.model_copy(update={"rows": tuple(rows)})


def _rank(method: str) -> int:
    return ORDER.index(method) if method in ORDER else len(ORDER)


def _figure(rows: dict[str, Row], name: str, metric: str) -> Estimate | None:
    return rows[name].figures.get(metric) if name in rows else None


def _share_of_baseline(rows: dict[str, Row], metric: str, name: str) -> str | None:
    ours, theirs = _figure(rows, name, metric), _figure(rows, BASELINE, metric)
    if ours is None or theirs is None:
        return None
    share, real = ours.value / theirs.value, _figure(rows, REAL, metric)
    verdict = "reached" if share <= LARGEST_SHARE else "missed"
    floor = "" if real is None else f"; films have {real.value:,.0f}"
    return (
        f"{_title(metric)} of {PROPAGATED[name]} is {ours.value:,.0f}, {share:.0%} of that of "
        f"independent frames. The goal, a third ({theirs.value * LARGEST_SHARE:,.0f}), is "
        f"{verdict}{floor}."
    )


def _title(metric: str) -> str:
    return BY_NAME[metric].title


def _order(rows: dict[str, Row], metric: str) -> str | None:
    real, disordered = (_figure(rows, name, metric) for name in (REAL, DISORDERED))
    if real is None or disordered is None:
        return None
    return (
        f"{_title(metric)} of films is {real.value:,.0f}, of the same with their frames in "
        f"random order {disordered.value:,.0f}: so much does it respond to order."
    )


def _pictures(rows: dict[str, Row]) -> str | None:
    real, ours = (_figure(rows, name, "fvd") for name in (REAL_STILL, STILL))
    if real is None or ours is None:
        return None
    return (
        f"FVD of frame 0 of films, held, is {real.value:,.0f}, of frame 0 of ours "
        f"{ours.value:,.0f}: what lies between is owed to the pictures, and to no motion (as Ge et "
        "al., “On the Content Bias in Fréchet Video Distance”, 2024, found of FVD)."
    )


def _liveliness(rows: dict[str, Row], name: str) -> str | None:
    ours, real = (_figure(rows, each, "dynamic_degree") for each in (name, REAL))
    if ours is None or real is None or real.value == 0:
        return None
    share = ours.value / real.value
    low, high = DYNAMIC_RANGE
    within = "within" if low <= share <= high else "not within"
    return (
        f"The dynamic degree of {PROPAGATED[name]} is {ours.value:.0%}, that of films "
        f"{real.value:.0%}: {within} a half and twice of it."
    )


def plot_name(domain: str) -> str:
    """Name the plot of a domain, beside the page."""
    return f"methods-{domain}.png"


def _section(domain: str, records: Sequence[MethodRecord], evaluation: Evaluation) -> str:
    first = [name for name in FIRST_METRICS if name in evaluation.metrics]
    others = [name for name in evaluation.metrics if name not in first]
    parts = [
        f"## {domain}",
        ABOUT.get(domain, ""),
        _conditions(records, evaluation),
        _commands(domain, records[0], evaluation),
        _costs(records),
        "\n".join(f"- {answer}" for answer in answers(evaluation)),
        differences(evaluation),
        _table(evaluation, first),
        _table(evaluation, others) if others else "",
        f"![Every figure of every method, with its interval]({plot_name(domain)})",
        "\n".join(f"- {note}." for note in evaluation.notes),
    ]
    return "\n\n".join(part for part in parts if part)


def _conditions(records: Sequence[MethodRecord], evaluation: Evaluation) -> str:
    common, record = records[0].common, records[0]
    return (
        f"{evaluation.rows[0].clips} clips a row of {evaluation.frames} frames of "
        f"{common.width}x{common.height}, {common.num_inference_steps} steps, guidance "
        f"{common.guidance_scale:g}, by `{record.model.uri}` in {record.dtype} on {record.device}; "
        f"{evaluation.reference_clips} clips of reference."
    )


def _commands(domain: str, record: MethodRecord, evaluation: Evaluation) -> str:
    """Give the commands that made the section."""
    model = record.model.uri
    prompts = "" if model == DRAWN_MODEL else " --prompts PROMPTS"
    made = f"--dtype {record.dtype} --fps {record.common.fps:g} --model {model}{prompts}"
    clips = evaluation.rows[0].clips
    names = ",".join(row.name for row in evaluation.rows)
    lines = (
        f"python -m tempprop.studies.render_methods CLIPS --clips {clips} {made}",
        f"tempprop evaluate CLIPS/{{{names}}} \\",
        "    --reference CLIPS/reference --prompts CLIPS/takes.jsonl \\",
        f"    --resamples {evaluation.resamples} --out REPORT",
        f"python -m tempprop.studies.render_methods QUIET --clips {QUIET_CLIPS} {made}",
        f"python -m tempprop.studies.compare_methods CLIPS REPORT --domain {domain} --costs QUIET",
    )
    return "\n".join(f"    {line}" for line in lines)


def _table(evaluation: Evaluation, names: Sequence[str]) -> str:
    metrics = [BY_NAME[name] for name in names]
    rows = [
        [row.name, *(written(row.figures.get(metric.name), metric.form) for metric in metrics)]
        for row in in_order(evaluation).rows
    ]
    return table(("method", *(metric.heading for metric in metrics)), rows)


def _costs(records: Sequence[MethodRecord]) -> str:
    rows = [
        [
            record.method,
            record.what,
            ", ".join(f"`{name}` {_shown(value)}" for name, value in record.settings.items()),
            *(
                ("-", "-")
                if record.method in NOT_DENOISED
                else (
                    f"{record.frames_per_second:.2f}",
                    f"{record.peak_memory_bytes / 2**30:.2f}",
                )
            ),
        ]
        for record in sorted(records, key=lambda record: _rank(record.method))
    ]
    first = records[0]
    threads = "one thread" if first.threads == 1 else f"{first.threads} threads"
    place = f"{threads} of the CPU" if first.device == "cpu" else first.device
    header = ("method", "what it does", "with", "frames a second", "peak memory, GiB")
    return (
        f"The methods, their speed and their peak memory on {place}, with {first.frames_per_batch} "
        f"frames a batch:\n\n{table(header, rows, texts=3)}"
    )


def _shown(value: JsonValue) -> str:
    if isinstance(value, dict):
        still = Motion().model_dump(mode="json")
        return ", ".join(f"{name} {moved}" for name, moved in value.items() if moved != still[name])
    return f"{value:g}" if isinstance(value, float) else str(value)
