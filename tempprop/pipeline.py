"""From the name of a checkpoint to a diffusers pipeline that is ready to render.

A checkpoint is `mini` (the embedded model), a directory in diffusers' layout, a single safetensors
file, any fsspec URI of either, or a hub id. Whatever it is, it ends as local files, and the digest
of those files identifies the weights in every record.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import fsspec
import torch
from diffusers.loaders.single_file_utils import (
    infer_diffusers_model_type,
    load_single_file_checkpoint,
)
from filelock import FileLock

from tempprop.errors import ModelError
from tempprop.latents import SUPPORTED_FAMILIES
from tempprop.mini import MINI_PATH
from tempprop.prediction import check_scheduler
from tempprop.spec import LoRA, ModelIdentity, SchedulerConfig
from tempprop.storage_faults import display_uri

MODEL_INDEX = "model_index.json"
PICKLE_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
TEXT_SUFFIXES = (".json", ".txt", ".model")
HUB_ID_PATTERN = re.compile(r"[\w.-]+/[\w.-]+")

SINGLE_FILE_FAMILIES = (
    ("xl_base", "StableDiffusionXLPipeline"),
    ("sd3", "StableDiffusion3Pipeline"),
    ("flux", "FluxPipeline"),
    ("v1", "StableDiffusionPipeline"),
    ("v2", "StableDiffusionPipeline"),
)
"""Beginnings of the names that diffusers infers for checkpoint files, and their pipelines."""


@dataclass(frozen=True)
class LoadedModel:
    """A pipeline on its device, and what identifies it.

    Attributes:
        pipeline: A diffusers text-to-image pipeline.
        identity: Where it came from and the digest of its weights.
        device: Where it denoises.
    """

    pipeline: Any
    identity: ModelIdentity
    device: torch.device


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
    identity = _identify(path, model, loras, allow_pickle=allow_pickle)
    options = {"torch_dtype": getattr(torch, dtype), "use_safetensors": not allow_pickle}
    pipeline = _load(path, identity.pipeline_class, options)
    if scheduler is not None:
        pipeline.scheduler = _replace_scheduler(pipeline.scheduler, scheduler)
    check_scheduler(pipeline.scheduler)
    _load_loras(pipeline, loras)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    pipeline.to(target)
    pipeline.set_progress_bar_config(disable=True)
    # Decoding a whole batch at once needs many times the memory of denoising it.
    pipeline.vae.enable_slicing()
    return LoadedModel(pipeline, identity, target)


def identify_model(
    model: str,
    *,
    revision: str | None = None,
    loras: Sequence[LoRA] = (),
    allow_pickle: bool = False,
) -> ModelIdentity:
    """Find out which weights a name stands for, without loading them.

    Args:
        model: `mini`, a directory, a file, a URI or a hub id; downloaded if need be.
        revision: Branch, tag or commit of a hub id.
        loras: Adapters, in order.
        allow_pickle: Accept weights that are not safetensors.

    Raises:
        ModelError: As for `load_pipeline`, as far as the files' names and configurations tell.
    """
    path = local_checkpoint(model, revision=revision, allow_pickle=allow_pickle)
    return _identify(path, model, loras, allow_pickle=allow_pickle)


def local_checkpoint(
    model: str, *, revision: str | None = None, allow_pickle: bool = False
) -> Path:
    """Bring a checkpoint to this machine, if it is not here yet.

    Raises:
        ModelError: There is nothing at that place, or it cannot be reached.
    """
    if model == "mini":
        return MINI_PATH
    if "://" in model:
        return download(model)
    if Path(model).exists():
        return Path(model).resolve()
    if not HUB_ID_PATTERN.fullmatch(model):
        raise ModelError(
            f"there is no model {model!r}: it is neither a directory nor a file here. Give 'mini', "
            "a directory in diffusers' layout, a .safetensors file, a URI or a hub id (owner/name)"
        )
    try:
        snapshot = diffusers.DiffusionPipeline.download(
            model, revision=revision, use_safetensors=not allow_pickle
        )
    except Exception as error:
        raise ModelError(
            f"the model {model!r} is no directory here, and fetching it from the hub failed: "
            f"{_head(error)}. Check the name, the revision and the network, or download it first "
            "and give the directory"
        ) from error
    return Path(snapshot)


def cache_directory() -> Path:
    """Where downloaded checkpoints are kept: `$TEMPPROP_CACHE`, else the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("TEMPPROP_CACHE") or Path(base) / "tempprop")


