"""What of a machine shapes pixels: the versions of its libraries, and on what it renders."""

import importlib.metadata
import platform
import subprocess
from contextlib import suppress

from tempprop.encoding.ffmpeg import find_ffmpeg
from tempprop.errors import EncodeError

SHAPING_LIBRARIES = ("tempprop", "torch", "diffusers", "transformers", "numpy", "av")
"""Libraries whose versions may shape pixels or bytes."""


def shaping_versions() -> dict[str, str]:
    """Give the version of each library that shapes pixels, and of ffmpeg, which shapes bytes.

    Returns:
        Versions by name; without that of ffmpeg where there is none that runs.
    """
    versions = {library: importlib.metadata.version(library) for library in SHAPING_LIBRARIES}
    with suppress(EncodeError, OSError, subprocess.SubprocessError, IndexError):
        command = [find_ffmpeg(), "-version"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        # As in "ffmpeg version 7.1-static Copyright (c) ...".
        versions["ffmpeg"] = answer.stdout.split()[2]
    return versions


def processor() -> str:
    """Name what renders where there is no GPU."""
    return platform.processor() or platform.machine()
