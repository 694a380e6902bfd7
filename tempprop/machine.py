"""What of a machine shapes pixels: the versions of its libraries, and on what it renders."""

import importlib.metadata
import platform

SHAPING_LIBRARIES = ("tempprop", "torch", "diffusers", "transformers", "numpy", "av")
"""Libraries whose versions may shape pixels or bytes."""


def library_versions() -> dict[str, str]:
    """Give the installed version of each library that shapes pixels, by its name."""
    return {library: importlib.metadata.version(library) for library in SHAPING_LIBRARIES}


def processor() -> str:
    """Name what renders where there is no GPU."""
    return platform.processor() or platform.machine()
