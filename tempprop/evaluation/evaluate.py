"""Evaluates directories of clips: one row of figures each, against a reference where one is given.

Clips are read one at a time, so that memory holds the frames of one clip, and of the others what
was measured of them. What was measured is kept below the output location, by the content of the
clips: an evaluation that was interrupted goes on, and one that is repeated measures nothing.
"""

import importlib.metadata
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import cv2
import numpy

import tempprop
from tempprop.errors import ClipError, JudgeMissingError
from tempprop.evaluation.clip_files import local_copy, read_clip
from tempprop.evaluation.estimates import Resampling
from tempprop.evaluation.instruments import INSTRUMENTS, Instrument, Measure, Measured
from tempprop.evaluation.measured import measured_key, read_measured, write_measured
from tempprop.evaluation.metrics import BY_NAME, METRICS, Metric
from tempprop.evaluation.prompts import read_prompts
from tempprop.evaluation.results import LEVEL, Evaluation
from tempprop.evaluation.rows import ByClip, evaluated_rows
from tempprop.evaluation.sources import (
    Clip,
    Source,
    find_sources,
    look_at_sources,
    named_sources,
    with_prompts,
)
from tempprop.objects import Store
from tempprop.watch import Watch

logger = logging.getLogger("tempprop.evaluation")

REFERENCE = "the reference"
MEASURING = "measuring"
"""What a watcher is told first when clips are measured."""


@dataclass(frozen=True)
class Request:
    """What to evaluate, and how.

    Attributes:
        sources: Paths, globs or URIs, each perhaps as NAME=SOURCE.
        reference: Path, glob or URI of real clips; None for none.
        metrics: Names of metrics; none for all that can be had.
        frames: How many frames of each clip count, from its beginning, at least 2.
        resamples: Resamples of each interval; 0 for intervals without extent.
        seed: Key of the resamples.
        judges: Directory of the judges' weights; None for the usual places.
        prompts: File of prompts by the clip's name, see `tempprop.evaluation.prompts`; None where
            clips say themselves what they show, or nobody does.
    """

    sources: tuple[str, ...]
    reference: str | None = None
    metrics: tuple[str, ...] = ()
    frames: int = 16
    resamples: int = 1000
    seed: int = 0
    judges: Path | None = None
    prompts: Path | None = None


def evaluate(request: Request, store: Store | None, watch: Watch) -> Evaluation:
    """Measure all clips, and give the figures of every source.

    Args:
        request: What to evaluate.
        store: Where it is kept what was measured; None for nowhere.
        watch: Is told how far it is.

    Raises:
        ClipError: There are no clips, some cannot be evaluated, or a metric that was asked for
            cannot be had.
        StoreError: A store did not answer.
    """
    ready = _prepare(request, store, watch)
    _warn(ready.left_out)
    bench = Bench(request.frames, ready.eyes, store)
    measured = _measure(bench, ready.metrics, ready.sources, watch)
    own = [source for source in ready.sources if source.name != REFERENCE]
    reference = next((source for source in ready.sources if source.name == REFERENCE), None)
    how = Resampling(request.resamples, request.seed)
    rows, notes = evaluated_rows(
        ready.metrics, own, measured, measured.get(REFERENCE, {}), how, watch
    )
    for note in notes:
        logger.warning("%s", note)
    return Evaluation(
        frames=request.frames,
        resamples=request.resamples,
        seed=request.seed,
        level=LEVEL,
        metrics=tuple(metric.name for metric in ready.metrics),
        reference=reference.uri if reference is not None else None,
        reference_clips=len(reference.clips) if reference is not None else None,
        rows=rows,
        left_out=ready.left_out,
        notes=notes,
        versions=_versions(),
    )


@dataclass(frozen=True)
class Ready:
    """What is needed before the first clip is measured.

    Attributes:
        metrics: Those that can be had, in order.
        left_out: The others, and why.
        eyes: The instruments of these metrics, by their names.
        sources: The clips, last those of the reference where there is one.
    """

    metrics: list[Metric]
    left_out: dict[str, str]
    eyes: dict[str, Measure]
    sources: list[Source]


def _prepare(request: Request, store: Store | None, watch: Watch) -> Ready:
    """Find the clips, load the instruments and look at the clips: what is quick comes first."""
    metrics = chosen_metrics(request.metrics)
    left_out = _may_lack(request, _without_reference(request, metrics))
    prompts = read_prompts(request.prompts) if request.prompts is not None else {}
    found = with_prompts(find_sources(_named(request)), prompts)
    eyes, missing = _load(request, _had(metrics, left_out))
    left_out |= _may_lack(request, missing)
    sources = look_at_sources(found, request.frames, store, watch)
    left_out |= _may_lack(request, _without_clips(request, _had(metrics, left_out), sources))
    return Ready(_had(metrics, left_out), left_out, eyes, sources)


def _had(metrics: Sequence[Metric], left_out: Mapping[str, str]) -> list[Metric]:
    return [metric for metric in metrics if metric.name not in left_out]


