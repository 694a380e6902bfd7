"""What was measured of clips, kept as files, so that it is measured once.

A file's name is the digest of all that its content depends on, and its content is NumPy's npz
without pickles. A file that is damaged counts as none.
"""

import hashlib
import io
import json
import zipfile
from typing import Any

import numpy as np

from tempprop.evaluation.instruments import Measured
from tempprop.objects import Store, read_object, write_object

FEATURES = "features"


def measured_key(*parts: Any) -> str:
    """Name a measurement by all that it depends on."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_measured(store: Store | None, key: str) -> Measured | None:
    """Read what was measured before.

    Args:
        store: Where it is kept; None where nothing is.
        key: Its name.

    Returns:
        The arrays by name; None where there are none.

    Raises:
        StoreError: The store did not answer.
    """
    if store is None:
        return None
    try:
        content = read_object(store, _name(key))
    except FileNotFoundError:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError):
        return None


def write_measured(store: Store | None, key: str, measured: Measured) -> None:
    """Keep what was measured.

    Raises:
        StoreError: The disk is full, or the store did not answer.
    """
    if store is None:
        return
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **measured)
    write_object(store, _name(key), content.getvalue())


def _name(key: str) -> str:
    return f"{FEATURES}/{key}.npz"
