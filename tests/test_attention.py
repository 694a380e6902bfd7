import inspect
import itertools
import re
from dataclasses import replace

import pytest
import tiny_pipelines
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from diffusers.models.attention_dispatch import attention_backend
from diffusers.models.attention_processor import AttnProcessor, SlicedAttnProcessor
from hypothesis import given, settings
from hypothesis import strategies as st

from tempprop.attention import (
    SELF_ATTENTION,
    ImageTokens,
    attend_across,
    check_attention,
    cross_frame_attention,
    source_rows,
)
from tempprop.errors import ModelError
from tempprop.families import (
    FAMILIES,
    denoiser_of,
    family_of,
    guidance_arguments,
    latent_layout,
)

KINDS = [kind for family in SELF_ATTENTION for kind in tiny_pipelines.FAMILIES[family]]
"""Every kind of checkpoint of the families that claim cross-frame attention."""

BUILDERS = {
    kind: build for kinds in tiny_pipelines.FAMILIES.values() for kind, build in kinds.items()
}

PROMPTS = ["a fox", "a fox that goes on and on, over the hills", "a hen"]
"""Prompts of different lengths, which lie at different places beside their pictures."""

CLIPS = {
    "first": [(0,), (0,), (0,), (3,), (3,)],
    "first+prev": [(0, 0), (0, 0), (0, 1), (3, 3), (3, 3)],
}
"""A clip of three frames, and one of two frames after it."""

ROUNDING = 2e-5
"""By how much latents may differ, in units of their deviation, when only the rounding differs."""


def build(kind):
    return BUILDERS[kind]()


@pytest.fixture(scope="module", params=KINDS)
def pipeline(request):
    return build(request.param)


def noise_of(pipeline, *seeds):
    """Noise of a size whose image tokens Z-Image has to fill up, to a multiple of 32."""
    unit = max(8, pipeline.vae_scale_factor * family_of(pipeline).size_multiple)
    layout = latent_layout(pipeline, 5 * unit, 3 * unit)
    rows = [torch.randn(layout.shape, generator=torch.Generator().manual_seed(s)) for s in seeds]
    return torch.stack(rows), layout, {"height": 5 * unit, "width": 3 * unit}


def latents_of(pipeline, prompts, seeds, *, num_inference_steps=2, guidance_scale=3.0):
    """Call a pipeline as a user of diffusers would, and stop before the decoder."""
    family = family_of(pipeline)
    noise, layout, size = noise_of(pipeline, *seeds)
    options = dict(family.options)
    if "negative_prompt" in inspect.signature(pipeline.__call__).parameters:
        options["negative_prompt"] = ["ugly"] * len(prompts)
    return pipeline(
        prompt=list(prompts),
        latents=layout.pack(noise),
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        num_inference_steps=num_inference_steps,
        output_type="latent",
        **size,
        **guidance_arguments(pipeline, guidance_scale),
        **options,
    ).images


def joined_latents(pipeline, attention, sources, prompts, seeds, **options):
    with cross_frame_attention(pipeline, attention, sources):
        return latents_of(pipeline, prompts, seeds, **options)


def difference(one, other):
    """Give the largest difference, in units of the standard deviation."""
    return float((one - other).abs().max() / other.std())


def first_call(pipeline, prompts, seeds):
    """Give the arguments, by name, of the pipeline's first call of its denoiser."""
    denoiser, calls = denoiser_of(pipeline), []
    signature = inspect.signature(denoiser.forward)
    hook = denoiser.register_forward_pre_hook(
        lambda _, args, kwargs: calls.append(signature.bind(*args, **kwargs).arguments),
        with_kwargs=True,
    )
    latents_of(pipeline, prompts, seeds, num_inference_steps=1)
    hook.remove()
    return calls[0]


def influences(pipeline, call, name, attention, sources):
    """Tell how much of each row of an input reaches each row of the output.

    Returns:
        Shape `(rows, rows)`: for each row of the output, the share of the tokens or pixels of each
        row of the input whose gradient is not exactly 0.
    """
    leaves = [row.detach().clone().requires_grad_() for row in call[name]]
    rows_given = leaves if isinstance(call[name], list) else torch.stack(leaves)
    with cross_frame_attention(pipeline, attention, sources):
        rows = denoiser_of(pipeline)(**call | {name: rows_given})[0]
    matrix = [
        torch.autograd.grad(row.square().sum(), leaves, retain_graph=True, allow_unused=True)
        for row in rows
    ]
    shares = [
        [0.0 if grad is None else float((grad != 0).float().mean()) for grad in row]
        for row in matrix
    ]
    return torch.tensor(shares)


