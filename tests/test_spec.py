import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tempprop.spec import (
    NOT_IN_KEY,
    ClipSpec,
    EncoderConfig,
    LoRA,
    ModelIdentity,
    Motion,
    PromptKeyframe,
    RenderConfig,
    SchedulerConfig,
    clip_key,
    seed_from_clip_id,
)

SPEC = ClipSpec(clip_id="a", prompt="a fox", seed=1, model="mini")
CONFIG = RenderConfig()
MODEL = ModelIdentity(uri="mini", pipeline_class="P", digest="0" * 64)

CHANGES = {
    "negative_prompt": "rain",
    "num_frames": 17,
    "fps": 9.0,
    "width": 136,
    "height": 136,
    "num_inference_steps": 13,
    "guidance_scale": 3.0,
    "motion": Motion(zoom=1.02),
    "loop": True,
    "noise_correlation": 0.5,
    "propagation_strength": 0.5,
    "propagation_end": 0.5,
    "propagation_keeps": "noise",
    "propagation_low_pass": 1.0,
    "anchor_weight": 0.4,
    "keyframe_interval": 50,
    "color_coherence": 0.5,
    "attention": "first",
    "motion_floor": 0.1,
    "clip_id": "b",
    "prompt": "a hen",
    "prompts": (PromptKeyframe(frame=8, prompt="a cow"),),
    "prompt_interpolation": "slerp",
    "seed": 2,
}


def key(spec: ClipSpec = SPEC, config: RenderConfig = CONFIG, model: ModelIdentity = MODEL) -> str:
    return clip_key(spec, config, model)


def test_every_field_of_a_clip_is_thought_of():
    assert set(CHANGES) | NOT_IN_KEY == set(ClipSpec.model_fields)


@pytest.mark.parametrize("field", CHANGES)
def test_what_shapes_pixels_is_in_the_key(field):
    assert key(SPEC.model_copy(update={field: CHANGES[field]})) != key()


@pytest.mark.parametrize(
    ("field", "value"),
    [("model", "other/path"), ("priority", 9), ("project", "x"), ("tags", {"a": "b"})],
)
def test_what_leaves_pixels_alone_is_not(field, value):
    assert key(SPEC.model_copy(update={field: value})) == key()


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float16"},
        {"scheduler": SchedulerConfig(name="DDIMScheduler")},
        {"encoder": EncoderConfig(crf=20)},
    ],
)
def test_the_encoder_the_scheduler_and_the_precision_are_in_the_key(change):
    assert key(config=CONFIG.model_copy(update=change)) != key()


def test_eta_is_in_the_key():
    def with_eta(**eta: float) -> str:
        scheduler = SchedulerConfig(name="TCDScheduler", **eta)
        return key(config=CONFIG.model_copy(update={"scheduler": scheduler}))

    assert len({with_eta(), with_eta(eta=0.0), with_eta(eta=0.3)}) == 3


def test_batch_sizes_and_workers_are_not():
    assert key(config=CONFIG.model_copy(update={"frames_per_batch": 3})) == key()


def test_weights_count_by_digest_and_not_by_path():
    assert key(model=MODEL.model_copy(update={"digest": "1" * 64})) != key()
    assert key(model=MODEL.model_copy(update={"uri": "elsewhere"})) == key()


def test_loras_count_by_digest_weight_and_order():
    def with_loras(*loras: tuple[str, str, float]) -> str:
        spec = SPEC.model_copy(
            update={"loras": tuple(LoRA(path=path, weight=weight) for path, _, weight in loras)}
        )
        digests = tuple(digest for _, digest, _ in loras)
        return key(spec, model=MODEL.model_copy(update={"lora_digests": digests}))

    both = with_loras(("a", "1", 1.0), ("b", "2", 1.0))
    assert both == with_loras(("moved/a", "1", 1.0), ("b", "2", 1.0))
    others = {
        with_loras(("a", "1", 0.5), ("b", "2", 1.0)),
        with_loras(("b", "2", 1.0), ("a", "1", 1.0)),
        with_loras(("a", "1", 1.0)),
        key(),
    }
    assert both not in others
    assert len(others) == 4


def test_a_picture_counts_by_digest_and_not_by_path():
    spec = SPEC.model_copy(update={"init_image": "a.png"})
    moved = SPEC.model_copy(update={"init_image": "moved/a.png"})
    digests = [None, "1" * 64, "2" * 64]
    assert len({clip_key(spec, CONFIG, MODEL, digest) for digest in digests}) == 3
    assert clip_key(spec, CONFIG, MODEL, "1" * 64) == clip_key(moved, CONFIG, MODEL, "1" * 64)


def test_a_motion_has_one_key_however_it_is_written():
    def with_motion(**values: object) -> str:
        return key(SPEC.model_copy(update={"motion": Motion.model_validate(values)}))

    assert with_motion(zoom=1.02) == with_motion(zoom="0:(1.02), 9: (1.020)", angle=0)
    assert with_motion(zoom=1.02) != with_motion(zoom="0:(1.02), 9:(1.03)")
    assert with_motion(zoom="0:(1)", translation_x=-0.0) == key()


def test_a_key_is_a_sha256():
    assert len(key()) == 64
    assert int(key(), 16) >= 0


@given(st.text())
def test_seeds_from_names_are_in_range_and_repeat(name):
    assert 0 <= seed_from_clip_id(name) < 2**63
    assert seed_from_clip_id(name) == seed_from_clip_id(name)


def test_seeds_of_different_names_differ():
    assert len({seed_from_clip_id(f"clip{i}") for i in range(1000)}) == 1000


@pytest.mark.parametrize(
    "change",
    [
        {"fps": float("nan")},
        {"num_frames": 8.0},
        {"width": "128"},
        {"width": 129},
        {"unknown": 1},
        {"clip_id": "a\n"},
        {"prompt": ""},
        {"init_image": ""},
        {"prompts": ({"frame": -1, "prompt": "a"},)},
        {"prompts": ({"frame": 3, "prompt": "a"}, {"frame": 3, "prompt": "b"})},
        {"seed": 2**63},
        {"motion": {"zoom": "0:(sin(t))"}},
        {"motion": 1.02},
    ],
)
def test_values_are_not_converted_and_not_out_of_range(change):
    with pytest.raises(ValidationError):
        ClipSpec.model_validate(SPEC.model_dump() | change)


def test_values_cannot_be_changed():
    with pytest.raises(ValidationError):
        SPEC.seed = 2


@pytest.mark.parametrize("motion", [Motion(), Motion(zoom=1.02, angle="0:(0), 9:(-3.5)")])
def test_a_spec_survives_json_and_python(motion):
    spec = SPEC.model_copy(update={"motion": motion})
    assert ClipSpec.model_validate_json(spec.model_dump_json()) == spec
    assert ClipSpec.model_validate(spec.model_dump()) == spec
