"""The npm packages that hold the animations and their names: fetched by npm, pinned by content."""

import base64
import hashlib
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from tempprop.errors import InputError

CHUNK_BYTES = 1 << 20

ERROR_CHARACTERS = 400
"""Of npm's own message."""


@dataclass(frozen=True)
class Package:
    """One version of an npm package.

    Attributes:
        name: With its scope.
        version: Exactly one.
        integrity: The sha512 of its archive in base64, as `npm view NAME dist.integrity` prints it.
    """

    name: str
    version: str
    integrity: str

    @property
    def archive(self) -> str:
        """Name of the archive, as `npm pack` writes it."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


ANIMATIONS = (
    Package(
        "@lobehub/fluent-emoji-anim-1",
        "1.0.0",
        "sha512-/4m31vAuZEQ4aUJ5pxcOU5PVkuJya55GRxUZL7+zgLlxZXpzzE8jPqpDyhZICE3n47nS/Y9M5/vLdizi8201QA==",
    ),
    Package(
        "@lobehub/fluent-emoji-anim-2",
        "1.0.0",
        "sha512-S6yzf0RZXrQbXdxCWuHA9BAoLdBRk2flX+ne4TPGEH/qApwisCAKHoAAGjKSlTY3OVeZ9b7t/NEbmpjawnQYJA==",
    ),
    Package(
        "@lobehub/fluent-emoji-anim-3",
        "1.0.0",
        "sha512-UzRSUDMjdfdt9vER5bhjHkPqgc3EEgfGtYs6ndvizOTvQOxYQ57ow2RTkWSDZxwW30X4EYBi2eWTS7CXDDoFsg==",
    ),
    Package(
        "@lobehub/fluent-emoji-anim-4",
        "1.0.0",
        "sha512-IIkl5ztSd1HrzvIDt/uGsFoC1WODXRdYq5uROrnkyqi9DbToEcJ1nlY86PnoUXeFS9nBCnHfiYk3ouSEGThFmA==",
    ),
)
"""The animations, MIT: pictures by Microsoft, packed by LobeHub."""

NAMES = Package(
    "openmoji",
    "17.0.0",
    "sha512-EBnYrNGdcdw+OSXmENeNE1yBNRu6tOraTmoOyUbJkTmvT/+XETp8RZLSJFzD3lrPc5N9CzsyPnRTk0Vp4UaI9w==",
)
"""Names and tags of emoji, CC BY-SA 4.0; none of its pictures is used."""


def integrity_of(path: Path) -> str:
    """Give the sha512 of a file as npm writes it, `sha512-` and base64."""
    digest = hashlib.sha512()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return f"sha512-{base64.b64encode(digest.digest()).decode()}"


def verified(package: Package, folder: Path) -> Path:
    """Find the archive of a package in a folder and check what is in it.

    Args:
        package: What is looked for.
        folder: Where.

    Returns:
        The archive.

    Raises:
        InputError: It is not there, or is not what was pinned.
    """
    path = folder / package.archive
    if not path.is_file():
        raise InputError(
            f"there is no {package.archive} in {folder}. Put it there with "
            f"`npm pack {package.name}@{package.version}`, or leave --packages out"
        )
    found = integrity_of(path)
    if found != package.integrity:
        raise InputError(
            f"{path} is not {package.name} {package.version}: its integrity is {found}, not "
            f"{package.integrity}. Delete it, and fetch it again"
        )
    return path


def fetched(package: Package, folder: Path) -> Path:
    """Fetch a package with npm, unless its archive lies in the folder already.

    Args:
        package: What to fetch.
        folder: Where to put it; made if missing.

    Returns:
        The archive, verified.

    Raises:
        InputError: There is no npm, it fails, or the archive is not what was pinned.
    """
    if not (folder / package.archive).exists():
        folder.mkdir(parents=True, exist_ok=True)
        # An interrupted download must not be taken for the archive.
        with tempfile.TemporaryDirectory(dir=folder) as draft:
            _pack(package, Path(draft))
            (Path(draft) / package.archive).rename(folder / package.archive)
    return verified(package, folder)


def _pack(package: Package, folder: Path) -> None:
    npm = which("npm")
    if npm is None:
        raise InputError(
            "npm is not on the PATH, and fetches the packages. Install Node.js, which brings it, "
            f"or download {package.archive} and the others by hand and name their folder with "
            "--packages"
        )
    wanted = f"{package.name}@{package.version}"
    to = ["--pack-destination", str(folder)]
    command = [npm, "pack", wanted, "--loglevel=error", *to]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0 or not (folder / package.archive).is_file():
        said = " ".join((ended.stderr or ended.stdout).split())[:ERROR_CHARACTERS]
        raise InputError(
            f"`npm pack {wanted}` failed with exit code {ended.returncode}: {said or 'no message'}."
            " Check the network and npm's registry, or download the packages by hand and name "
            "their folder with --packages"
        )


@dataclass(frozen=True)
class Archives:
    """The packages as files.

    Attributes:
        animations: Those with the WebP files.
        names: The one with openmoji's table.
    """

    animations: Sequence[Path]
    names: Path


def archives_of(work: Path, packages: Path | None) -> Archives:
    """Fetch the pinned packages, or find them in a folder.

    Args:
        work: Directory of the data; what is fetched goes into its `packages`.
        packages: Folder of archives that were downloaded by hand; None to fetch them.

    Raises:
        InputError: A package cannot be fetched, is not there, or is not what was pinned.
    """

    def archive(package: Package) -> Path:
        if packages is not None:
            return verified(package, packages)
        return fetched(package, work / "packages")

    return Archives([archive(package) for package in ANIMATIONS], archive(NAMES))


def files_in(archives: Sequence[Path], suffix: str) -> Iterator[tuple[str, bytes]]:
    """Read the files of packages, in the order in which they were packed.

    Args:
        archives: Gzipped tar files.
        suffix: What the files' paths end with.

    Yields:
        Paths within the package and contents.

    Raises:
        InputError: An archive cannot be read to its end.
    """
    for archive in archives:
        try:
            with tarfile.open(archive, "r:gz") as files:
                for member in files:
                    file = files.extractfile(member) if member.name.endswith(suffix) else None
                    if file is not None:
                        yield member.name, file.read()
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise InputError(
                f"the package {archive} cannot be read: {error}. Delete it, and fetch it again"
            ) from error
