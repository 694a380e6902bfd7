"""The tally of planted answers."""

import pytest
from blind_studies import answers_of, key_with
from hypothesis import given, settings
from hypothesis import strategies as st

from tempprop.blind_study.documents import QUESTIONS, ROLES
from tempprop.blind_study.statistics import sign_test, wilson_interval
from tempprop.blind_study.tally import Preference, tally


def attentive(trial, question):
    """Prefers b where it looks more real, and sees no difference in motion."""
    if trial.kind == "check":
        return "original"
    if trial.kind == "identical" or question == "smoothness":
        return None
    return "b"


def careless(trial, question):
    return "spoiled" if trial.kind == "check" else ROLES[trial.kind][0]


def test_the_tally_is_what_the_raters_wanted():
    key = key_with(pairs=5, checks=2, identical=1)
    counted = tally(key, [answers_of(key, "ada", attentive), answers_of(key, "bob", careless)])
    assert counted.pooled == (Preference("realism", 5, 5, 0), Preference("smoothness", 5, 0, 5))
    assert counted.attentive == (Preference("realism", 0, 5, 0), Preference("smoothness", 0, 0, 5))
    ada, bob = counted.raters
    assert ada.preferences == counted.attentive
    assert bob.preferences == (Preference("realism", 5, 0, 0), Preference("smoothness", 5, 0, 0))
    assert (ada.failed, ada.checks_right, ada.checks) == (False, 4, 4)
    assert (bob.failed, bob.checks_right, bob.checks) == (True, 0, 4)
    assert (ada.identical, ada.identical_preferred) == (2, 0)
    assert (bob.identical, bob.identical_preferred) == (2, 2)
    assert (ada.answered, ada.asked, ada.reaction_seconds) == (16, 16, 4.5)


def test_each_clip_counts_once_as_most_attentive_raters_chose():
    key = key_with(pairs=3, checks=1)
    wishes = {"ada": ["a", "b", None], "bob": ["a", None, "a"], "cyd": ["b", "b", "b"]}

    def document(rater_id, roles):
        by_clip = dict(zip(("clip-0", "clip-1", "clip-2"), roles, strict=True))
        return answers_of(key, rater_id, lambda trial, _: by_clip.get(trial.clip, "original"))

    documents = [document(rater_id, roles) for rater_id, roles in wishes.items()]
    careless_one = answers_of(key, "dan", careless)
    counted = tally(key, [*documents, careless_one])
    assert counted.by_clip == tuple(Preference(question, 1, 1, 1) for question in QUESTIONS)
    assert counted.attentive == tuple(Preference(question, 3, 4, 2) for question in QUESTIONS)


def test_no_difference_counts_for_neither_method():
    preference = Preference("realism", 6, 2, 100)
    assert preference.share == 0.75
    assert preference.interval == wilson_interval(6, 8)
    assert preference.p_value == sign_test(6, 8)
    nobody = Preference("realism", 0, 0, 3)
    assert (nobody.share, nobody.interval, nobody.p_value) == (None, (0, 1), 1)


@pytest.mark.parametrize(("wrong", "failed"), [(0, False), (1, False), (2, True), (4, True)])
def test_a_quarter_of_the_checks_may_be_wrong(wrong, failed):
    key = key_with(pairs=1, checks=2)
    given_answers = iter(
        ["spoiled"] * (wrong // 2) + [None] * (wrong - wrong // 2) + ["original"] * 4
    )
    document = answers_of(
        key, "ada", lambda trial, _: next(given_answers) if trial.kind == "check" else "a"
    )
    (rater,) = tally(key, [document]).raters
    assert (rater.checks_right, rater.failed) == (4 - wrong, failed)


def test_a_rater_who_met_no_check_has_not_failed():
    key = key_with(pairs=2)
    counted = tally(key, [answers_of(key, "ada", attentive)])
    assert not counted.raters[0].failed
    assert counted.attentive == counted.pooled


def test_where_all_raters_fail_nothing_is_left():
    key = key_with(pairs=2, checks=1)
    counted = tally(key, [answers_of(key, "bob", careless)])
    nothing = tuple(Preference(question, 0, 0, 0) for question in QUESTIONS)
    assert counted.attentive == counted.by_clip == nothing


wills = st.lists(st.sampled_from(["a", "b", None]), min_size=6, max_size=6)


@settings(deadline=None)
@given(st.lists(wills, min_size=1, max_size=4))
def test_sides_are_undone_and_raters_add_up(all_wills):
    key = key_with(pairs=3)

    def document(number, roles):
        rest = iter(roles)
        return answers_of(key, f"rater-{number}", lambda *_: next(rest))

    counted = tally(key, [document(number, roles) for number, roles in enumerate(all_wills)])
    for number, question in enumerate(QUESTIONS):
        roles = [role for rater in all_wills for role in rater[number::2]]
        expected = Preference(question, *(roles.count(role) for role in ("a", "b", None)))
        assert counted.pooled[number] == expected
    assert sum(rater.left + rater.right for rater in counted.raters) == sum(
        preference.a + preference.b for preference in counted.pooled
    )
