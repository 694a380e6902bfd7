"""From what was measured of the clips of all sources to their rows."""

from collections.abc import Mapping, Sequence

import numpy as np

from tempprop.evaluation.estimates import (
    Resampling,
    distance_estimate,
    figures_by_clip,
    mean_difference,
    mean_estimate,
)
from tempprop.evaluation.frechet import Array
from tempprop.evaluation.instruments import INSTRUMENTS, Measured
from tempprop.evaluation.metrics import Metric
from tempprop.evaluation.results import Estimate, Row
from tempprop.evaluation.sources import Source

ByClip = Mapping[str, Mapping[str, Measured]]
"""What was measured of a source, by the clip's name and by instrument."""


def evaluated_rows(
    metrics: Sequence[Metric],
    sources: Sequence[Source],
    measured: Mapping[str, ByClip],
    reference: ByClip,
    how: Resampling,
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Give the rows, and what a reader should know about them.

    Args:
        metrics: What to give, in order.
        sources: What the rows are of.
        measured: What was measured of them, by the source's name.
        reference: What was measured of the reference; empty where there is none.
        how: How intervals are made.
    """
    by_clip = {source.name: figures_by_clip(measured[source.name], metrics) for source in sources}
    names = [metric.name for metric in metrics if not metric.of_sets]
    rows, notes = [], [*_size_notes(sources), *_bias_notes(metrics, sources, measured)]
    for source in sources:
        mine, first = by_clip[source.name], by_clip[sources[0].name]
        others = names if source is not sources[0] else []
        found = {name: mean_estimate(mine, name, how) for name in names}
        for metric in (metric for metric in metrics if metric.of_sets):
            found[metric.name], said = _distance(
                metric, source, measured[source.name], reference, how
            )
            notes += said
        rows.append(
            Row(
                name=source.name,
                source=source.uri,
                clips=len(source.clips),
                width=source.clips[0].shown.width,
                height=source.clips[0].shown.height,
                fewest_frames=min(clip.shown.num_frames for clip in source.clips),
                figures=_had(metrics, found),
                differences=_had(
                    metrics, {name: mean_difference(mine, first, name, how) for name in others}
                ),
                by_clip=mine,
            )
        )
    return tuple(rows), tuple(notes)


def _had(
    metrics: Sequence[Metric], estimates: Mapping[str, Estimate | None]
) -> dict[str, Estimate]:
    """Give the estimates that there are, in the order of the metrics."""
    found = ((metric.name, estimates.get(metric.name)) for metric in metrics)
    return {name: estimate for name, estimate in found if estimate is not None}


def _distance(
    metric: Metric, source: Source, clips: ByClip, reference: ByClip, how: Resampling
) -> tuple[Estimate | None, list[str]]:
    """Give the distance of a source to the reference, and what is to be said about it."""
    needs = INSTRUMENTS[metric.instrument].needs
    mine, real = _features(clips, metric.instrument), _features(reference, metric.instrument)
    if min(len(mine), len(real)) < 2:
        return None, [
            f"{source.name}: no {metric.title}, which takes two clips on both sides, with {needs}"
        ]
    notes = []
    if len(mine) < len(source.clips):
        notes.append(
            f"{source.name}: {metric.title} is of {len(mine)} of its {len(source.clips)} clips, "
            f"those with {needs}"
        )
    return distance_estimate(mine, real, how), notes


def _bias_notes(
    metrics: Sequence[Metric], sources: Sequence[Source], measured: Mapping[str, ByClip]
) -> list[str]:
    """Warn of the distances whose covariances are those of fewer rows than features."""
    notes = []
    for metric in (metric for metric in metrics if metric.of_sets):
        seen = {
            source.name: _features(measured[source.name], metric.instrument) for source in sources
        }
        few = [
            f"{len(features)} of {name}"
            for name, features in seen.items()
            if features.shape[0] * features.shape[1] <= features.shape[2]
        ]
        if few:
            notes.append(
                f"{metric.title} has a large bias where clips are few ({', '.join(few)}): compare "
                "it only with that of as many clips"
            )
    return notes


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
