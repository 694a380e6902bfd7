"""OpenEXR pictures for compositing: linear light, half precision, BT.709 primaries."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import OpenEXR
from PIL import Image

from tempprop.frames import Frames

BT709_CHROMATICITIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
"""Red, green, blue and white, which sRGB shares (ITU-R BT.709-6, item 1.3 and 1.4)."""


def linear_light(values: Frames) -> npt.NDArray[np.float32]:
    """Undo the transfer function of sRGB (IEC 61966-2-1:1999, 5.2).

    Args:
        values: Any shape, uint8.

    Returns:
        Of the same shape, 0 to 1: linear light.
    """
    encoded = values.astype(np.float32) / 255
    dark = encoded / np.float32(12.92)
    bright = ((encoded + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
    return np.where(encoded <= 0.04045, dark, bright).astype(np.float32)


def write_exr(frame: Frames, path: Path, attributes: dict[str, str]) -> None:
    """Write a frame in linear light.

    Args:
        frame: `(height, width, 3)`, uint8, sRGB.
        path: The file to write.
        attributes: Texts for its header.
    """
    header: dict[str, Any] = {
        **attributes,
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        "chromaticities": BT709_CHROMATICITIES,
    }
    pixels = np.ascontiguousarray(linear_light(frame).astype(np.float16))
    with OpenEXR.File(header, {"RGB": pixels}) as file:
        file.write(str(path))


def replace_by_exr(picture: Path, attributes: dict[str, str]) -> Path:
    """Turn a picture that Pillow reads into one of OpenEXR beside it, and remove it.

    Returns:
        The new file.
    """
    target = picture.with_suffix(".exr")
    with Image.open(picture) as image:
        write_exr(np.asarray(image.convert("RGB")), target, attributes)
    picture.unlink()
    return target
