"""Cross-frame attention: a frame's picture also attends to frame 0, and to the frame before it.

In every layer of the denoiser in which the picture attends to itself, the keys and values of other
frames' pictures join the frame's own, which carries identity at the level of features
(Text2Video-Zero, Khachatryan et al., 2023; Tune-A-Video, Wu et al., 2023). Nothing is trained.

**Frames are rows of the batch**, and a map says for each row which rows join it. Guidance that puts
negative and positive prompts into one batch makes it k times as long; the map then repeats, moved
on by a batch of frames, so that the parts do not mix. Nor do clips, which the map does not connect.

**Text stays where it is.** Where text and image are one sequence, only the queries of image tokens
see other frames, and of these only the image tokens. Where n frames join it, an image query sees
its own sequence 1 + n times, and in all but the first the image is another frame's. That the text
is repeated keeps its weight against the image what it was, and needs no mask. In the transformers
whose image positions follow the text (Z-Image, Lumina 2), a frame whose prompt is longer or shorter
sees the others at a distance.

**Frame 0 is left alone**, though it goes the same way as all the others: its first and its previous
frame are itself, and a softmax over keys that all stand there 1 + n times is the softmax over them
once. What changes is the rounding.

**Nothing is done in silence.** Modules that read the image alone are given a longer sequence for
their keys and values, which every attention processor honors. Modules in which text and image are
one sequence have no such place: while they run, PyTorch's attention function is intercepted, where
keys already carry their positions, and a module that did not call it is an error.

**What is exact when a clip is rendered in chunks.** Nothing changes frame 0, so it can ride along
in a later chunk as one more row, and takes the very way that it took in the first chunk: `first` is
exact. With `first+prev`, the frame before the chunk rides along too, but the frame before that one
does not. It attends to less than it did in its own chunk, and what it hands on is approximate; a
clip in one chunk is exact.
"""

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from tempprop.errors import ModelError
from tempprop.families import Family, denoiser_of, family_of
from tempprop.replacement import replaced
from tempprop.spec import Attention

NUM_SOURCES: Mapping[Attention, int] = MappingProxyType({"none": 0, "first": 1, "first+prev": 2})
"""How many frames join each frame."""

Call = Mapping[str, Any]
"""The arguments of a call of a denoiser, by name."""


@dataclass(frozen=True)
class ImageTokens:
    """Where the image lies in the sequences of a batch.

    Attributes:
        start: Place of its first token.
        stop: Place after its last token.
        shifts: How far each row's sequence has to be rolled to the left for that to be true, shape
            `(batch,)`; None where all rows are alike.
    """

    start: int
    stop: int
    shifts: torch.Tensor | None = None


def _everywhere(call: Call, tokens: int) -> ImageTokens:
    return ImageTokens(0, tokens)


def _before_text(call: Call, tokens: int) -> ImageTokens:
    return ImageTokens(0, tokens - call["encoder_hidden_states"].shape[1])


def _after_text(call: Call, tokens: int) -> ImageTokens:
    return ImageTokens(call["encoder_hidden_states"].shape[1], tokens)


