"""The picture that a clip starts from: read, identified by its content, and brought to its size.

PNG, JPEG, WebP and TIFF are read, from any fsspec URI. A picture lies as its EXIF orientation says;
what is transparent in it is black; of several pages or frames the first one counts. The largest
part in its middle that has the clip's proportions is resized with a Lanczos filter. Its values are
taken for sRGB, whatever color profile it carries.
"""

import hashlib
import io
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tempprop.errors import PictureError, RenderError, StoreError
from tempprop.model_files import DOWNLOAD_TRIES, VERSION_FIELDS
from tempprop.objects import open_filesystem
from tempprop.storage_faults import (
    diagnose,
    display_uri,
    is_missing,
    is_unreachable_server,
    one_line,
)

if TYPE_CHECKING:
    import torch

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")

MOST_BYTES = 256 * 2**20
"""Size of the largest file that is read; it is held in memory as a whole."""

SMALLER = "Make it smaller: it is resized to the clip's size anyway"

MODES_OF_16_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
MODES_OF_32_BITS = ("I", "F")
"""What Pillow calls gray pictures of more than eight bits."""


def picture_digest(uri: str) -> str:
    """Read a picture to the end, and identify it by the bytes of its file.

    A file that has not changed since is read only once in this process.

    Args:
        uri: Path or fsspec URI.

    Returns:
        The sha256 of the file as 64 hexadecimal digits.

    Raises:
        PictureError: There is no such file, it is too large, or it is no picture that can be used.
        RenderError: The storage failed, which may go away.
    """
    _, _, info = _find(uri)
    version = [str(info[field]) for field in VERSION_FIELDS if info.get(field) is not None]
    if not version:
        return _digest_of_picture(uri)
    return _digest_of_version(uri, (str(info.get("size")), *version))


def load_picture(uri: str, width: int, height: int, *, sha256: str | None = None) -> "torch.Tensor":
    """Read a picture and bring it to the size of a clip.

    Args:
        uri: Path or fsspec URI.
        width: Pixels.
        height: Pixels.
        sha256: Digest that the file must have; None for any.

    Returns:
        Shape `(3, height, width)`, RGB, `[0, 1]`.

    Raises:
        PictureError: There is no such file, it is too large, it is no picture that can be used, or
            another one than the digest says.
        RenderError: The storage failed, which may go away.
    """
    content = _read(uri)
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise PictureError(
            display_uri(uri),
            "is another one than when the run was planned: its sha256 is "
            f"{found[:16]} instead of {sha256[:16]}",
            "Put the same file on every machine, and leave it alone during a run",
        )
    fitted = ImageOps.fit(_decode(uri, content), (width, height), Image.Resampling.LANCZOS)
    import torch  # noqa: PLC0415 - it takes seconds, and digests do without

    samples = torch.from_numpy(np.array(fitted, dtype=np.float32))
    return samples.permute(2, 0, 1) / 255


@lru_cache(maxsize=65536)
def _digest_of_version(uri: str, _: tuple[str, ...]) -> str:
    return _digest_of_picture(uri)


def _digest_of_picture(uri: str) -> str:
    content = _read(uri)
    _decode(uri, content)
    return hashlib.sha256(content).hexdigest()


def _read(uri: str) -> bytes:
    filesystem, path, _ = _find(uri)
    try:
        content = bytes(filesystem.cat_file(path))
    except Exception as error:  # every fsspec driver raises its own
        raise _unreadable(uri, error) from error
    _refuse_large(uri, len(content))
    return content


def _find(uri: str) -> tuple[Any, str, dict[str, Any]]:
    """Open the filesystem of a picture; give also its path there, and what is said about it."""
    try:
        filesystem, path = open_filesystem(uri)
        filesystem.retries = DOWNLOAD_TRIES
        info: dict[str, Any] = filesystem.info(path)
    except Exception as error:  # every fsspec driver raises its own
        raise _unreadable(uri, error) from error
    if info["type"] == "directory":
        raise PictureError(display_uri(uri), "is a directory", "Give a file")
    _refuse_large(uri, info.get("size") or 0)
    return filesystem, path, info


def _refuse_large(uri: str, size: int) -> None:
    if size > MOST_BYTES:
        reason = f"has {size:,} bytes, more than {MOST_BYTES:,}"
        raise PictureError(display_uri(uri), reason, SMALLER)


def _unreadable(uri: str, error: Exception) -> PictureError | RenderError:
    name = display_uri(uri)
    if is_missing(error):
        return PictureError(name, "is not there", "Check the path")
    kind, why, remedy = diagnose(error)
    # Of a server that cannot be reached, the error itself says the address only.
    cause = error.__cause__ if is_unreachable_server(error) else None
    reason = f"cannot be read: {why} ({one_line(cause or error)})"
    if kind is StoreError:
        return RenderError(f"the picture {name!r} {reason}. {remedy}")
    return PictureError(name, reason, remedy)


def _decode(uri: str, content: bytes) -> Image.Image:
    """Decode a picture to upright RGB with eight bits."""
    name = display_uri(uri)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            if upright.mode not in MODES_OF_32_BITS:
                return _in_rgb(upright)
    except Image.DecompressionBombError as error:
        reason = f"says that it has more pixels than is believable ({one_line(error)})"
        raise PictureError(name, reason, SMALLER) from error
    except UnidentifiedImageError as error:
        reason = "is no PNG, JPEG, WebP or TIFF"
        raise PictureError(name, reason, "Save it as one of these") from error
    except Exception as error:  # every decoder of Pillow raises its own
        reason = f"is damaged ({one_line(error)})"
        raise PictureError(name, reason, "Save or copy it again") from error
    reason = "has samples of 32 bits, which do not say what is white"
    raise PictureError(name, reason, "Save it with 8 or 16 bits")


def _in_rgb(image: Image.Image) -> Image.Image:
    if image.mode in MODES_OF_16_BITS:
        # Pillow would cut the low byte off instead of rounding.
        image = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)
    return image.convert("RGB")
