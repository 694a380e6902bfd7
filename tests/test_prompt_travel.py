import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rendering import clip_spec, loaded
from tiny_pipelines import cogview_4, qwen_image, stable_diffusion_xl

from tempprop.errors import ModelError
from tempprop.families import family_of
from tempprop.prompt_travel import between, frame_embeddings, mix, mix_vectors
from tempprop.prompts import encode_prompt, prompt_encoder
from tempprop.spec import PromptKeyframe, prompt_keyframes

TRAVEL = (PromptKeyframe(frame=4, prompt="a cat"), PromptKeyframe(frame=8, prompt="a fox"))

shares = st.floats(0, 1)
seeds = st.integers(0, 1000)


@pytest.fixture(scope="module")
def model():
    return loaded(stable_diffusion_xl())


def travelled(model, spec, frame, encode=None):
    encode = encode or prompt_encoder(model)
    return frame_embeddings(family_of(model.pipeline), spec, frame, encode, guided=True)


def unit_vectors(seed, *shape):
    vectors = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return vectors / vectors.norm(dim=-1, keepdim=True)


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name])


def test_the_prompt_is_that_of_frame_zero_unless_there_is_another():
    start = PromptKeyframe(frame=0, prompt="a hen")
    assert prompt_keyframes(clip_spec(prompt="a hen")) == (start,)
    assert prompt_keyframes(clip_spec(prompt="a hen", prompts=TRAVEL)) == (start, *TRAVEL)
    assert prompt_keyframes(clip_spec(prompt="a dog", prompts=(start, *TRAVEL))) == (start, *TRAVEL)


@given(st.lists(st.integers(1, 50), unique=True, max_size=5), st.integers(0, 60))
def test_a_frame_is_on_its_way_between_the_keyframes_around_it(frames, frame):
    points = [PromptKeyframe(frame=at, prompt=str(at)) for at in (0, *sorted(frames))]
    before, after, share = between(points, frame)
    assert 0 <= share < 1
    assert before.frame <= frame
    if frame >= points[-1].frame:
        assert (before, after, share) == (points[-1], points[-1], 0)
    else:
        assert frame < after.frame
        assert math.isclose(before.frame + share * (after.frame - before.frame), frame)


def test_at_keyframes_the_embeddings_are_those_of_the_prompts(model):
    spec = clip_spec(prompt="a hen", prompts=TRAVEL, negative_prompt="ugly")
    for frame, prompt in ((0, "a hen"), (4, "a cat"), (8, "a fox"), (11, "a fox")):
        assert_same(travelled(model, spec, frame), encode_prompt(model, prompt, "ugly", True))


def test_linear_halfway_is_the_mean(model):
    spec = clip_spec(prompt="a hen", prompts=TRAVEL)
    hen, cat = (encode_prompt(model, prompt, "", True) for prompt in ("a hen", "a cat"))
    halfway = travelled(model, spec, 2)
    for name, row in halfway.items():
        assert torch.allclose(row, (hen[name] + cat[name]) / 2, atol=1e-6)
    assert not torch.equal(halfway["pooled_prompt_embeds"], hen["pooled_prompt_embeds"])


def test_a_clip_with_one_prompt_does_not_move(model):
    spec = clip_spec(prompt="a fox", prompts=(PromptKeyframe(frame=4, prompt="a fox"),))
    assert_same(travelled(model, spec, 2), encode_prompt(model, "a fox", "", True))


def test_every_prompt_of_a_travel_is_encoded_once(model):
    runs = []
    hook = model.pipeline.text_encoder.register_forward_hook(lambda *_: runs.append(1))
    encode_prompt(model, "a fox", "", True)
    runs_of_one, there_and_back = len(runs), clip_spec(prompt="a fox", prompts=TRAVEL)
    encode = prompt_encoder(model)
    runs.clear()
    for frame in range(10):
        travelled(model, there_and_back, frame, encode)
    hook.remove()
    assert len(runs) == 2 * runs_of_one


@given(seeds, shares)
def test_slerp_keeps_the_norm_of_vectors_of_equal_norms(seed, share):
    one, other = 3 * unit_vectors(seed, 2, 5, 16)
    norms = mix_vectors(one, other, share, "slerp").norm(dim=-1)
    assert torch.allclose(norms, torch.full((5,), 3.0), atol=1e-4)


@given(seeds, shares)
def test_slerp_goes_at_constant_speed(seed, share):
    one, other = unit_vectors(seed, 2, 16)
    angle = torch.arccos(one @ other)
    mixed = mix_vectors(one, other, share, "slerp")
    assert torch.allclose(mixed @ one, torch.cos(share * angle), atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 1.00001, -1.0, 0.0])
def test_vectors_without_an_arc_are_mixed_linearly(scale):
    one = unit_vectors(0, 4, 16)
    mixed = mix_vectors(one, scale * one, 0.25, "slerp")
    assert torch.allclose(mixed, (0.75 + 0.25 * scale) * one, atol=1e-5)


@pytest.mark.parametrize("interpolation", ["linear", "slerp"])
def test_mixtures_begin_and_end_with_the_vectors(interpolation):
    one, other = unit_vectors(1, 2, 4, 16).to(torch.bfloat16)
    assert torch.equal(mix_vectors(one, other, 0.0, interpolation), one)
    assert torch.allclose(mix_vectors(one, other, 1.0, interpolation), other, atol=1e-2)
    assert mix_vectors(one, other, 0.5, interpolation).dtype == torch.bfloat16


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_where_one_prompt_is_longer_the_nearer_one_decides(share):
    model = loaded(qwen_image())
    fox, cat = (encode_prompt(model, prompt, "", False) for prompt in ("a fox", "a sleeping cat"))
    shorter, nearer = len(fox["prompt_embeds"]), fox if share < 0.5 else cat
    mixed = mix(fox, cat, share, "linear")
    expected = torch.lerp(fox["prompt_embeds"], cat["prompt_embeds"][:shorter], share)
    assert torch.allclose(mixed["prompt_embeds"][:shorter], expected)
    assert torch.equal(mixed["prompt_embeds"][shorter:], nearer["prompt_embeds"][shorter:])
    assert torch.equal(mixed["prompt_embeds_mask"], nearer["prompt_embeds_mask"])


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_padding_is_not_mixed_into_a_prompt(share):
    one, other = {}, {}
    for prompt, tokens in ((one, [1.0, 2.0, 9.0]), (other, [3.0, 9.0, 9.0])):
        prompt["prompt_embeds"] = torch.tensor(tokens)[:, None]
        prompt["prompt_attention_mask"] = prompt["prompt_embeds"][:, 0] < 9
    nearer = one if share < 0.5 else other
    mixed = mix(one, other, share, "linear")
    assert mixed["prompt_embeds"][0] == 1 + share * 2
    assert torch.equal(mixed["prompt_embeds"][1:], nearer["prompt_embeds"][1:])
    assert torch.equal(mixed["prompt_attention_mask"], nearer["prompt_attention_mask"])


def test_prompts_whose_padding_cannot_be_told_are_not_mixed():
    model = loaded(cogview_4())
    spec = clip_spec(prompt="a", prompts=(PromptKeyframe(frame=1, prompt="so long " * 4),))
    with pytest.raises(ModelError, match=r"frame 0 to that of frame 1: they take 16 and 48 tokens"):
        travelled(model, spec, 0)
