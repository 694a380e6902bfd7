"""A blind study is made: pairs, copies, checks, balance, and a page that gives nothing away."""

import base64
import hashlib
import io
import json
import logging
import re
from collections import Counter
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
from blind_studies import moving
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import commit_clip, write_clip
from test_encode import encoded

from tempprop.blind_study.browser_copies import browser_copy, spoiled, spoiled_copy
from tempprop.blind_study.design import comparisons, num_checks_for, secret_of, trials_of
from tempprop.blind_study.documents import ROLES, StudyKey
from tempprop.blind_study.making import StudyPlan, make_study
from tempprop.errors import ClipError, StudyError
from tempprop.evaluation.clip_files import read_clip
from tempprop.quality import QualityMeter
from tempprop.spec import EncoderConfig
from tempprop.store import open_store


@pytest.fixture
def methods(tmp_path):
    """Two directories with four clips in common, and one more in the first."""
    for number in range(4):
        write_clip(tmp_path / "older" / f"harbour-{number}.mp4", moving(2))
        write_clip(tmp_path / "newer" / f"harbour-{number}.mp4", moving(3 + number))
    write_clip(tmp_path / "older" / "lonely.mp4", moving(1))
    return tmp_path


def plan_for(methods, **changes):
    places = {"a": str(methods / "older"), "b": str(methods / "newer")}
    return StudyPlan(**(places | {"out": methods / "study.html"} | changes))


def embedded(page):
    """The clips of a page, by their tokens."""
    found = re.findall(r'<script type="text/plain" id="clip-(\w+)">([^<]*)</script>', page)
    return {token: base64.b64decode(content, validate=True) for token, content in found}


def decoded(content):
    with av.open(io.BytesIO(content)) as container:
        return [
            (frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)
        ]


# Copies for the browser


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_what_browsers_play_is_copied_to_the_bit_and_without_tags(tmp_path, suffix):
    path = write_clip(tmp_path / f"harbour{suffix}", moving(3), prompt="a tell-tale")
    copy = browser_copy(path)
    assert (copy.media_type, copy.fps) == (f"video/{suffix[1:]}", 8)
    for (time, frame), (copied_time, copied) in zip(
        decoded(path.read_bytes()), decoded(copy.content), strict=True
    ):
        assert copied_time == pytest.approx(time, abs=1e-3)
        assert np.array_equal(frame, copied)
    assert b"tell-tale" not in copy.content
    assert browser_copy(path) == copy


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mkv", ".avi"])
def test_what_they_do_not_play_looks_as_before(tmp_path, suffix):
    path = write_clip(tmp_path / f"harbour{suffix}", moving(3, height=47, width=63))
    copy = browser_copy(path)
    # GIF counts time in hundredths of a second.
    assert (copy.media_type, copy.fps) == ("video/mp4", 1 / 0.12 if suffix == ".gif" else 8)
    original, frames = read_clip(path), np.stack([frame for _, frame in decoded(copy.content)])
    assert frames.shape == (8, 48, 64, 3)
    assert np.abs(frames[:, :47, :63].astype(int) - original).mean() < 4


def test_a_file_that_is_no_clip(tmp_path):
    (tmp_path / "text.mp4").write_text("no clip")
    with pytest.raises(ClipError, match="it does not decode"):
        browser_copy(tmp_path / "text.mp4")


def test_a_spoiled_copy_flickers_and_holds_the_same_frames_below_its_noise():
    frames = moving(3, height=80, width=80)
    worse = spoiled(frames, seed=1)
    assert worse.shape == frames.shape
    assert _flicker(worse) > 3 * _flicker(frames)
    assert np.abs(worse.astype(int) - frames).mean() > 20
    blurred = worse.reshape(8, 20, 4, 20, 4, 3).mean((2, 4))
    original = frames.reshape(8, 20, 4, 20, 4, 3).mean((2, 4))
    nearest = [np.abs(original - frame).mean((1, 2, 3)).argmin() for frame in blurred]
    assert sorted(nearest) == list(range(8))
    assert nearest != list(range(8))
    assert np.array_equal(worse, spoiled(frames, seed=1))
    assert not np.array_equal(worse, spoiled(frames, seed=2))