def download(uri: str) -> Path:
    """Download a directory or a file from an fsspec URI into the cache, once.

    The cache entry is named by the names, sizes and versions of the remote files, so a changed
    checkpoint is downloaded anew. Processes that start together wait for the first of them, and
    an entry appears whole or not at all.

    Args:
        uri: For example `s3://bucket/checkpoints/mine`.

    Returns:
        The local directory or file.

    Raises:
        ModelError: Nothing is there, or it cannot be reached.
    """
    try:
        filesystem, root = fsspec.url_to_fs(uri)
        listing: dict[str, Any] = filesystem.find(root, detail=True)
    except Exception as error:
        raise ModelError(f"the model {display_uri(uri)} cannot be read: {_head(error)}") from error
    if not listing:
        raise ModelError(f"there is no model at {display_uri(uri)}")
    is_file = list(listing) == [root]
    target = cache_directory() / "models" / _listing_digest(root, listing) / Path(root).name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if target.exists():
            return target
        partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
        try:
            destination = partial / target.name
            if is_file:
                filesystem.get_file(root, str(destination))
            else:
                filesystem.get(f"{root.rstrip('/')}/", f"{destination}/", recursive=True)
            destination.rename(target)
        except Exception as error:
            raise ModelError(
                f"downloading the model {display_uri(uri)} failed: {_head(error)}"
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def checkpoint_digest(path: Path, *, allow_pickle: bool = False) -> str:
    """Identify a checkpoint by the content of the files that a pipeline loads from it.

    Read-mes, samples and weights in formats that are not loaded do not count, nor do file names
    outside the checkpoint.

    Args:
        path: A directory in diffusers' layout or a single file.
        allow_pickle: Whether pickled weights count.

    Returns:
        A sha256 as 64 hexadecimal digits.
    """
    if path.is_file():
        return _file_digest(path)
    total = hashlib.sha256()
    for file in _checkpoint_files(path, allow_pickle=allow_pickle):
        total.update(f"{file.relative_to(path).as_posix()}\0{_file_digest(file)}\n".encode())
    return total.hexdigest()


def _identify(
    path: Path, model: str, loras: Sequence[LoRA], *, allow_pickle: bool
) -> ModelIdentity:
    pipeline_class = _pipeline_class(path, model, allow_pickle=allow_pickle)
    return ModelIdentity(
        uri=display_uri(model),
        pipeline_class=pipeline_class,
        digest=checkpoint_digest(path, allow_pickle=allow_pickle),
        lora_digests=tuple(_file_digest(_local_lora(lora)) for lora in loras),
    )


def _pipeline_class(path: Path, model: str, *, allow_pickle: bool) -> str:
    """Name the pipeline of a checkpoint, or say why it cannot be used."""
    name = display_uri(model)
    if path.is_file():
        return _single_file_class(path, name, allow_pickle=allow_pickle)
    try:
        index = json.loads((path / MODEL_INDEX).read_text())
        family = str(index["_class_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"the model {name!r} is not a diffusers pipeline: it has no readable {MODEL_INDEX}. "
            "Give the directory that save_pretrained wrote"
        ) from error
    if family not in SUPPORTED_FAMILIES:
        raise ModelError(
            f"the model {name!r} is a {family}, not one of the text-to-image pipelines of this "
            f"version: {', '.join(SUPPORTED_FAMILIES)}"
        )
    for component in sorted(child for child in path.iterdir() if child.is_dir()):
        suffixes = {file.suffix for file in component.iterdir()}
        only_pickle = suffixes & set(PICKLE_SUFFIXES) and ".safetensors" not in suffixes
        if only_pickle and component.name in index and not allow_pickle:
            raise ModelError(
                f"the model {name!r} has no safetensors weights in {component.name}/, only pickled "
                "ones, which can run any code. Convert them, or set allow_pickle if you trust them"
            )
    return family


def _single_file_class(path: Path, name: str, *, allow_pickle: bool) -> str:
    if path.suffix != ".safetensors" and not allow_pickle:
        raise ModelError(
            f"the model {name!r} is not a .safetensors file, and other formats can run any code. "
            "Convert it, or set allow_pickle if you trust it"
        )
    try:
        inferred = infer_diffusers_model_type(load_single_file_checkpoint(str(path)))
    except Exception as error:
        raise ModelError(f"the model file {name!r} cannot be read: {_head(error)}") from error
    for beginning, family in SINGLE_FILE_FAMILIES:
        if inferred.startswith(beginning):
            return family
    raise ModelError(
        f"the model file {name!r} looks like {inferred!r}, not like a text-to-image checkpoint. "
        "Convert it to a directory in diffusers' layout"
    )


def _load(path: Path, pipeline_class: str, options: dict[str, Any]) -> Any:
    family = getattr(diffusers, pipeline_class)
    try:
        if path.is_file():
            return family.from_single_file(str(path), **options)
        return family.from_pretrained(str(path), local_files_only=True, **options)
    except Exception as error:
        raise ModelError(f"the model at {path} cannot be loaded: {_head(error)}") from error


def _replace_scheduler(current: Any, wanted: SchedulerConfig) -> Any:
    family = getattr(diffusers, wanted.name, None)
    if family is None or not hasattr(family, "from_config"):
        raise ModelError(f"diffusers has no scheduler {wanted.name!r}: check scheduler.name")
    return family.from_config(current.config, **wanted.options)


def _load_loras(pipeline: Any, loras: Sequence[LoRA]) -> None:
    names = [f"lora_{index}" for index in range(len(loras))]
    for name, lora in zip(names, loras, strict=True):
        file = _local_lora(lora)
        try:
            pipeline.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=name)
        except Exception as error:
            raise ModelError(
                f"the LoRA {display_uri(lora.path)!r} does not fit the model: {_head(error)}"
            ) from error
    if names:
        pipeline.set_adapters(names, [lora.weight for lora in loras])


def _local_lora(lora: LoRA) -> Path:
    """Bring a LoRA to this machine; a directory stands for the one safetensors file in it."""
    name = display_uri(lora.path)
    path = download(lora.path) if "://" in lora.path else Path(lora.path)
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if len(files) != 1 or not files[0].is_file():
        raise ModelError(f"the LoRA {name!r} is not one file: give the path of a .safetensors file")
    if files[0].suffix != ".safetensors":
        raise ModelError(f"the LoRA {name!r} is not a .safetensors file, and others can run code")
    return files[0].resolve()


def _checkpoint_files(path: Path, *, allow_pickle: bool) -> Iterator[Path]:
    suffixes = (".safetensors", *TEXT_SUFFIXES, *(PICKLE_SUFFIXES if allow_pickle else ()))
    components = json.loads((path / MODEL_INDEX).read_text())
    yield path / MODEL_INDEX
    for component in sorted(path.iterdir()):
        if component.is_dir() and component.name in components:
            yield from sorted(f for f in component.rglob("*") if f.suffix in suffixes)


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _listing_digest(root: str, listing: dict[str, Any]) -> str:
    entries = [
        (
            name.removeprefix(root),
            info.get("size"),
            str(info.get("ETag") or info.get("LastModified") or info.get("mtime")),
        )
        for name, info in sorted(listing.items())
    ]
    return hashlib.sha256(json.dumps([root, entries]).encode()).hexdigest()[:32]


def _head(error: BaseException) -> str:
    """The first line of an error's message, without a final stop, at most 300 characters."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(".")