def chosen_metrics(names: Sequence[str]) -> list[Metric]:
    """Give metrics by their names, in the order of the table; all of them where none is named.

    Raises:
        ClipError: There is no metric of a name.
    """
    for name in names:
        if name not in BY_NAME:
            close = get_close_matches(name, BY_NAME, 1)
            guess = f" Did you mean {close[0]!r}?" if close else ""
            known = ", ".join(BY_NAME)
            raise ClipError(f"there is no metric {name!r}.{guess} Choose from {known}")
    return [metric for metric in METRICS if not names or metric.name in names]


def _instruments(metrics: Sequence[Metric]) -> list[str]:
    return list(dict.fromkeys(metric.instrument for metric in metrics))


def _load(request: Request, metrics: Sequence[Metric]) -> tuple[dict[str, Measure], dict[str, str]]:
    """Load the instruments; gives also the metrics whose judges are missing, and why."""
    eyes: dict[str, Measure] = {}
    missing: dict[str, str] = {}
    for name in _instruments(metrics):
        try:
            eyes[name] = INSTRUMENTS[name].load(request.judges)
        except JudgeMissingError as error:
            reason = str(error)
            missing |= {metric.name: reason for metric in metrics if metric.instrument == name}
    return eyes, missing


def _may_lack(request: Request, reasons: dict[str, str]) -> dict[str, str]:
    """Refuse what was asked for by its name and cannot be had."""
    if request.metrics and reasons:
        raise ClipError(
            "\n".join(f"{name} cannot be had: {reason}" for name, reason in reasons.items())
        )
    return reasons


def _warn(left_out: Mapping[str, str]) -> None:
    """Say what is left out, once for each reason."""
    for reason in dict.fromkeys(left_out.values()):
        names = ", ".join(name for name in left_out if left_out[name] == reason)
        logger.warning("left out: %s: %s", names, reason)


def _without_reference(request: Request, metrics: Sequence[Metric]) -> dict[str, str]:
    if request.reference is not None:
        return {}
    reason = "it compares with real clips. Give them with --reference"
    return {metric.name: reason for metric in metrics if metric.of_sets}


def _without_clips(
    request: Request, metrics: Sequence[Metric], sources: Sequence[Source]
) -> dict[str, str]:
    """Find the metrics for which no clip of any source will do."""
    reasons = {}
    for metric in metrics:
        instrument = INSTRUMENTS[metric.instrument]
        clips = (clip for source in sources for clip in source.clips)
        if not any(instrument.fits(clip.shown, request.frames) for clip in clips):
            reasons[metric.name] = f"it takes {instrument.needs}, and no clip has that"
    return reasons


def _named(request: Request) -> dict[str, str]:
    """Give the sources by name, and last the reference where there is one."""
    named = named_sources(request.sources)
    if REFERENCE in named:
        raise ClipError(f"no source can be called {REFERENCE!r}. Name it otherwise")
    return named if request.reference is None else named | {REFERENCE: request.reference}


@dataclass(frozen=True)
class Bench:
    """What clips are measured with.

    Attributes:
        frames: How many frames of each clip count.
        eyes: The instruments that were loaded, by their names.
        store: Where it is kept what was measured; None for nowhere.
    """

    frames: int
    eyes: Mapping[str, Measure]
    store: Store | None


def _measure(
    bench: Bench, metrics: Sequence[Metric], sources: Sequence[Source], watch: Watch
) -> Mapping[str, ByClip]:
    """Measure the clips of all sources; of the reference, only what compares sets."""
    of_sets = _instruments([metric for metric in metrics if metric.of_sets])
    work = [
        (source, clip, of_sets if source.name == REFERENCE else _instruments(metrics))
        for source in sources
        for clip in source.clips
    ]
    found: dict[str, dict[str, dict[str, Measured]]] = {source.name: {} for source in sources}
    for done, (source, clip, names) in enumerate(work):
        watch(f"{MEASURING} {source.name}", done, len(work))
        found[source.name][clip.file.name] = _measure_clip(bench, names, clip)
    return found


def _measure_clip(bench: Bench, names: Sequence[str], clip: Clip) -> dict[str, Measured]:
    """Measure a clip with the instruments that it fits, as far as that was not done before."""
    fitting = [name for name in names if INSTRUMENTS[name].fits(clip.shown, bench.frames)]
    keys = {name: _key(INSTRUMENTS[name], bench.frames, clip) for name in fitting}
    before = {name: read_measured(bench.store, key) for name, key in keys.items()}
    found = {name: measured for name, measured in before.items() if measured is not None}
    missing = [name for name in fitting if name not in found]
    if missing:
        with local_copy(clip.file) as path:
            frames = read_clip(path, bench.frames, clip.file.fps)
        for name in missing:
            found[name] = bench.eyes[name](frames, clip.shown)
            write_measured(bench.store, keys[name], found[name])
    return found


def _key(instrument: Instrument, frames: int, clip: Clip) -> str:
    prompt = clip.shown.prompt if instrument.by_prompt else None
    return measured_key(instrument.name, instrument.version, frames, clip.file.sha256, prompt)


def _versions() -> dict[str, str]:
    return {
        "tempprop": tempprop.__version__,
        "numpy": numpy.__version__,
        "opencv": cv2.__version__,
        "torch": importlib.metadata.version("torch"),
    }