def seen(sources, batch):
    """Give the rows that each row of a batch may see, as a matrix of truth values."""
    matrix = torch.eye(batch, dtype=torch.bool)
    for row in range(batch):
        part = row - row % len(sources)
        for source in sources[row % len(sources)]:
            matrix[row, part + source] = True
    return matrix


@pytest.mark.parametrize("attention", CLIPS)
def test_every_row_sees_whole_pictures_of_its_sources_and_of_nobody_else(pipeline, attention):
    """Neither clips nor the two parts of guidance mix."""
    sources = CLIPS[attention]
    call = first_call(pipeline, [*PROMPTS, *PROMPTS[:2]], range(5))
    images = next(iter(call))
    expected = seen(sources, len(call[images]))
    assert torch.equal(influences(pipeline, call, images, attention, sources), expected.float())


@pytest.mark.parametrize(
    ("kind", "other_layers"),
    [
        ("stable-diffusion-3", None),
        ("flux-schnell", "transformer_blocks"),
        ("flux-schnell", "single_transformer_blocks"),
        ("flux-2-klein", "transformer_blocks"),
        ("flux-2-klein", "single_transformer_blocks"),
        ("z-image", "layers"),
        ("z-image", "noise_refiner"),
        ("qwen-image", None),
        ("lumina-2", "layers"),
        ("lumina-2", "noise_refiner"),
        ("cogview-4", None),
    ],
)
def test_one_layer_sees_other_pictures_whole_and_no_other_text(kind, other_layers):
    """One alone, because in the next one, what others see of a picture has seen its text."""
    pipeline, sources = build(kind), CLIPS["first"][:3]
    if other_layers is not None:
        setattr(denoiser_of(pipeline), other_layers, torch.nn.ModuleList())
    call = first_call(pipeline, PROMPTS, range(3))
    images, rows = next(iter(call)), len(next(iter(call.values())))
    shares = influences(pipeline, call, images, "first", sources)
    assert torch.equal(shares, seen(sources, rows).float())
    text = next(name for name in ("encoder_hidden_states", "cap_feats") if name in call)
    shares = influences(pipeline, call, text, "first", sources)
    assert not shares[~torch.eye(rows, dtype=torch.bool)].any()


def test_later_frames_change_and_frame_zero_stays(pipeline):
    plain = latents_of(pipeline, PROMPTS, range(3))
    first, both = (
        joined_latents(pipeline, attention, CLIPS[attention][:3], PROMPTS, range(3))
        for attention in ("first", "first+prev")
    )
    for joined in (first, both):
        assert difference(joined[0], plain[0]) < ROUNDING
        assert all(difference(joined[row], plain[row]) > 10 * ROUNDING for row in (1, 2))
    assert difference(first[2], both[2]) > 10 * ROUNDING
    assert torch.equal(latents_of(pipeline, PROMPTS, range(3)), plain)


def test_frames_that_only_join_themselves_stay_as_they_are(pipeline):
    plain = latents_of(pipeline, PROMPTS, range(3))
    alone = [(row, row) for row in range(3)]
    joined = joined_latents(pipeline, "first+prev", alone, PROMPTS, range(3))
    assert difference(joined, plain) < ROUNDING


@pytest.mark.parametrize("kind", ["stable-diffusion", "flux-schnell"])
@pytest.mark.parametrize(("attention", "sources"), [("none", CLIPS["first"][:3]), ("first", [])])
def test_without_attention_or_rows_nothing_is_done(kind, attention, sources):
    pipeline = build(kind)
    plain = latents_of(pipeline, PROMPTS, range(3))
    assert torch.equal(joined_latents(pipeline, attention, sources, PROMPTS, range(3)), plain)


def test_a_later_chunk_with_frame_zero_repeats_the_first_one(pipeline):
    """Frame 0 rides along, and with `first` frame 2 comes out as it does beside all the others."""
    # The transformers give a batch the length of its longest prompt.
    prompts = ["a fox"] * 3
    whole = joined_latents(pipeline, "first", CLIPS["first"][:3], prompts, range(3))
    later = joined_latents(pipeline, "first", [(0,), (0,)], prompts[:2], (0, 2))
    assert difference(later[1], whole[2]) < ROUNDING


