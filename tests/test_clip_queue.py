"""Who gets which clip next: models are changed seldom, and nobody stands idle."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tempprop.clip_queue import ClipQueue, queue_of
from tempprop.planned_clip import PlannedClip
from tempprop.spec import ClipSpec, ModelIdentity

IDENTITY = ModelIdentity(uri="m", pipeline_class="P", digest="d")


def clip(name, model="a", priority=0, num_frames=4, width=64):
    spec = ClipSpec(
        clip_id=name,
        prompt="p",
        seed=1,
        model=model,
        priority=priority,
        num_frames=num_frames,
        width=width,
    )
    return PlannedClip(name, spec, IDENTITY)


def take(queue, *held, busy=()):
    taken = queue.take([(model, ()) for model in held], Counter((model, ()) for model in busy))
    return taken.spec.clip_id if taken is not None else None


def test_a_worker_goes_on_with_the_model_that_it_has():
    queue = queue_of([clip(f"{model}{n}", model) for model in "ab" for n in range(2)])
    assert [take(queue, "b") for _ in range(4)] == ["b0", "b1", "a0", "a1"]
    assert take(queue, "b") is None


def test_the_model_used_last_is_preferred_among_those_held():
    queue = queue_of([clip(model, model) for model in "abc"])
    assert take(queue, "c", "b") == "c"
    assert take(queue, "c", "b") == "b"


def test_priority_goes_before_the_model_that_is_held():
    queue = queue_of([clip("a0", "a"), clip("b0", "b", priority=1)])
    assert take(queue, "a") == "b0"
    assert take(queue, "b") == "a0"


def test_an_empty_worker_goes_where_most_is_left_for_each_worker():
    queue = queue_of([clip("a0", "a", num_frames=9), clip("b0", "b", num_frames=8)])
    assert take(queue) == "a0"
    queue = queue_of([clip("a0", "a", num_frames=9), clip("b0", "b", num_frames=8)])
    assert take(queue, busy="a") == "b0"


def test_sizes_of_a_model_stay_together_and_the_costliest_comes_first():
    frames = ((64, 2), (128, 1), (64, 5), (128, 3))
    queue = queue_of([clip(f"{w}x{n}", width=w, num_frames=n) for w, n in frames])
    assert [take(queue, "a") for _ in range(4)] == ["64x5", "64x2", "128x3", "128x1"]


def test_looking_takes_nothing():
    queue = queue_of([clip("a0")])
    assert queue.peek((), Counter()).spec.clip_id == "a0"
    assert len(queue) == 1
    assert take(queue) == "a0"
    assert ClipQueue([]).peek((), Counter()) is None


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(1, 9))),
    st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=1),
)
def test_every_clip_is_given_out_once_and_priorities_never_rise(rows, held):
    clips = [clip(str(n), *row) for n, row in enumerate(rows)]
    queue, taken = queue_of(clips), []
    while len(queue):
        model = held[len(taken) % len(held)]
        taken.append(int(take(queue, *model)))
    assert sorted(taken) == list(range(len(clips)))
    priorities = [rows[n][1] for n in taken]
    assert priorities == sorted(priorities, reverse=True)
