"""What is done about a failure follows from its kind, and every clip comes to an end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError, NodeDiedError, OutOfMemoryError

from cluster.failures import (
    LONGEST_BACK_OFF_SECONDS,
    back_off_seconds,
    head_of,
    is_spent,
    kind_of_death,
)
from tempprop.spec import Attempt, RetryConfig

RETRIES = RetryConfig(
    max_attempts=3, max_out_of_memory=2, max_worker_deaths=3, max_infrastructure=5
)


def attempts(*kinds):
    return [Attempt(kind=kind, error_class="E", message="m", worker="w") for kind in kinds]


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        ("input", 1),
        ("out of memory", 2),
        ("poisoned process", 3),
        ("worker death", 3),
        ("infrastructure", 5),
        ("unknown", 3),
    ],
)
def test_each_kind_has_its_limit(kind, limit):
    assert not is_spent(attempts(*[kind] * (limit - 1)), RETRIES)
    assert is_spent(attempts(*[kind] * limit), RETRIES)


def test_deaths_of_workers_count_together_whatever_killed_them():
    assert is_spent(attempts("worker death", "poisoned process", "worker death"), RETRIES)


def test_a_lost_machine_is_not_charged_to_the_clip():
    lost = ["infrastructure"] * 4
    assert not is_spent(attempts(*lost, "unknown", "unknown", "worker death"), RETRIES)


@given(st.lists(st.sampled_from(["unknown", "infrastructure", "worker death", "out of memory"])))
def test_a_clip_that_always_fails_is_given_up_in_the_end(kinds):
    endless = [*kinds, *["unknown"] * 3]
    assert is_spent(attempts(*endless), RETRIES)


def test_deaths_are_sorted_by_who_is_to_blame():
    assert kind_of_death(NodeDiedError("gone")) == "infrastructure"
    assert kind_of_death(OutOfMemoryError("full")) == "out of memory"
    assert kind_of_death(ActorDiedError()) == "worker death"


@given(st.integers(0, 1000))
def test_waiting_grows_up_to_a_limit_and_is_never_the_same_for_all(failures):
    assert 0 < back_off_seconds(failures) <= LONGEST_BACK_OFF_SECONDS
    assert back_off_seconds(0) <= back_off_seconds(3)


def test_a_message_becomes_one_line_that_fits():
    assert head_of("a\n  b") == "a b"
    assert len(head_of("x" * 5000)) == 1000
