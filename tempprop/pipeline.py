"""From the name of a checkpoint to a diffusers pipeline that is ready to render.

A checkpoint is `mini` (the embedded model), a directory in diffusers' layout, a single safetensors
file, any fsspec URI of either, or a hub id. Whatever it is, it ends as local files, and the digest
of those files identifies the weights in every record.
"""

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.loaders.single_file_utils import (
    CHECKPOINT_KEY_NAMES,
    infer_diffusers_model_type,
    load_single_file_checkpoint,
)
from diffusers.utils import logging as diffusers_logging
from safetensors import safe_open
from transformers.utils import logging as transformers_logging

from tempprop.errors import ModelError
from tempprop.families import FAMILIES, Family
from tempprop.model_files import (
    MODEL_INDEX,
    PICKLE_SUFFIXES,
    checkpoint_digest,
    file_digest,
    local_checkpoint,
    local_lora,
)
from tempprop.prediction import FLOW
from tempprop.schedulers import check_scheduler, check_scheduler_name, prediction_type
from tempprop.spec import LoRA, ModelIdentity, SchedulerConfig
from tempprop.storage_faults import display_uri, one_line

SINGLE_FILE_FAMILIES = {
    "v1": "StableDiffusionPipeline",
    "v2": "StableDiffusionPipeline",
    "xl_base": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "sd35_medium": "StableDiffusion3Pipeline",
    "sd35_large": "StableDiffusion3Pipeline",
    "flux-dev": "FluxPipeline",
    "flux-schnell": "FluxPipeline",
    "z-image-turbo": "ZImagePipeline",
}
"""The names that diffusers infers for checkpoint files, and their pipelines."""


@dataclass(frozen=True)
class LoadedModel:
    """A pipeline on its device, and what identifies it.

    Attributes:
        pipeline: A diffusers text-to-image pipeline.
        identity: Where it came from and the digest of its weights.
        device: Where it denoises.
        eta: Share of fresh noise in every step; None for the pipeline's own default.
    """

    pipeline: Any
    identity: ModelIdentity
    device: torch.device
    eta: float | None = None


def load_pipeline(
    model: str,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    device: str | None = None,
    scheduler: SchedulerConfig | None = None,
    loras: Sequence[LoRA] = (),
    allow_pickle: bool = False,
) -> LoadedModel:
    """Load a text-to-image pipeline with its low-rank adapters.

    Args:
        model: `mini`, a directory, a file, a URI or a hub id.
        revision: Branch, tag or commit of a hub id.
        dtype: `float32`, `float16` or `bfloat16`.
        device: A torch device; None takes the GPU if there is one.
        scheduler: Replaces the checkpoint's scheduler.
        loras: Adapters, in order.
        allow_pickle: Also load weights that are not safetensors, which can run any code.

    Raises:
        ModelError: The checkpoint cannot be found, is not a text-to-image pipeline that this
            version supports, holds only pickled weights, or has a scheduler that cannot propagate.
    """
    path = local_checkpoint(model, revision=revision, allow_pickle=allow_pickle)
    identity = _identify(path, model, scheduler, loras, allow_pickle=allow_pickle)
    with _without_progress_bars():
        pipeline = _load(path, identity, getattr(torch, dtype), allow_pickle=allow_pickle)
    if scheduler is not None:
        pipeline.scheduler = _replace_scheduler(pipeline.scheduler, scheduler)
    check_scheduler(pipeline.scheduler)
    _check_fit(identity.pipeline_class, pipeline.scheduler)
    eta = scheduler.eta if scheduler is not None else None
    _check_eta(pipeline, eta)
    _load_loras(pipeline, loras)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    pipeline.to(target)
    pipeline.set_progress_bar_config(disable=True)
    return LoadedModel(pipeline, identity, target, eta)


def identify_model(
    model: str,
    *,
    revision: str | None = None,
    scheduler: SchedulerConfig | None = None,
    loras: Sequence[LoRA] = (),
    allow_pickle: bool = False,
) -> ModelIdentity:
    """Find out which weights a name stands for, without loading them.

    Args:
        model: `mini`, a directory, a file, a URI or a hub id; downloaded if need be.
        revision: Branch, tag or commit of a hub id.
        scheduler: Replaces the checkpoint's scheduler.
        loras: Adapters, in order.
        allow_pickle: Accept weights that are not safetensors.

    Raises:
        ModelError: As for `load_pipeline`, as far as the files' names and configurations tell.
    """
    path = local_checkpoint(model, revision=revision, allow_pickle=allow_pickle)
    return _identify(path, model, scheduler, loras, allow_pickle=allow_pickle)


