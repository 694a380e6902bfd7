"""The files of a checkpoint or a LoRA: brought to this machine, and identified by their content.

What lies at a URI is downloaded into a cache, once for all processes, and again when it changes
there.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from tempprop.digests import sha256_of
from tempprop.errors import ModelError
from tempprop.mini import MINI_PATH
from tempprop.objects import open_filesystem
from tempprop.spec import LoRA
from tempprop.storage_faults import diagnose, display_uri, one_line

MODEL_INDEX = "model_index.json"
PICKLE_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
TEXT_SUFFIXES = (".json", ".jinja", ".txt", ".model")
HUB_ID_PATTERN = re.compile(r"[\w.-]+/[\w.-]+")

VERSION_FIELDS = (
    *("ETag", "etag", "md5Hash", "content_md5"),
    *("LastModified", "last_modified", "updated", "mtime", "created"),
)
"""What the filesystems of fsspec call that which changes with the content of a file."""

DOWNLOAD_TRIES = 5
"""How often s3fs tries each part: a checkpoint takes long enough to meet a busy moment."""


def local_checkpoint(
    model: str, *, revision: str | None = None, allow_pickle: bool = False
) -> Path:
    """Bring a checkpoint to this machine, if it is not here yet.

    Args:
        model: `mini`, a directory, a file, a URI or a hub id.
        revision: Branch, tag or commit of a hub id.
        allow_pickle: Also fetch weights that are not safetensors from the hub.

    Returns:
        A directory or a file.

    Raises:
        ModelError: There is nothing at that place, or it cannot be reached.
    """
    if model == "mini":
        return MINI_PATH
    if "://" in model:
        return download(model, "model")
    path = Path(model).expanduser()
    if path.exists():
        return path.resolve()
    if not HUB_ID_PATTERN.fullmatch(model):
        raise ModelError(
            f"there is no model {model!r}: it is neither a directory nor a file here. Give 'mini', "
            "a directory in diffusers' layout, a .safetensors file, a URI or a hub id (owner/name)"
        )
    try:
        from diffusers import DiffusionPipeline  # noqa: PLC0415 - it takes seconds

        snapshot = DiffusionPipeline.download(
            model, revision=revision, use_safetensors=None if allow_pickle else True
        )
    except Exception as error:  # of diffusers, of the hub's client, of the network
        raise ModelError(
            f"there is no directory {model!r} here, and the hub does not give a model of that "
            f"name: {one_line(error.__cause__ or error)}. Check the name, the revision and the "
            "network, or download it elsewhere and give the directory"
        ) from error
    return Path(snapshot)


def local_lora(lora: LoRA) -> Path:
    """Bring a LoRA to this machine; a directory stands for the one safetensors file in it.

    Raises:
        ModelError: There is no such file, it cannot be reached, or it is not a safetensors file.
    """
    name = display_uri(lora.path)
    path = download(lora.path, "LoRA") if "://" in lora.path else Path(lora.path).expanduser()
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if len(files) != 1 or not files[0].is_file():
        found = f"{len(files)} .safetensors files are" if path.is_dir() else "there is no file"
        raise ModelError(
            f"the LoRA {name!r} is not one file: {found} at that place. Give the path or the URI "
            "of a .safetensors file"
        )
    if files[0].suffix != ".safetensors":
        raise ModelError(
            f"the LoRA {name!r} is not a .safetensors file, and other formats can run any code. "
            "Convert it"
        )
    return files[0].resolve()


def cache_directory() -> Path:
    """Where downloaded checkpoints are kept: `$TEMPPROP_CACHE`, else the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("TEMPPROP_CACHE") or Path(base) / "tempprop")


def download(uri: str, what: str) -> Path:
    """Download a directory or a file from an fsspec URI into the cache, once.

    The cache entry is named by the names, sizes and versions of the remote files, so a changed
    checkpoint is downloaded anew. Processes that start together wait for the first of them, and
    an entry appears whole or not at all.

    Args:
        uri: For example `s3://bucket/checkpoints/mine`.
        what: What to call it in a message.

    Returns:
        The local directory or file.

    Raises:
        ModelError: Nothing is there, it cannot be reached, or the cache cannot be written.
    """
    name = display_uri(uri)
    try:
        filesystem, root = open_filesystem(uri)
        listing: dict[str, Any] = filesystem.find(root, detail=True)
    except Exception as error:  # every fsspec driver raises its own
        raise _unreadable(name, what, error) from error
    if not listing:
        raise ModelError(f"there is no {what} at {name!r}. Check the URI")
    entry = cache_directory() / "models" / _listing_digest(root, listing)
    target = entry / PurePosixPath(root).name
    try:
        if not target.exists():
            entry.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{target}.lock"):
                if not target.exists():
                    _fetch(filesystem, root, listing, target)
    except Exception as error:
        raise _unreadable(name, what, error) from error
    return target


def _fetch(filesystem: Any, root: str, listing: dict[str, Any], target: Path) -> None:
    """Download beside the target and rename, so that nobody sees half of it."""
    filesystem.retries = DOWNLOAD_TRIES
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    try:
        whole = partial / target.name
        for source in sorted(listing):
            below = source.removeprefix(root).strip("/")
            destination = whole / below if below else whole
            destination.parent.mkdir(parents=True, exist_ok=True)
            filesystem.get_file(source, str(destination))
        whole.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _unreadable(name: str, what: str, error: Exception) -> ModelError:
    _, reason, remedy = diagnose(error)
    return ModelError(f"the {what} {name!r} cannot be had: {reason} ({one_line(error)}). {remedy}")


def _listing_digest(root: str, listing: dict[str, Any]) -> str:
    entries = [
        (
            name.removeprefix(root),
            info.get("size"),
            [str(info[field]) for field in VERSION_FIELDS if info.get(field) is not None],
        )
        for name, info in sorted(listing.items())
    ]
    return hashlib.sha256(json.dumps([root, entries]).encode()).hexdigest()[:32]


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
        return file_digest(path)
    total = hashlib.sha256()
    for file in _checkpoint_files(path, allow_pickle=allow_pickle):
        total.update(f"{file.relative_to(path).as_posix()}\0{file_digest(file)}\n".encode())
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """Give the sha256 of a file; one that has not changed since is read only once."""
    status = path.stat()
    return _file_digest(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _file_digest(path: Path, size: int, modified: int) -> str:
    return sha256_of(path)


def _checkpoint_files(path: Path, *, allow_pickle: bool) -> Iterator[Path]:
    suffixes = (".safetensors", *TEXT_SUFFIXES, *(PICKLE_SUFFIXES if allow_pickle else ()))
    components = json.loads((path / MODEL_INDEX).read_text())
    yield path / MODEL_INDEX
    for component in sorted(path.iterdir()):
        if component.is_dir() and component.name in components:
            yield from sorted(f for f in component.rglob("*") if f.suffix in suffixes)
