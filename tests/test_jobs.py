"""Which of the waiting clips a worker gets."""

from collections import Counter

from test_clip_queue import clip

from cluster.jobs import Backlog, Job
from tempprop.clip_queue import queue_of
from tempprop.spec import Attempt

HERE, THERE = "GPU 0 of a", "GPU 1 of a"


def failed(kind="unknown", worker="worker-1"):
    return Attempt(kind=kind, error_class="E", message="m", worker=worker)


def take(backlog, now=1e9, *, place=HERE, empty=True, held=(), others=(), only_again=False):
    job = backlog.take(
        place=place,
        empty=empty,
        held=[(model, ()) for model in held],
        busy=Counter(),
        others=frozenset(others),
        now=now,
        only_again=only_again,
    )
    return job.clip.spec.clip_id if job is not None else None


def backlog_of(*jobs, fresh=()):
    backlog = Backlog(queue_of(fresh))
    for job in jobs:
        backlog.again(job)
    return backlog


def test_a_clip_waits_for_its_next_try_and_goes_before_fresh_ones():
    job = Job(clip("again")).after(failed(), HERE, now=100.0)
    backlog = backlog_of(job, fresh=[clip("fresh"), clip("last")])
    assert take(backlog, now=100.0) == "fresh"
    assert take(backlog, now=200.0) == "again"
    assert take(backlog, now=200.0) == "last"
    assert take(backlog) is None
    assert len(backlog) == 0


def test_a_clip_goes_elsewhere_if_there_is_an_elsewhere():
    backlog = backlog_of(Job(clip("c")).after(failed(), HERE, 0.0))
    assert take(backlog, others=[THERE]) is None
    assert take(backlog, place=THERE, others=[HERE]) == "c"


def test_a_clip_that_failed_everywhere_may_come_back():
    job = Job(clip("c")).after(failed(), HERE, 0.0).after(failed(), THERE, 0.0)
    assert take(backlog_of(job), others=[THERE]) == "c"


def test_a_suspected_clip_shares_its_worker_with_no_other():
    for kind in ("worker death", "out of memory", "poisoned process"):
        backlog = backlog_of(Job(clip("c")).after(failed(kind), THERE, 0.0))
        assert take(backlog, empty=False) is None
        assert take(backlog, empty=True) == "c"


def test_among_clips_to_try_again_priority_decides_and_then_the_model_that_is_held():
    jobs = [
        Job(clip(name, model, priority)).after(failed(), THERE, 0.0)
        for name, model, priority in (("low", "a", 0), ("b", "b", 1), ("a", "a", 1))
    ]
    backlog = backlog_of(*jobs)
    assert [take(backlog, held="a") for _ in range(3)] == ["a", "b", "low"]


def test_while_the_storage_fails_no_fresh_clip_is_begun():
    backlog = backlog_of(Job(clip("again")).after(failed(), THERE, 0.0), fresh=[clip("fresh")])
    assert take(backlog, only_again=True) == "again"
    assert take(backlog, only_again=True) is None
    assert take(backlog) == "fresh"