def _identify(
    path: Path,
    model: str,
    scheduler: SchedulerConfig | None,
    loras: Sequence[LoRA],
    *,
    allow_pickle: bool,
) -> ModelIdentity:
    name = display_uri(model)
    if scheduler is not None:
        check_scheduler_name(scheduler.name)
    if path.is_file():
        family = _single_file_family(path, name, allow_pickle=allow_pickle)
    else:
        index = _model_index(path, name)
        family = _family(index, name)
        components = _components(index)
        _check_complete(path, components, name, allow_pickle=allow_pickle)
        if scheduler is None:
            check_scheduler_name(components["scheduler"])
    return ModelIdentity(
        uri=name,
        pipeline_class=family,
        digest=checkpoint_digest(path, allow_pickle=allow_pickle),
        lora_digests=tuple(file_digest(local_lora(lora)) for lora in loras),
    )


def _model_index(path: Path, name: str) -> dict[str, Any]:
    try:
        index = json.loads((path / MODEL_INDEX).read_text())
    except FileNotFoundError as error:
        raise ModelError(
            f"the model {name!r} is not a diffusers pipeline: it has no {MODEL_INDEX}. "
            "Give the directory that save_pretrained wrote"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the {MODEL_INDEX} of the model {name!r} cannot be read: {one_line(error)}. "
            "Download or save the model again"
        ) from error
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise ModelError(
            f"the {MODEL_INDEX} of the model {name!r} does not name a pipeline in _class_name. "
            "Download or save the model again"
        )
    return index


def _family(index: Mapping[str, Any], name: str) -> str:
    family: str = index["_class_name"]
    if family not in FAMILIES:
        raise ModelError(
            f"the model {name!r} is a {family}, not one of the text-to-image pipelines of this "
            f"version. Give one of: {', '.join(FAMILIES)}"
        )
    return family


def _components(index: Mapping[str, Any]) -> dict[str, str]:
    """Name the class of every component that a pipeline has."""
    pairs = {name: value for name, value in index.items() if isinstance(value, list)}
    return {name: str(pair[1]) for name, pair in pairs.items() if len(pair) == 2 and pair[1]}


def _check_complete(
    path: Path, components: Mapping[str, str], name: str, *, allow_pickle: bool
) -> None:
    """Refuse a directory that lacks a component, or weights that may be loaded."""
    denoiser = "transformer" if "transformer" in components else "unet"
    lacking = sorted(
        component
        for component in {denoiser, "scheduler", "vae", *components}
        if component not in components or not (path / component).is_dir()
    )
    for component in sorted(set(components) - set(lacking)):
        suffixes = {file.suffix for file in (path / component).iterdir()}
        pickled = suffixes & set(PICKLE_SUFFIXES)
        if ".safetensors" in suffixes or (pickled and allow_pickle):
            continue
        if pickled:
            raise ModelError(
                f"the model {name!r} has no safetensors weights in {component}/, only pickled "
                "ones, which can run any code. Convert them, or set allow_pickle if you trust them"
            )
        # Of the components, only networks have a file of this name.
        if (path / component / "config.json").exists():
            lacking.append(f"the weights in {component}")
    if lacking:
        raise ModelError(
            f"the model {name!r} is incomplete: it lacks {', '.join(lacking)}. "
            "Download or save it again"
        )


def _single_file_family(path: Path, name: str, *, allow_pickle: bool) -> str:
    if path.suffix != ".safetensors" and not allow_pickle:
        raise ModelError(
            f"the model {name!r} is not a .safetensors file, and other formats can run any code. "
            "Convert it, or set allow_pickle if you trust it"
        )
    try:
        weights = _shapes(path) if path.suffix == ".safetensors" else _unpickled(path)
        inferred = infer_diffusers_model_type(weights)
    except Exception as error:  # of safetensors, of pickle, of diffusers
        raise ModelError(
            f"the model file {name!r} cannot be read: {one_line(error)}. Download it again"
        ) from error
    # diffusers takes everything that it does not know for the first version.
    unknown = inferred == "v1" and CHECKPOINT_KEY_NAMES["v1"] not in weights
    if unknown or inferred not in SINGLE_FILE_FAMILIES:
        looks = "like nothing known" if unknown else f"like {inferred!r}"
        raise ModelError(
            f"the model file {name!r} looks {looks}, not like a text-to-image checkpoint of this "
            "version. Convert it to a directory in diffusers' layout"
        )
    return SINGLE_FILE_FAMILIES[inferred]


def _shapes(path: Path) -> dict[str, torch.Tensor]:
    """Read the names and shapes of the weights in a file, but not the weights."""
    with safe_open(path, framework="pt") as file:
        return {
            name: torch.empty(file.get_slice(name).get_shape(), device="meta")
            for name in file.keys()  # noqa: SIM118 - the file is no mapping
        }


