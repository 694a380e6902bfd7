"""Rows of figures that are given: means, differences, distances, and what is said of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempprop.evaluation.clip_files import ClipFile
from tempprop.evaluation.estimates import Resampling
from tempprop.evaluation.instruments import Shown
from tempprop.evaluation.metrics import BY_NAME
from tempprop.evaluation.rows import evaluated_rows
from tempprop.evaluation.sources import Clip, Source

HOW = Resampling(resamples=50, seed=0)


def source(name, clips, width=64):
    shown = Shown(num_frames=16, height=64, width=width)
    files = (ClipFile(clip, clip, clip, filesystem=None) for clip in clips)
    return Source(name, f"dir/{name}", tuple(Clip(file, shown) for file in files))


def rows_of(metric, measured, reference=None):
    found = [source(name, clips) for name, clips in measured.items()]
    return evaluated_rows([BY_NAME[metric]], found, measured, reference or {}, HOW)


def moving(**clips):
    return {name: {"pictures": {"motion": np.array(value)}} for name, value in clips.items()}


def featured(count, size, shift=0.0, rows=1):
    features = np.random.default_rng(count).standard_normal((count, rows, size)) + shift
    return {f"c{n}": {"i3d": {"features": each}} for n, each in enumerate(features)}


figures = st.dictionaries(st.sampled_from("abcdef"), st.floats(-100, 100), min_size=1)


@settings(deadline=None)
@given(figures, figures)
def test_means_are_of_all_clips_and_differences_of_those_in_common(first, second):
    (one, two), notes = rows_of("motion", {"one": moving(**first), "two": moving(**second)})
    for row, values in ((one, first), (two, second)):
        assert row.figures["motion"].value == pytest.approx(np.mean(list(values.values())))
        assert row.figures["motion"].clips == row.clips == len(values)
        assert row.by_clip == {name: {"motion": value} for name, value in values.items()}
    common = sorted(set(first) & set(second))
    assert (one.differences, notes) == ({}, ())
    if len(common) < 2:
        assert two.differences == {}
    else:
        difference = two.differences["motion"]
        assert difference.clips == len(common)
        expected = np.mean([second[name] - first[name] for name in common])
        assert difference.value == pytest.approx(expected, abs=1e-9)


def test_what_has_no_value_does_not_count():
    (row,), _ = rows_of("motion", {"one": moving(a=1.0, b=float("nan"), c=3.0)})
    assert (row.figures["motion"].value, row.figures["motion"].clips) == (2, 2)
    assert row.by_clip["b"] == {}
    (row,), _ = rows_of("motion", {"one": moving(a=float("nan"))})
    assert row.figures == {}


def test_a_distance_says_of_how_many_clips_it_is():
    measured = {"near": featured(30, 4), "far": featured(30, 4, shift=3.0)}
    (near, far), notes = rows_of("fvd", measured, featured(20, 4, rows=2))
    assert near.figures["fvd"].value < 1 < far.figures["fvd"].value
    assert far.figures["fvd"].value == pytest.approx(4 * 3.0**2, rel=0.3)
    for row in (near, far):
        assert (row.figures["fvd"].clips, row.figures["fvd"].reference_clips) == (30, 20)
        assert row.by_clip["c0"] == {}
    assert notes == ()


def test_distances_of_the_same_clips_are_compared_more_sharply_than_apart():
    """What a row has in common with the first one falls out of their difference."""
    first = featured(30, 4)
    moved = {
        name: {"i3d": {"features": seen["i3d"]["features"] + 0.1}} for name, seen in first.items()
    }
    (one, two), _ = rows_of("fvd", {"one": first, "two": moved}, featured(20, 4))
    apart, difference = two.figures["fvd"], two.differences["fvd"]
    assert difference.value == pytest.approx(apart.value - one.figures["fvd"].value)
    assert difference.low < difference.value < difference.high
    assert difference.high - difference.low < (apart.high - apart.low) / 2
    assert (difference.clips, difference.reference_clips) == (30, 20)
    assert one.differences == {}


def test_distances_of_other_clips_are_not_compared():
    others = {f"other-{name}": seen for name, seen in featured(30, 4).items()}
    fewer = dict(list(featured(30, 4).items())[:20])
    rows, _ = rows_of(
        "fvd", {"one": featured(30, 4), "two": others, "three": fewer}, featured(20, 4)
    )
    assert [row.differences for row in rows] == [{}, {}, {}]


def test_what_is_said_of_distances():
    reference, measured = featured(9, 5), {"few": featured(4, 5), "single": featured(1, 5)}
    measured["few"]["short"] = {}
    rows, notes = rows_of("fvd", measured, reference)
    assert rows[0].figures["fvd"].clips == 4
    assert rows[1].figures == {}
    needs = "all of the frames that are asked for, nine at least"
    assert notes == (
        "FVD has a large bias where clips are few (4 of few): compare it only with that of as many "
        "clips",
        f"few: FVD is of 4 of its 5 clips, those with {needs}",
        f"single: no FVD, which takes two clips on both sides, with {needs}",
    )


def test_clips_are_counted_once_where_all_sources_have_as_many():
    one, two, three = featured(4, 5), featured(4, 5), featured(3, 5)
    _, alike = rows_of("fvd", {"one": one, "two": two}, featured(9, 5))
    _, differing = rows_of("fvd", {"one": one, "two": two, "three": three}, featured(9, 5))
    assert "few (4 of each)" in alike[0]
    assert "few (4 of one, 4 of two, 3 of three)" in differing[0]


def test_sources_of_several_sizes_are_told():
    measured = {"small": moving(a=1.0), "wide": moving(a=1.0)}
    found = [source("small", ["a"]), source("wide", ["a"], width=96)]
    _, (note,) = evaluated_rows([BY_NAME["motion"]], found, measured, {}, HOW)
    assert "the sources differ in size" in note
