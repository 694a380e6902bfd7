"""From what was measured of the clips of all sources to their rows."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tempprop.evaluation.estimates import (
    Distance,
    Resampling,
    distance_difference,
    distance_estimate,
    figures_by_clip,
    mean_difference,
    mean_estimate,
)
from tempprop.evaluation.frechet import Array, sets_distance
from tempprop.evaluation.instruments import INSTRUMENTS, Measured
from tempprop.evaluation.metrics import Metric
from tempprop.evaluation.results import LEVEL, Estimate, Row
from tempprop.evaluation.sources import Source
from tempprop.watch import Watch, nobody

ByClip = Mapping[str, Mapping[str, Measured]]
"""What was measured of a source, by the clip's name and by instrument."""


RESAMPLING = "resampling"
"""What a watcher is told first when intervals are made."""


@dataclass(frozen=True)
class Found:
    """What was found of a source.

    Attributes:
        by_clip: The figures of every clip.
        distances: Those to the reference, by metric.
    """

    by_clip: dict[str, dict[str, float]]
    distances: Mapping[str, Distance]


def evaluated_rows(
    metrics: Sequence[Metric],
    sources: Sequence[Source],
    measured: Mapping[str, ByClip],
    reference: ByClip,
    how: Resampling,
    watch: Watch = nobody,
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Give the rows, and what a reader should know about them.

    Args:
        metrics: What to give, in order.
        sources: What the rows are of.
        measured: What was measured of them, by the source's name.
        reference: What was measured of the reference; empty where there is none.
        how: How intervals are made.
        watch: Is told how far it is.
    """
    rows: list[Row] = []
    notes = [*_size_notes(sources), *_bias_notes(metrics, sources, measured)]
    first: Found | None = None
    for done, source in enumerate(sources):
        watch(f"{RESAMPLING} {source.name}", done, len(sources))
        clips = measured[source.name]
        distances = _distances(metrics, clips, reference, how)
        notes += _distance_notes(metrics, source, distances)
        found = Found(figures_by_clip(clips, metrics), distances)
        rows.append(
            Row(
                name=source.name,
                source=source.uri,
                clips=len(source.clips),
                width=source.clips[0].shown.width,
                height=source.clips[0].shown.height,
                fewest_frames=min(clip.shown.num_frames for clip in source.clips),
                figures=_figures(metrics, found, how),
                differences=_differences(metrics, found, first, how) if first is not None else {},
                by_clip=found.by_clip,
            )
        )
        first = first or found
    return tuple(rows), tuple(notes)


def _figures(metrics: Sequence[Metric], found: Found, how: Resampling) -> dict[str, Estimate]:
    estimates: dict[str, Estimate | None] = {
        name: distance_estimate(distance) for name, distance in found.distances.items()
    }
    for metric in _of_clips(metrics):
        estimates[metric.name] = mean_estimate(found.by_clip, metric.name, how)
    return _had(metrics, estimates)


def _differences(
    metrics: Sequence[Metric], found: Found, first: Found, how: Resampling
) -> dict[str, Estimate]:
    """Give by how much the figures of a source exceed those of the first one."""
    estimates = {
        name: distance_difference(distance, first.distances[name])
        for name, distance in found.distances.items()
        if name in first.distances
    }
    for metric in _of_clips(metrics):
        estimates[metric.name] = mean_difference(found.by_clip, first.by_clip, metric.name, how)
    return _had(metrics, estimates)


def _of_clips(metrics: Sequence[Metric]) -> list[Metric]:
    return [metric for metric in metrics if not metric.of_sets]


def _of_sets(metrics: Sequence[Metric]) -> list[Metric]:
    return [metric for metric in metrics if metric.of_sets]


def _had(
    metrics: Sequence[Metric], estimates: Mapping[str, Estimate | None]
) -> dict[str, Estimate]:
    """Give the estimates that there are, in the order of the metrics."""
    found = ((metric.name, estimates.get(metric.name)) for metric in metrics)
    return {name: estimate for name, estimate in found if estimate is not None}


def _distances(
    metrics: Sequence[Metric], clips: ByClip, reference: ByClip, how: Resampling
) -> dict[str, Distance]:
    """Give the distances of a source to the reference, those that there are, by metric."""
    found = {}
    for metric in _of_sets(metrics):
        mine, real = _features(clips, metric.instrument), _features(reference, metric.instrument)
        if min(len(mine), len(real)) < 2:
            continue
        names = tuple(name for name, seen in clips.items() if metric.instrument in seen)
        distance = sets_distance(mine, real, resamples=how.resamples, seed=how.seed, level=LEVEL)
        found[metric.name] = Distance(distance, names, len(real))
    return found


def _distance_notes(
    metrics: Sequence[Metric], source: Source, distances: Mapping[str, Distance]
) -> list[str]:
    """Say which distances are missing, and which are not of all clips."""
    notes = []
    for metric in _of_sets(metrics):
        needs = INSTRUMENTS[metric.instrument].needs
        if metric.name not in distances:
            with_what = f", with {needs}" if needs else ""
            notes.append(
                f"{source.name}: no {metric.title}, which takes two clips on both sides{with_what}"
            )
        elif (number := len(distances[metric.name].clips)) < len(source.clips):
            notes.append(
                f"{source.name}: {metric.title} is of {number} of its {len(source.clips)} clips, "
                f"those with {needs}"
            )
    return notes


def _bias_notes(
    metrics: Sequence[Metric], sources: Sequence[Source], measured: Mapping[str, ByClip]
) -> list[str]:
    """Warn of the distances whose covariances are those of fewer rows than features."""
    notes = []
    for metric in _of_sets(metrics):
        seen = {
            source.name: _features(measured[source.name], metric.instrument) for source in sources
        }
        few = {
            name: len(features)
            for name, features in seen.items()
            if len(features) > 1 and features.shape[0] * features.shape[1] <= features.shape[2]
        }
        if few:
            notes.append(
                f"{metric.title} has a large bias where clips are few ({_counted(few, seen)}): "
                "compare it only with that of as many clips"
            )
    return notes


def _counted(few: Mapping[str, int], seen: Collection[str]) -> str:
    """Say how many clips each source has; all at once where it is the same number everywhere."""
    numbers = set(few.values())
    if len(few) == len(seen) > 1 and len(numbers) == 1:
        return f"{numbers.pop()} of each"
    return ", ".join(f"{number} of {name}" for name, number in few.items())


def _features(clips: ByClip, instrument: str) -> Array:
    """Give the features of the clips that have them, `(clips, rows, features)`."""
    found = [seen[instrument]["features"] for seen in clips.values() if instrument in seen]
    return np.stack(found) if found else np.empty((0, 0, 0))


def _size_notes(sources: Sequence[Source]) -> list[str]:
    sizes = {(source.clips[0].shown.width, source.clips[0].shown.height) for source in sources}
    if len(sizes) == 1:
        return []
    return [
        "the sources differ in size: motion in pixels, warping error and sharpness cannot be "
        "compared between them"
    ]