def _flicker(frames):
    meter = QualityMeter()
    meter.add(frames)
    return meter.figures()["neighbor_difference_mean"]


def test_a_spoiled_copy_is_as_long(tmp_path):
    path = write_clip(tmp_path / "harbour.gif", moving(3))
    copy = browser_copy(path)
    times = [[time for time, _ in decoded(each.content)] for each in (copy, spoiled_copy(copy, 0))]
    assert len(times[0]) == 8
    assert times[1] == pytest.approx(times[0], abs=1e-3)


def test_frames_of_a_sequence_are_played_as_fast_as_its_record_says(tmp_path):
    clip = encoded([moving(3)], tmp_path, encoder=EncoderConfig(profile="png"), fps=12.0)
    copy = browser_copy(clip.pattern, 12.0)
    assert copy.fps == 12
    assert [time for time, _ in decoded(copy.content)] == pytest.approx([n / 12 for n in range(8)])


# What is compared, and on which side


secrets = st.binary(min_size=1, max_size=32)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 6), st.integers(0, 6), secrets)
def test_whatever_the_page_turns_each_role_is_left_half_of_the_time(pairs, checks, same, secret):
    planned = comparisons(pairs, checks, same, secret)
    trials = trials_of(planned, [str(number) for number in range(pairs)], secret)
    for kind, count in (("pair", pairs), ("check", checks)):
        blocks = {}
        for trial in trials:
            if trial.kind == kind:
                blocks.setdefault(trial.block, []).append(list(trial.sides.values()))
        listed = list(blocks.values())
        assert sum(map(len, listed)) == count
        assert [len(block) for block in listed[:-1]] == [2] * (len(listed) - 1)
        for first, second in (block for block in listed if len(block) == 2):
            # Turned together, one of the two has the first role on the left in any case.
            assert first == second[::-1] == ROLES[kind][:: 1 if first == ROLES[kind] else -1]
    tokens = [token for trial in trials for token in (trial.trial, *trial.sides)]
    assert len(set(tokens)) == 3 * len(trials)