def state_of(pipeline):
    """Give what a hook could leave behind in the modules of a denoiser."""
    return {
        name: (vars(module).get("forward"), getattr(module, "processor", None))
        for name, module in denoiser_of(pipeline).named_modules()
    }


class StopError(Exception):
    pass


def stop(*_):
    raise StopError


@pytest.mark.parametrize("kind", ["stable-diffusion", "flux-schnell"])
def test_an_error_in_the_midst_of_a_layer_leaves_no_trace(kind):
    pipeline = build(kind)
    plain, before = latents_of(pipeline, PROMPTS, range(3)), state_of(pipeline)
    (output,) = (
        module.to_out[0]
        for name, module in denoiser_of(pipeline).named_modules()
        if re.search(r"(^|mid_block.*)transformer_blocks\.0\.attn1?$", name)
    )
    hook = output.register_forward_hook(stop)
    with pytest.raises(StopError):
        joined_latents(pipeline, "first", CLIPS["first"][:3], PROMPTS, range(3))
    hook.remove()
    after = state_of(pipeline)
    assert all(after[name][part] is before[name][part] for name in before for part in (0, 1))
    assert torch.equal(latents_of(pipeline, PROMPTS, range(3)), plain)


@pytest.mark.parametrize("kind", ["stable-diffusion", "flux-schnell"])
def test_modules_with_a_forward_of_their_own_get_it_back(kind):
    """As when diffusers offloads modules from the GPU."""
    pipeline = build(kind)
    expected = joined_latents(pipeline, "first", CLIPS["first"][:3], PROMPTS, range(3))
    for module in list(denoiser_of(pipeline).modules()):
        add_hook_to_module(module, ModelHook())
    before = state_of(pipeline)
    joined = joined_latents(pipeline, "first", CLIPS["first"][:3], PROMPTS, range(3))
    assert torch.equal(joined, expected)
    after = state_of(pipeline)
    assert all(after[name][0] is before[name][0] is not None for name in before)


@st.composite
def batches(draw):
    """Draw where the image is in the sequences of a batch, and which rows join which."""
    rows, count = draw(st.integers(1, 4)), st.integers(0, 3)
    before, picture, after = draw(count), draw(st.integers(1, 3)), draw(count)
    shifts = draw(st.none() | st.lists(count, min_size=rows, max_size=rows).map(torch.tensor))
    row = st.integers(0, rows - 1)
    sources = draw(st.lists(st.tuples(row, row), min_size=rows, max_size=rows))
    return before + picture + after, ImageTokens(before, before + picture, shifts), sources


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64)


MASKS = {
    "none": lambda rows, tokens: None,
    "of the tokens of a row": lambda rows, tokens: normal(rows, 1, 1, tokens),
    "of a row and a head": lambda rows, tokens: normal(rows, 2, tokens, tokens),
    "of all rows": lambda rows, tokens: normal(tokens, tokens),
    "of queries": lambda rows, tokens: normal(rows, 1, tokens, 1),
    "of what is visible": lambda rows, tokens: (normal(rows, 1, 1, tokens) > -1).index_fill(
        -1, torch.tensor(0), True
    ),
}


def places_of(image, row, tokens):
    shift = 0 if image.shifts is None else int(image.shifts[row])
    return [(place + shift) % tokens for place in range(image.start, image.stop)]


def with_the_picture_of(states, row, source, image):
    """Give one row's `(tokens, dim)` of a batch with the image of another row in its place."""
    sequence, tokens = states[row].clone(), states.shape[1]
    sequence[places_of(image, row, tokens)] = states[source][places_of(image, source, tokens)]
    return sequence


def attended_by_hand(query, key, value, bias, image, sources, row, place):
    """Attend with one query `(dim,)` of a row, to one head's keys `(rows, tokens, dim)`."""
    joining = sources[row] if place in places_of(image, row, key.shape[1]) else ()
    keys, values = (
        torch.cat([with_the_picture_of(states, row, source, image) for source in (row, *joining)])
        for states in (key, value)
    )
    scores = keys @ query / len(query) ** 0.5 + bias.repeat(1 + len(joining))
    weights = torch.exp(scores - scores.max())
    return (weights / weights.sum()) @ values