def _before_padding(call: Call, tokens: int) -> ImageTokens:
    """Z-Image fills the image up to a multiple of 32 tokens, and puts the text after it."""
    height, width = call["x"][0].shape[-2:]
    return ImageTokens(0, (height // call["patch_size"]) * (width // call["patch_size"]))


def _after_text_of_row(call: Call, tokens: int) -> ImageTokens:
    """Lumina 2 puts each image right after its text, and fills the shorter sequences up."""
    text = call["encoder_attention_mask"].sum(dim=1)
    return ImageTokens(0, tokens - int(text.max()), shifts=text)


@dataclass(frozen=True)
class SelfAttention:
    """Layers of a denoiser in which the picture attends to itself.

    Attributes:
        modules: Pattern of the names of the attention modules in the denoiser.
        image_tokens: Finds the image, given the denoiser's call and the length of the sequence.
            None for modules that read the image alone, and can be given another sequence for the
            keys and values.
    """

    modules: str
    image_tokens: Callable[[Call, int], ImageTokens] | None = None


_IMAGE_ALONE = (SelfAttention(r".*\.attn1"),)

SELF_ATTENTION: Mapping[str, tuple[SelfAttention, ...]] = MappingProxyType(
    {
        "StableDiffusionPipeline": _IMAGE_ALONE,
        "StableDiffusionXLPipeline": _IMAGE_ALONE,
        "LatentConsistencyModelPipeline": _IMAGE_ALONE,
        "KolorsPipeline": _IMAGE_ALONE,
        "StableDiffusion3Pipeline": (
            SelfAttention(r"transformer_blocks\.\d+\.attn", _before_text),
            # Stable Diffusion 3.5 medium has them in some of its blocks.
            SelfAttention(r"transformer_blocks\.\d+\.attn2", _everywhere),
        ),
        "FluxPipeline": (SelfAttention(r"(single_)?transformer_blocks\.\d+\.attn", _after_text),),
        "Flux2KleinPipeline": (
            SelfAttention(r"(single_)?transformer_blocks\.\d+\.attn", _after_text),
        ),
        "ZImagePipeline": (
            SelfAttention(r"(layers|noise_refiner)\.\d+\.attention", _before_padding),
        ),
        "QwenImagePipeline": (SelfAttention(r"transformer_blocks\.\d+\.attn", _after_text),),
        # Linear attention adds up what its keys and values say, however many there are.
        "SanaPipeline": _IMAGE_ALONE,
        "PixArtSigmaPipeline": _IMAGE_ALONE,
        "Lumina2Pipeline": (
            SelfAttention(r"layers\.\d+\.attn", _after_text_of_row),
            SelfAttention(r"noise_refiner\.\d+\.attn", _everywhere),
        ),
        "CogView4Pipeline": (SelfAttention(r"transformer_blocks\.\d+\.attn1", _after_text),),
    }
)
"""By the class of the pipeline: where its denoiser can attend to other frames."""


def check_attention(family: Family, attention: Attention) -> None:
    """Refuse cross-frame attention in a family that cannot have it.

    Raises:
        ModelError: It cannot.
    """
    if attention != "none" and family.pipeline_class not in SELF_ATTENTION:
        raise ModelError(
            f"{family.pipeline_class} has no cross-frame attention, and attention is "
            f"{attention!r}. Set attention: none, or use one of: {', '.join(SELF_ATTENTION)}"
        )


@contextmanager
def cross_frame_attention(
    pipeline: Any, attention: Attention, sources: Sequence[tuple[int, ...]]
) -> Iterator[None]:
    """Let frames attend to other frames, for the time of a `with` block.

    Only the denoiser's `forward` is replaced, on the instance, and during its calls that of its
    attention modules; both are put back. Attention takes 1 + n times the time and memory of its
    keys, with n frames that join each frame.

    Args:
        pipeline: The pipeline that is called in the block.
        attention: Whose keys and values join each frame's own; with `none`, nothing is done.
        sources: For each row of the batch, before guidance, the rows whose keys and values join its
            own: `(first,)` or `(first, previous)`, which for frame 0 are the row itself. With no
            rows at all, nothing is done.

    Raises:
        ModelError: The family has no cross-frame attention, or, in the call of the pipeline, an
            attention module computes in a way that cannot be extended.
        ValueError: The rows do not fit `attention`, or one another, or the batch.
    """
    family = family_of(pipeline)
    check_attention(family, attention)
    if attention == "none" or not sources:
        yield
        return
    _check_sources(attention, sources)
    denoiser = denoiser_of(pipeline)
    layers = list(_layers(family, denoiser))
    signature = inspect.signature(denoiser.forward)

    def denoise(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call = signature.bind(*args, **kwargs)
        call.apply_defaults()
        images = next(iter(call.arguments.values()))
        rows = source_rows(sources, len(images)).to(images[0].device)
        with ExitStack() as stack:
            for module, image_tokens in layers:
                attend = _attending(image_tokens, call.arguments, rows)
                stack.enter_context(_forward_through(module, attend))
            return forward(*args, **kwargs)

    with _forward_through(denoiser, denoise):
        yield


def source_rows(sources: Sequence[tuple[int, ...]], batch: int) -> torch.Tensor:
    """Give the rows that join each row of the denoiser's batch.

    Args:
        sources: The rows that join each frame.
        batch: Length of the batch: that of `sources`, or k times that where guidance puts k parts
            of equal length one after the other.

    Returns:
        Shape `(batch, n)` for n frames that join each frame.

    Raises:
        ValueError: The batch is no multiple of the frames.
    """
    if batch % len(sources):
        raise ValueError(f"a batch of {batch} is no multiple of {len(sources)} frames")
    frames = torch.tensor(sources)
    parts = range(0, batch, len(sources))
    return torch.cat([frames + part for part in parts])


def attend_across(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    *,
    image: ImageTokens,
    sources: torch.Tensor,
    is_causal: bool = False,
    **options: Any,
) -> torch.Tensor:
    """Compute scaled dot-product attention in which image tokens also see other rows' images.

    The queries of the image see the row's own sequence, and after it, for each of the sources, the
    same sequence with the image of the source in place of the own one. All other queries see the
    row's own sequence.

    Args:
        query: Shape `(batch, heads, tokens, dim)`.
        key: Shape `(batch, key heads, tokens, dim)`.
        value: Same shape as the key.
        attn_mask: Boolean or additive; broadcasts to `(batch, heads, tokens, tokens)`.
        image: Which of the tokens are the image.
        sources: The rows that join each row, shape `(batch, n)`.
        is_causal: Must be false.
        options: Further options of `torch.nn.functional.scaled_dot_product_attention`.

    Returns:
        Shape of the query.

    Raises:
        ModelError: The attention is causal.
    """
    if is_causal:
        raise ModelError(
            "this model's attention is causal, where other frames have no place. "
            "Set attention: none"
        )
    tokens = key.shape[2]
    mask = _every_key(attn_mask, tokens)
    if image.shifts is not None:
        attended = attend_across(
            _rolled(query, image.shifts),
            _rolled(key, image.shifts),
            _rolled(value, image.shifts),
            _rolled_mask(mask, image.shifts),
            image=replace(image, shifts=None),
            sources=sources,
            **options,
        )
        return _rolled(attended, -image.shifts)

    own = (key, value, mask)
    joined = (
        _joined(key, image, sources),
        _joined(value, image, sources),
        _repeated(mask, sources),
    )
    parts = [
        functional.scaled_dot_product_attention(
            query[:, :, start:stop], keys, values, _of_queries(seen, start, stop), **options
        )
        for start, stop, (keys, values, seen) in (
            (0, image.start, own),
            (image.start, image.stop, joined),
            (image.stop, tokens, own),
        )
        if start < stop
    ]
    return torch.cat(parts, dim=2)


def _check_sources(attention: Attention, sources: Sequence[tuple[int, ...]]) -> None:
    for row, joining in enumerate(sources):
        if len(joining) != NUM_SOURCES[attention]:
            raise ValueError(
                f"row {row} is joined by {joining}, which are not the {NUM_SOURCES[attention]} "
                f"rows of attention {attention!r}"
            )
        if not all(0 <= source < len(sources) for source in joining):
            raise ValueError(f"row {row} is joined by {joining}, of {len(sources)} rows")


def _layers(
    family: Family, denoiser: Any
) -> Iterator[tuple[Any, Callable[[Call, int], ImageTokens] | None]]:
    """Find the modules in which the picture attends to itself, each with where the image lies.

    Raises:
        ModelError: There is none, or one computes keys together with queries.
    """
    modules = dict(denoiser.named_modules())
    found = [
        (name, layer.image_tokens)
        for layer in SELF_ATTENTION[family.pipeline_class]
        for name in modules
        if re.fullmatch(layer.modules, name)
    ]
    if not found:
        raise ModelError(
            f"the {type(denoiser).__name__} of this checkpoint has no self-attention that other "
            "frames could join. Set attention: none"
        )
    for name, image_tokens in found:
        if image_tokens is None and modules[name].fused_projections:
            raise ModelError(
                f"{name} computes queries, keys and values in one, so that no other frame can "
                "join it. Call unfuse_qkv_projections, or set attention: none"
            )
        yield modules[name], image_tokens


@contextmanager
def _forward_through(module: Any, around: Callable[..., Any]) -> Iterator[None]:
    """Let the calls of a module go through `around(forward, *args, **kwargs)` for a while."""
    forward = module.forward
    with replaced(module, "forward", functools.wraps(forward)(functools.partial(around, forward))):
        yield


def _attending(
    image_tokens: Callable[[Call, int], ImageTokens] | None, call: Call, sources: torch.Tensor
) -> Callable[..., Any]:
    """Give what the calls of a module go through while its denoiser runs."""
    if image_tokens is None:
        return functools.partial(_attend_apart, sources)
    return functools.partial(_attend_beside_text, sources, functools.partial(image_tokens, call))


def _attend_apart(
    sources: torch.Tensor,
    forward: Callable[..., Any],
    hidden_states: torch.Tensor,
    **kwargs: Any,
) -> Any:
    """Run a module that reads the image alone with keys and values from several images."""
    images = [hidden_states, *(hidden_states[rows] for rows in sources.unbind(1))]
    kwargs["encoder_hidden_states"] = torch.cat(images, dim=1)
    return forward(hidden_states, **kwargs)


def _attend_beside_text(
    sources: torch.Tensor,
    image_tokens: Callable[[int], ImageTokens],
    forward: Callable[..., Any],
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Run a module in which text and image are one sequence.

    Raises:
        ModelError: It computed attention in another way than by one call of PyTorch's function.
    """

    def attend(query: torch.Tensor, key: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        image = image_tokens(key.shape[2])
        return attend_across(query, key, *args, image=image, sources=sources, **kwargs)

    with _Interception(attend) as interception:
        output = forward(*args, **kwargs)
    if interception.calls != 1:
        raise ModelError(
            f"other frames cannot join attention that calls scaled_dot_product_attention "
            f"{interception.calls} times instead of once. Use the native attention backend "
            "(set_attention_backend('native')) and the pipeline's own attention processors, "
            "or set attention: none"
        )
    return output


class _Interception(TorchFunctionMode):
    """Takes the place of PyTorch's attention function for a while, and counts its calls."""

    def __init__(self, attend: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.calls = 0
        self._attend = attend

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        self.calls += 1
        return self._attend(*args, **kwargs)


def _joined(states: torch.Tensor, image: ImageTokens, sources: torch.Tensor) -> torch.Tensor:
    """Put a copy of each sequence for each of its sources after it, with the source's image."""
    before, own, after = states.tensor_split((image.start, image.stop), dim=2)
    copies = ((before, own[rows], after) for rows in sources.unbind(1))
    return torch.cat([states, *(part for copy in copies for part in copy)], dim=2)


def _every_key(mask: torch.Tensor | None, tokens: int) -> torch.Tensor | None:
    """Give a mask its four axes, the last of them in full length."""
    if mask is None:
        return None
    mask = mask[(None,) * (4 - mask.ndim)]
    return mask.expand(*mask.shape[:3], tokens)


def _repeated(mask: torch.Tensor | None, sources: torch.Tensor) -> torch.Tensor | None:
    """Extend a mask to the sequences of the sources, whose places mean the same."""
    return None if mask is None else mask.repeat(1, 1, 1, 1 + sources.shape[1])


def _of_queries(mask: torch.Tensor | None, start: int, stop: int) -> torch.Tensor | None:
    return mask if mask is None or mask.shape[2] == 1 else mask[:, :, start:stop]


def _rolled(states: torch.Tensor, shifts: torch.Tensor, axis: int = 2) -> torch.Tensor:
    """Roll each row of `(batch, ...)` to the left along an axis, by its own shift."""
    places = torch.arange(states.shape[axis], device=states.device)
    index = (places + shifts[:, None]) % states.shape[axis]
    shape = [len(shifts), 1, 1, 1]
    shape[axis] = -1
    return states.take_along_dim(index.reshape(shape), dim=axis)


def _rolled_mask(mask: torch.Tensor | None, shifts: torch.Tensor) -> torch.Tensor | None:
    if mask is None:
        return None
    mask = _rolled(mask.expand(len(shifts), -1, -1, -1), shifts, axis=3)
    return mask if mask.shape[2] == 1 else _rolled(mask, shifts)
