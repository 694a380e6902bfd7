"""Joining a Ray cluster, or starting a private one on this machine."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from tempprop.errors import InputError, Interrupted

OBJECT_STORE_BYTES = 100_000_000
"""Specs and records are all that passes through Ray, so its smallest comfortable store will do."""


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """Connect to Ray for the time of a `with` block.

    Args:
        address: Address of a running cluster, for example `auto` or `ray://head:10001`; None
            starts a private Ray on this machine, and stops it afterwards.

    Raises:
        Interrupted: The process was asked to end before there was a Ray.
        InputError: There is no cluster at the address, or it refuses this client.
    """
    # Under `uv run`, Ray would start every worker in an environment of its own.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {
            "address": "local",
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    else:
        options |= {"address": address}
    try:
        ray.init(**options)
    except SystemExit as error:
        # Ray's own answer to a SIGTERM that comes while it starts.
        raise Interrupted("the run was stopped while Ray started") from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        if address is None:
            raise
        raise InputError(
            f"cannot join the Ray cluster at {address}: {str(error).splitlines()[0]}. Check the "
            "address, that its Ray has the same version, and RAY_AUTH_MODE and RAY_AUTH_TOKEN"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