def _unpickled(path: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = load_single_file_checkpoint(str(path))
    return weights


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Keep the bars that libraries draw while they load out of logs and displays."""
    libraries = (diffusers_logging, transformers_logging)
    shown = [library for library in libraries if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()


def _load(path: Path, identity: ModelIdentity, dtype: torch.dtype, *, allow_pickle: bool) -> Any:
    family = getattr(diffusers, identity.pipeline_class)
    try:
        if path.is_file():
            return family.from_single_file(str(path), dtype=dtype)
        # None takes safetensors where there are some; False would take none.
        safetensors = None if allow_pickle else True
        return family.from_pretrained(
            str(path), dtype=dtype, use_safetensors=safetensors, local_files_only=True
        )
    except Exception as error:  # of diffusers, transformers, safetensors, the hub's client
        advice = (
            "A single file needs its configuration from the hub: check the network, or convert it "
            "to a directory in diffusers' layout"
            if path.is_file()
            else "Download or save it again"
        )
        raise ModelError(
            f"the model {identity.uri!r} cannot be loaded: {one_line(error)}. {advice}"
        ) from error


def _replace_scheduler(current: Any, wanted: SchedulerConfig) -> Any:
    try:
        return getattr(diffusers, wanted.name).from_config(current.config, **wanted.options)
    except Exception as error:  # each scheduler checks its options in its own way
        raise ModelError(
            f"{wanted.name} refuses the checkpoint's configuration with scheduler.options "
            f"{dict(wanted.options)}: {one_line(error)}. Change scheduler.options"
        ) from error


def _check_fit(family: str, scheduler: Any) -> None:
    """Refuse a scheduler that misreads the model, or that the pipeline cannot drive."""
    row = FAMILIES[family]
    reason = (
        _flow_mismatch(row, scheduler)
        or _schedule_mismatch(row, scheduler)
        or _noise_mismatch(row, scheduler)
    )
    if reason is not None:
        raise ModelError(
            f"the scheduler {type(scheduler).__name__} does not fit {family}: {reason}"
        )


def _flow_mismatch(family: Family, scheduler: Any) -> str | None:
    if family.predicts_flow and prediction_type(scheduler) != FLOW:
        return (
            "the model predicts a flow. Take FlowMatchEulerDiscreteScheduler, or set "
            "prediction_type: flow_prediction and use_flow_sigmas: true in scheduler.options"
        )
    # Pipelines of diffusion models scale the first noise by it.
    if not family.predicts_flow and not hasattr(scheduler, "init_noise_sigma"):
        return "it is made for models that predict a flow. Take one that is made for diffusion"
    return None


def _schedule_mismatch(family: Family, scheduler: Any) -> str | None:
    accepted = inspect.signature(scheduler.set_timesteps).parameters
    if not family.shifts_schedule or {"mu", "sigmas"} <= set(accepted):
        return None
    # Flux spares those solvers the sigmas that make sigmas of a flow themselves.
    if family.pipeline_class != "FluxPipeline" or "mu" not in accepted:
        return (
            "the pipeline hands over the shift and the sigmas of its schedule, and it takes none. "
            "Take FlowMatchEulerDiscreteScheduler"
        )
    if not scheduler.config.get("use_dynamic_shifting"):
        return (
            "the pipeline hands over the shift of its schedule. "
            "Set use_dynamic_shifting: true in scheduler.options"
        )
    return None


def _noise_mismatch(family: Family, scheduler: Any) -> str | None:
    options = scheduler.config
    stochastic = {
        "stochastic_sampling: false": options.get("stochastic_sampling"),
        "algorithm_type: dpmsolver++": str(options.get("algorithm_type")).startswith("sde-"),
    }
    for remedy, is_set in stochastic.items():
        if is_set and not family.step_generator:
            return (
                "it adds noise in every step, and the pipeline gives it no generator to draw that "
                f"noise by the clip's seed. Set {remedy} in scheduler.options"
            )
    return None


def _check_eta(pipeline: Any, eta: float | None) -> None:
    """Refuse an eta that would be ignored."""
    calls = (pipeline.scheduler.step, pipeline.__call__)
    deaf = [call for call in calls if "eta" not in inspect.signature(call).parameters]
    if eta is not None and deaf:
        raise ModelError(
            f"scheduler.eta is {eta}, but {type(pipeline).__name__} with "
            f"{type(pipeline.scheduler).__name__} takes none. Remove it, or take DDIMScheduler or "
            "TCDScheduler with a pipeline of Stable Diffusion"
        )


def _load_loras(pipeline: Any, loras: Sequence[LoRA]) -> None:
    weights: dict[str, float] = {}
    for index, lora in enumerate(loras):
        file, name = local_lora(lora), f"lora_{index}"
        weights[name] = lora.weight
        try:
            pipeline.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=name)
            # An adapter without a part that fits is passed over in silence until it is set.
            pipeline.set_adapters(list(weights), list(weights.values()))
        except Exception as error:  # of diffusers, of peft, of safetensors
            raise ModelError(
                f"the LoRA {display_uri(lora.path)!r} does not fit the model: {one_line(error)}. "
                "Take one that was made for this family"
            ) from error
