"""Is this installation able to render? Each answer is found by trying."""

import importlib.metadata
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import torch

from tempprop.encoding.ffmpeg import find_ffmpeg
from tempprop.model_files import cache_directory
from tempprop.pipeline import load_pipeline
from tempprop.store import check_store, open_store

LIBRARIES = ("tempprop", "torch", "diffusers", "transformers", "ray", "prefect", "pyarrow", "s3fs")
LEAST_FREE_BYTES = 2 * 10**9


@dataclass(frozen=True)
class Check:
    """One question and its answer.

    Attributes:
        name: What was examined.
        good: Whether it will do.
        finding: What was found, or the error, in one line.
    """

    name: str
    good: bool
    finding: str


def examine(out: str | None = None) -> list[Check]:
    """Examine this installation.

    Args:
        out: An output location to try as well.

    Returns:
        The answers, in the order in which a person should mend what is bad.
    """
    checks = [
        _try("python", platform.python_version),
        _try("libraries", _libraries),
        _try("device", _device),
        _try("ffmpeg", _ffmpeg),
        _try("temporary disk", _free_space),
        _try("embedded model", _embedded_model),
        _try("model cache", lambda: str(cache_directory())),
    ]
    if out is not None:
        checks.append(_try("output", lambda: _output(out)))
    return checks


def _try(name: str, finding: Callable[[], str]) -> Check:
    try:
        return Check(name, True, finding())
    except Exception as error:
        return Check(name, False, " ".join(str(error).split()) or type(error).__name__)


def _libraries() -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)


def _device() -> str:
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return ", ".join(names)
    return f"CPU, {torch.get_num_threads()} threads (no GPU found: large models will be slow)"


def _ffmpeg() -> str:
    binary = find_ffmpeg()
    answer = subprocess.run([binary, "-version"], capture_output=True, text=True, check=True)
    return f"{answer.stdout.splitlines()[0].split(' Copyright')[0]} ({binary})"


def _free_space() -> str:
    directory = tempfile.gettempdir()
    free = shutil.disk_usage(directory).free
    if free < LEAST_FREE_BYTES:
        raise OSError(f"{free / 1e9:.1f} GB free in {directory}: clips are encoded there")
    return f"{free / 1e9:.0f} GB free in {directory}"


def _embedded_model() -> str:
    model = load_pipeline("mini", device="cpu")
    return f"loads, digest {model.identity.digest[:16]}"


def _output(out: str) -> str:
    store = open_store(out)
    capabilities = check_store(store)
    conditional = "honors" if capabilities.conditional_create else "does not honor"
    return f"{store.uri} can be written, and {conditional} create-only writes"
