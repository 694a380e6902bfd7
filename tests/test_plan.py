import hashlib
from collections import Counter
from collections.abc import Container
from pathlib import Path

import pytest
from PIL import Image

from tempprop.clip_queue import open_queue
from tempprop.errors import InputError
from tempprop.manifest_writing import write_manifest
from tempprop.plan import Plan, estimate_seconds, plan_batch
from tempprop.planned_clip import PlannedClip, clip_cost
from tempprop.spec import LoRA, ModelIdentity, PromptKeyframe, RenderConfig, clip_key

CONFIG = RenderConfig()


def identify(model: str, loras: tuple[LoRA, ...]) -> ModelIdentity:
    digests = tuple(f"digest of {lora.path}" for lora in loras)
    return ModelIdentity(uri=model, pipeline_class="P", digest=f"of {model}", lora_digests=digests)


def plan(tmp_path: Path, rows: list[dict], *, done: Container[str] = (), **options: object) -> Plan:
    source = str(tmp_path / "m.parquet")
    named = [{"clip_id": f"c{i}", "prompt": "p", **row} for i, row in enumerate(rows)]
    write_manifest(named, source)
    options = {"identify": identify, "queue_path": tmp_path / "run" / "queue.parquet"} | options
    return plan_batch(source, CONFIG, committed_keys=done, **options)


def queued(found: Plan) -> list[PlannedClip]:
    """All pending clips, in the order in which a single worker gets them."""
    clips: list[PlannedClip] = []
    with open_queue(found) as queue:
        while clip := queue.take([(c.spec.model, c.spec.loras) for c in clips[-1:]], Counter()):
            clips.append(clip)
    return clips


def order(found: Plan) -> list[str]:
    return [clip.spec.clip_id for clip in queued(found)]


def test_the_plan_counts_what_is_left(tmp_path):
    rows = [{"num_frames": 4}, {"num_frames": 6, "model": "sdxl"}, {"num_frames": 8}]
    everything = plan(tmp_path, rows)
    assert (everything.total, everything.committed, everything.pending) == (3, 0, 3)
    assert everything.pending_frames == 18
    assert everything.pending_by_model == {"mini": 2, "sdxl": 1}
    clips = queued(everything)
    assert everything.pending_cost == sum(clip_cost(clip.spec) for clip in clips)
    rest = plan(tmp_path, rows, done={clips[0].key})
    assert (rest.total, rest.committed, rest.pending) == (3, 1, 2)
    assert clips[0].key not in {clip.key for clip in queued(rest)}


def test_the_queue_gives_back_what_was_planned(tmp_path):
    row = {
        "prompts": [{"frame": 8, "prompt": "a hen"}],
        "loras": [{"path": "look", "weight": 0.5}],
        "tags": {"a": "b"},
        "seed": 2**63 - 1,
    }
    (clip,) = queued(plan(tmp_path, [row]))
    assert clip.spec.prompts == (PromptKeyframe(frame=8, prompt="a hen"),)
    assert clip.spec.loras == (LoRA(path="look", weight=0.5),)
    assert clip.spec.seed == 2**63 - 1
    assert clip.identity == identify("mini", clip.spec.loras)
    assert clip.key == clip_key(clip.spec, CONFIG, clip.identity)


def test_higher_priority_comes_first(tmp_path):
    assert order(plan(tmp_path, [{"priority": p} for p in (0, -3, 7, None)])) == [
        "c2",
        "c0",
        "c3",
        "c1",
    ]


def test_within_a_priority_weights_and_sizes_stay_together_and_the_longest_starts(tmp_path):
    rows = [
        {"num_frames": 4},
        {"num_frames": 4, "model": "sdxl"},
        {"num_frames": 9},
        {"num_frames": 99, "width": 256},
        {"num_frames": 5, "model": "sdxl"},
        {"num_frames": 9},
    ]
    assert order(plan(tmp_path, rows)) == ["c2", "c5", "c0", "c3", "c4", "c1"]


def test_the_manifest_decides_between_equals_even_in_long_queues(tmp_path):
    assert order(plan(tmp_path, [{}] * 20_000)) == [f"c{i}" for i in range(20_000)]


def test_weights_are_identified_once(tmp_path):
    asked = []

    def counting(model: str, loras: tuple[LoRA, ...]) -> ModelIdentity:
        asked.append((model, loras))
        return identify(model, loras)

    lora = [{"path": "look"}]
    plan(tmp_path, [{}, {"model": "sdxl"}, {}, {"loras": lora}, {"loras": lora}], identify=counting)
    assert asked == [("mini", ()), ("sdxl", ()), ("mini", (LoRA(path="look"),))]


def test_a_picture_is_planned_by_its_content(tmp_path):
    files = [tmp_path / name for name in ("one.png", "copy.png", "other.png")]
    for file, color in zip(files, ("red", "red", "blue"), strict=True):
        Image.new("RGB", (8, 8), color).save(file)

    def planned(*pictures: Path | None) -> list[PlannedClip]:
        rows = [{"init_image": str(picture) if picture else None} for picture in pictures]
        return queued(plan(tmp_path, rows))

    first, second = planned(files[0], None)
    assert first.init_image_sha256 == hashlib.sha256(files[0].read_bytes()).hexdigest()
    assert first.spec.init_image == str(files[0])
    assert second.init_image_sha256 is None
    keys = [planned(file)[0].key for file in (*files, None)]
    assert keys[0] == keys[1] == first.key
    assert len(set(keys)) == 3
    Image.new("RGB", (8, 8), "green").save(files[0])
    assert planned(files[0])[0].key not in keys


def test_where_and_limit_choose(tmp_path):
    rows = [{"project": name} for name in ("a", "b", "a", "a")]
    found = plan(tmp_path, rows, where="project = 'a'", limit=2)
    assert (found.total, order(found)) == (2, ["c0", "c2"])
    with pytest.raises(InputError):
        plan(tmp_path, rows, where="projekt = 'a'")


def test_a_plan_in_which_all_is_done_is_an_empty_queue(tmp_path):
    key = queued(plan(tmp_path, [{}]))[0].key
    done = plan(tmp_path, [{}], done={key})
    assert (done.pending, order(done)) == (0, [])


def test_nothing_is_left_beside_the_queue(tmp_path):
    found = plan(tmp_path, [{}])
    order(found)
    assert [path.name for path in found.queue_path.parent.iterdir()] == ["queue.parquet"]


def test_twice_the_workers_take_half_the_time(tmp_path):
    found = plan(tmp_path, [{}, {}])
    one = estimate_seconds(found, seconds_per_cost=1e-6, workers=1)
    assert one == pytest.approx(2 * 16 * 12 * 128 * 128 * 1e-6)
    assert estimate_seconds(found, seconds_per_cost=1e-6, workers=2) == pytest.approx(one / 2)