@given(st.integers(1, 20), st.integers(0, 10), secrets)
def test_all_pairs_are_shown_and_checks_take_turns(pairs, checks, secret):
    planned = comparisons(pairs, checks, 0, secret)
    assert sorted(c.pair for c in planned if c.kind == "pair") == list(range(pairs))
    drawn = [c for c in planned if c.kind == "check"]
    assert Counter(c.method for c in drawn)["a"] == (checks + 1) // 2
    uses = Counter(c.pair for c in drawn)
    assert max(uses.values(), default=0) <= -(-checks // pairs)


def test_what_is_listed_first_is_a_fair_coin():
    listed = [
        next(iter(trials_of(comparisons(1, 0, 0, secret), ["x"], secret)[0].sides.values()))
        for secret in (secret_of(seed, ["x"]) for seed in range(400))
    ]
    assert 150 < listed.count("a") < 250


def test_the_secret_hangs_on_the_seed_and_on_every_clip():
    secrets = {secret_of(seed, digests) for seed, digests in product([0, 1], [["a"], ["a", "b"]])}
    assert len(secrets) == 4


@pytest.mark.parametrize(("pairs", "checks"), [(1, 2), (16, 2), (24, 3), (80, 10)])
def test_one_check_comes_to_eight_pairs(pairs, checks):
    assert num_checks_for(pairs) == checks


# The page and the key


def test_the_page_holds_the_clips_and_the_key_says_what_they_are(methods, caplog):
    with caplog.at_level(logging.WARNING):
        made = make_study(plan_for(methods, identical=1))
    assert [record.getMessage() for record in caplog.records] == [
        f"only in {methods / 'older'}, and left out: lonely"
    ]
    key = StudyKey.model_validate_json((methods / "study.key.json").read_bytes())
    assert key == made.key
    assert Counter(trial.kind for trial in key.trials) == {"pair": 4, "check": 2, "identical": 1}
    clips = embedded((methods / "study.html").read_text())
    copies = {
        (role, number): browser_copy(methods / place / f"harbour-{number}.mp4").content
        for role, place in (("a", "older"), ("b", "newer"))
        for number in range(4)
    }
    assert clips.keys() == {token for trial in key.trials for token in trial.sides}
    for trial in key.trials:
        number = int(trial.clip[-1])
        sides = {role: clips[token] for token, role in trial.sides.items()}
        if trial.kind == "pair":
            assert sides == {role: copies[role, number] for role in ("a", "b")}
        else:
            assert sides["original"] in {copies[role, number] for role in ("a", "b")}
        if trial.kind == "identical":
            assert len({clips[token] for token in trial.sides}) == 1
    assert sorted(path.name for path in methods.iterdir()) == [
        *("newer", "older", "study.html", "study.key.json")
    ]


def test_the_page_gives_nothing_away(methods):
    made = make_study(plan_for(methods))
    page = (methods / "study.html").read_bytes()
    clips = b"".join(embedded(page.decode()).values())
    for word in ("older", "newer", "harbour", str(methods), "spoiled", "original", "identical"):
        assert word.encode() not in page
        assert word.encode() not in clips
    listed = json.loads(re.search(rb'id="study">(.*?)</script>', page)[1])
    assert listed.keys() == {"study_id", "trials"}
    for trial in listed["trials"]:
        assert trial.keys() == {"trial", "block", "prompt", "sides"}
    # In the order of names that mean nothing, neither kinds nor clips stay together.
    order = [trial["trial"] for trial in listed["trials"]]
    assert order == sorted(order) == [trial.trial for trial in made.key.trials]


def test_the_page_loads_and_sends_nothing_and_runs_its_own_script_only(methods):
    make_study(plan_for(methods))
    page = (methods / "study.html").read_text()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    rules = dict(rule.split(" ", 1) for rule in policy.replace("&#39;", "'").split("; "))
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    assert rules == {
        "default-src": "'none'",
        "script-src": _hash_of(script),
        "style-src": _hash_of(style),
        "media-src": "blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert re.findall(r"https?:|\bsrc=|\bhref=|\bon[a-z]+=|style=|url\(|@import", page) == []


def _hash_of(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


NASTY = "</script><script>alert('1')</script>&amp;\"<img src=x>"


def test_titles_and_prompts_are_text(tmp_path):
    for place, step in (("older", 2), ("newer", 3)):
        commit_clip(open_store(str(tmp_path / place)), "fox", moving(step), prompt=NASTY)
    make_study(plan_for(tmp_path, title=NASTY, show_prompts=True))
    page = (tmp_path / "study.html").read_text()
    assert "<img" not in page
    assert "alert('1')" not in page
    assert page.count("</script>") == page.count("<script")
    listed = json.loads(re.search(r'id="study">(.*?)</script>', page)[1])
    prompts = [trial["prompt"] for trial in listed["trials"]]
    assert prompts == [NASTY] * 3


def test_prompts_stay_out_of_the_page_unless_they_are_asked_for(tmp_path, caplog):
    for place, step in (("older", 2), ("newer", 3)):
        store = open_store(str(tmp_path / place))
        commit_clip(store, "fox", moving(step), prompt="a tell-tale")
        commit_clip(store, "owl", moving(step), prompt=f"an owl, {place}")
    make_study(plan_for(tmp_path))
    assert "tell-tale" not in (tmp_path / "study.html").read_text()
    with caplog.at_level(logging.WARNING):
        make_study(plan_for(tmp_path, out=tmp_path / "with.html", show_prompts=True))
    page = (tmp_path / "with.html").read_text()
    assert "tell-tale" in page
    assert "older" not in page
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["no prompt, or not the same, is known of: owl"]


def test_the_same_study_is_made_again_and_another_seed_makes_another(methods):
    for name, seed in (("1.html", 0), ("2.html", 0), ("3.html", 1)):
        make_study(plan_for(methods, out=methods / name, seed=seed))
    first, again, other = ((methods / f"{number}.html").read_bytes() for number in (1, 2, 3))
    assert first == again
    assert not set(embedded(first.decode())) & set(embedded(other.decode()))


def test_some_of_the_pairs(methods):
    chosen = {
        tuple(
            sorted(
                trial.clip
                for trial in make_study(
                    plan_for(methods, out=methods / f"{seed}.html", seed=seed, pairs=2, checks=0)
                ).key.trials
            )
        )
        for seed in range(5)
    }
    assert {len(set(names)) for names in chosen} == {2}
    assert len(chosen) > 1


# What cannot be made


def refusal(plan):
    before = sorted(plan.out.parent.rglob("*")) if plan.out.parent.is_dir() else []
    with pytest.raises(StudyError) as refused:
        make_study(plan)
    assert (sorted(plan.out.parent.rglob("*")) if before else []) == before
    return str(refused.value)


def test_methods_without_a_clip_in_common(tmp_path):
    for number in range(7):
        write_clip(tmp_path / "older" / f"fox-{number}.mp4", moving(2))
    write_clip(tmp_path / "newer" / "owl.mp4", moving(2))
    message = refusal(plan_for(tmp_path))
    assert f"has the name of one of {tmp_path / 'newer'}, so there are no pairs" in message
    assert "fox-0, fox-1, fox-2, fox-3, fox-4 and 2 more; " in message


def test_all_clips_that_cannot_be_shown_are_told(methods):
    for name in ("older/harbour-1.mp4", "newer/harbour-3.mp4"):
        (methods / name).write_bytes(b"no clip")
    first, *lines = refusal(plan_for(methods)).splitlines()
    assert first == "2 clips cannot be shown"
    for line, name in zip(lines, ("older/harbour-1.mp4", "newer/harbour-3.mp4"), strict=True):
        assert line.startswith(f"  {methods / name}: it does not decode (")


@pytest.mark.parametrize("existing", ["study.html", "study.key.json"])
def test_an_earlier_study_is_not_replaced(methods, existing):
    (methods / existing).write_text("precious")
    assert f"{methods / existing} exists" in refusal(plan_for(methods))
    assert (methods / existing).read_text() == "precious"


def test_places_where_no_page_can_be(methods):
    assert "an .html file, not 'study.htm'" in refusal(plan_for(methods, out=methods / "study.htm"))
    nowhere = methods / "nowhere" / "study.html"
    assert f"there is no directory {nowhere.parent}" in refusal(plan_for(methods, out=nowhere))


def test_a_place_where_nothing_can_be_written(methods):
    with pytest.raises(StudyError, match=r"/proc/study.key.json cannot be written: .+\. Choose"):
        make_study(plan_for(methods, out=Path("/proc/study.html")))


def test_clips_that_are_the_same_in_both(methods, caplog):
    with caplog.at_level(logging.WARNING):
        make_study(plan_for(methods, b=str(methods / "older"), pairs=1, checks=0))
    (record,) = caplog.records
    assert "both methods have the same file of: " in record.getMessage()


def test_a_page_that_is_too_large(methods, caplog, monkeypatch):
    message = refusal(plan_for(methods, largest_megabytes=0.001))
    assert "take fewer --pairs, or raise --largest-megabytes" in message
    (methods / "older" / "lonely.mp4").unlink()
    caplog.clear()
    monkeypatch.setattr("tempprop.blind_study.making.MAILED_MEGABYTES", 0.001)
    with caplog.at_level(logging.WARNING):
        megabytes = make_study(plan_for(methods)).megabytes
    (record,) = caplog.records
    assert "which many mail servers refuse" in record.getMessage()
    held = sum(map(len, embedded((methods / "study.html").read_text()).values()))
    assert megabytes == pytest.approx(held * 4 / 3 / 1e6)