@settings(deadline=None)
@given(batches(), st.sampled_from(list(MASKS)), st.sampled_from([1, 2]), st.integers(0, 99))
def test_attention_is_the_softmax_over_the_joined_sequences(batch, masked, key_heads, seed):
    """In float64 and query by query, also where several heads of queries share their keys."""
    torch.manual_seed(seed)
    tokens, image, sources = batch
    rows = len(sources)
    query = normal(rows, 2, tokens, 4)
    key, value = normal(2, rows, key_heads, tokens, 4)
    mask = MASKS[masked](rows, tokens)
    attended = attend_across(
        *(query, key, value, mask),
        image=image,
        sources=torch.tensor(sources),
        enable_gqa=key_heads == 1,
    )
    bias = torch.zeros(1) if mask is None else mask.log() if mask.dtype == torch.bool else mask
    bias = bias.expand(rows, 2, tokens, tokens)
    for row, head, place in itertools.product(range(rows), range(2), range(tokens)):
        expected = attended_by_hand(
            query[row, head, place],
            key[:, head % key_heads],
            value[:, head % key_heads],
            bias[row, head, place],
            *(image, sources, row, place),
        )
        assert torch.allclose(attended[row, head, place], expected)


def test_causal_attention_is_refused():
    states = torch.zeros(1, 1, 2, 4)
    sources = torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(ModelError, match=r"causal.*Set attention: none"):
        attend_across(
            *(states, states, states), image=ImageTokens(0, 2), sources=sources, is_causal=True
        )


def softmax_by_hand(query, keys, values):
    """Shapes `(heads, tokens, dim)`."""
    scores = query @ keys.mT / query.shape[-1] ** 0.5
    return scores.softmax(-1) @ values


def linear_by_hand(query, keys, values):
    """Xie et al., "SANA", 2024, eq. 1: ReLU in place of the softmax."""
    weights = query.relu() @ keys.relu().mT
    return weights @ values / (weights.sum(-1, keepdim=True) + 1e-15)


@pytest.mark.parametrize(
    ("kind", "attend"),
    [
        ("stable-diffusion", softmax_by_hand),
        ("pixart-sigma", softmax_by_hand),
        ("sana", linear_by_hand),
    ],
)
def test_a_layer_of_the_image_alone_computes_what_the_formula_says(kind, attend):
    """A real module with its weights, by hand in float64."""
    pipeline, sources, seen_states = build(kind), CLIPS["first+prev"][:3], []
    module = next(
        module for name, module in denoiser_of(pipeline).named_modules() if name.endswith("attn1")
    )
    hook = module.register_forward_hook(
        lambda _, args, output: seen_states.append((args[0].double(), output))
    )
    joined_latents(pipeline, "first+prev", sources, PROMPTS, range(3), num_inference_steps=1)
    hook.remove()
    states, output = seen_states[0]
    module.double()

    def heads(linear, tokens):
        return linear(tokens).unflatten(-1, (module.heads, -1)).transpose(0, 1)

    for row, joining in enumerate(sources):
        joined = torch.cat([states[row], *(states[source] for source in joining)])
        attended = attend(
            heads(module.to_q, states[row]), heads(module.to_k, joined), heads(module.to_v, joined)
        )
        expected = module.to_out[0](attended.transpose(0, 1).flatten(1))
        assert torch.allclose(output[row].double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "kind", ["stable-diffusion-3", "flux-schnell", "flux-2-klein", "qwen-image", "cogview-4"]
)
def test_in_a_layer_text_tokens_go_on_to_see_their_own_row_alone(kind):
    pipeline, outputs = build(kind), []
    layer = re.compile(r"transformer_blocks\.0\.attn1?")
    (module,) = (
        module for name, module in denoiser_of(pipeline).named_modules() if layer.fullmatch(name)
    )
    hook = module.register_forward_hook(lambda *args: outputs.append(args[-1]))
    latents_of(pipeline, PROMPTS, range(3), num_inference_steps=1)
    calls = len(outputs)
    sources = CLIPS["first"][:3]
    joined_latents(pipeline, "first", sources, PROMPTS, range(3), num_inference_steps=1)
    hook.remove()
    (image, text), (joined_image, joined_text) = outputs[0], outputs[calls]
    assert difference(joined_text, text) < ROUNDING
    assert difference(joined_image[1], image[1]) > 10 * ROUNDING


def test_the_parts_of_guidance_have_rows_of_their_own():
    assert source_rows([(0,), (0,), (2,)], 3).tolist() == [[0], [0], [2]]
    assert source_rows([(0, 0), (0, 0), (0, 1)], 6).tolist() == [
        *([0, 0], [0, 0], [0, 1]),
        *([3, 3], [3, 3], [3, 4]),
    ]
    with pytest.raises(ValueError, match="a batch of 4 is no multiple of 3 frames"):
        source_rows([(0,), (0,), (2,)], 4)


@pytest.mark.parametrize(
    ("attention", "sources", "message"),
    [
        ("first", [(0,), (0, 0)], r"row 1 is joined by \(0, 0\), which are not the 1 rows"),
        ("first+prev", [(0,)], r"row 0 is joined by \(0,\), which are not the 2 rows"),
        ("first", [(0,), (2,)], r"row 1 is joined by \(2,\), of 2 rows"),
        ("first", [(-1,)], r"row 0 is joined by \(-1,\), of 1 rows"),
    ],
)
def test_rows_that_do_not_fit_are_refused(attention, sources, message):
    with (
        pytest.raises(ValueError, match=message),
        cross_frame_attention(build("stable-diffusion"), attention, sources),
    ):
        pass


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
def test_another_attention_backend_is_an_error_and_not_silence():
    pipeline = build("flux-schnell")
    # Choosing one for a network chooses it for the whole process.
    with attention_backend("native"):
        for module in denoiser_of(pipeline).modules():
            if hasattr(module, "set_attention_backend"):
                module.set_attention_backend("flex")
        with pytest.raises(ModelError, match=r"0 times instead of once.*native attention backend"):
            joined_latents(pipeline, "first", CLIPS["first"][:3], PROMPTS, range(3))


def test_fused_projections_are_an_error_where_they_leave_no_place_for_other_keys():
    pipeline = build("stable-diffusion")
    pipeline.unet.fuse_qkv_projections()
    with pytest.raises(ModelError, match=r"attn1 computes .* in one.*unfuse_qkv_projections"):
        joined_latents(pipeline, "first", CLIPS["first"][:3], PROMPTS, range(3))


@pytest.mark.parametrize("processor", [AttnProcessor(), SlicedAttnProcessor(slice_size=1)])
def test_a_layer_of_the_image_alone_takes_any_processor(processor):
    pipeline, sources = build("stable-diffusion"), CLIPS["first"][:3]
    expected = joined_latents(pipeline, "first", sources, PROMPTS, range(3))
    pipeline.unet.set_attn_processor(processor)
    joined = joined_latents(pipeline, "first", sources, PROMPTS, range(3))
    assert difference(joined, expected) < ROUNDING


def test_a_network_without_self_attention_is_refused():
    pipeline = build("flux-schnell")
    for layers in ("transformer_blocks", "single_transformer_blocks"):
        setattr(pipeline.transformer, layers, torch.nn.ModuleList())
    with (
        pytest.raises(ModelError, match=r"FluxTransformer2DModel .* has no self-attention"),
        cross_frame_attention(pipeline, "first", [(0,)]),
    ):
        pass


def test_a_family_without_cross_frame_attention_is_refused_by_name():
    family = replace(FAMILIES["FluxPipeline"], pipeline_class="OtherPipeline")
    check_attention(family, "none")
    with pytest.raises(ModelError, match=r"OtherPipeline has no .* use one of: StableDiffusionPip"):
        check_attention(family, "first")


def listed(pipeline, name):
    layers = SELF_ATTENTION[family_of(pipeline).pipeline_class]
    return any(re.fullmatch(layer.modules, name) for layer in layers)


def attention_modules(denoiser):
    return {name for name, module in denoiser.named_modules() if hasattr(module, "get_processor")}


def test_the_table_leaves_out_only_layers_that_see_no_other_picture(pipeline):
    """What is left is attention to the text, and of the text."""
    left_out = {
        name for name in attention_modules(denoiser_of(pipeline)) if not listed(pipeline, name)
    }
    assert all(re.fullmatch(r".*\.attn2|context_refiner\..*", name) for name in left_out)


def test_the_second_attention_of_stable_diffusion_3_5_sees_other_frames_too():
    pipeline = build("stable-diffusion-3")
    config = pipeline.transformer.config
    torch.manual_seed(0)
    transformer = type(pipeline.transformer).from_config(config, dual_attention_layers=(0,)).eval()
    pipeline.transformer = transformer
    assert all(listed(pipeline, name) for name in attention_modules(transformer))
    # Only the second attention is left to carry anything over.
    torch.nn.init.zeros_(transformer.transformer_blocks[0].attn.to_out[0].weight)
    call = first_call(pipeline, PROMPTS, range(3))
    shares = influences(pipeline, call, "hidden_states", "first", CLIPS["first"][:3])
    assert torch.equal(shares, seen(CLIPS["first"][:3], 6).float())
