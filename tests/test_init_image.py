import hashlib
import io
import pickle
import struct
import uuid
import zlib

import fsspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tempprop import init_image
from tempprop.errors import PictureError
from tempprop.init_image import load_picture, picture_digest

MANY = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

HALF_A_LEVEL = 0.5 / 255 + 1e-6


def noise(height=12, width=16, channels=(3,), kind=np.uint8):
    generator = np.random.default_rng(7)
    return generator.integers(
        0, np.iinfo(kind).max, (height, width, *channels), endpoint=True
    ).astype(kind)


def save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return str(path)


def load(uri, array):
    """Load a picture at its own size, as `(height, width, 3)`."""
    return load_picture(uri, array.shape[1], array.shape[0]).permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    ("suffix", "options"),
    [("png", {}), ("tiff", {"compression": "tiff_lzw"}), ("webp", {"lossless": True})],
)
def test_a_picture_of_the_clips_size_is_taken_as_it_is(tmp_path, suffix, options):
    pixels = noise()
    path = save(tmp_path / f"a.{suffix}", pixels, **options)
    assert np.array_equal(load(path, pixels), pixels.astype(np.float32) / 255)


def test_jpeg_is_read_too(tmp_path):
    pixels = np.full((16, 16, 3), (200, 100, 50), dtype=np.uint8)
    path = save(tmp_path / "a.jpg", pixels, quality=95)
    assert np.abs(load(path, pixels) * 255 - pixels).max() <= 3


def as_a_camera_stores_it(upright, orientation):
    """Turn pixels so that EXIF's orientation, as its standard defines it, turns them back."""
    return {
        1: upright,
        2: np.fliplr(upright),
        3: np.rot90(upright, 2),
        4: np.flipud(upright),
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_a_picture_lies_as_its_exif_orientation_says(tmp_path, suffix, orientation):
    upright = noise()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == "webp" else {}
    stored = np.ascontiguousarray(as_a_camera_stores_it(upright, orientation))
    path = save(tmp_path / f"a.{suffix}", stored, exif=exif, **options)
    assert np.array_equal(load(path, upright), upright.astype(np.float32) / 255)


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_what_is_transparent_is_black(tmp_path, suffix):
    pixels = noise(channels=(4,))
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", pixels, **options)
    expected = pixels[..., :3] / 255 * (pixels[..., 3:] / 255)
    assert np.abs(load(path, pixels) - expected).max() <= 2 * HALF_A_LEVEL


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "CMYK"])
def test_pictures_of_other_kinds_become_rgb(tmp_path, mode):
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    image = Image.fromarray(noise()).convert(mode)
    image.save(path)
    expected = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    assert np.array_equal(load(str(path), expected), expected)


def test_a_palette_may_have_a_transparent_color(tmp_path):
    indices = noise(channels=()) % 2
    image = Image.fromarray(indices)
    image.putpalette([255, 255, 255, 0, 200, 0])
    image.save(tmp_path / "a.png", transparency=0)
    expected = indices[..., None] * np.array([0, 200, 0]) / 255
    assert np.allclose(load(str(tmp_path / "a.png"), indices), expected)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_of_gray_are_rounded_to_eight(tmp_path, suffix):
    pixels = noise(channels=(), kind=np.uint16)
    path = save(tmp_path / f"a.{suffix}", pixels)
    found = load(path, pixels)
    assert np.abs(found - pixels[..., None] / 65535).max() <= HALF_A_LEVEL


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_samples_without_a_white_are_refused(tmp_path, kind):
    path = save(tmp_path / "a.tiff", noise(channels=()).astype(kind))
    with pytest.raises(PictureError, match=r"samples of 32 bits.*Save it with 8 or 16 bits"):
        picture_digest(path)


@pytest.mark.parametrize(("height", "width"), [(30, 90), (90, 30)])
@pytest.mark.parametrize("size", [8, 30, 64])
def test_the_middle_is_cut_out(tmp_path, height, width, size):
    """Of three fields, a square clip shows the one in the middle, at every scale."""
    row = np.repeat(np.eye(3, dtype=np.uint8) * 200, 30, axis=0)
    pixels = np.broadcast_to(row, (30, 90, 3))
    upright = pixels if width > height else pixels.swapaxes(0, 1)
    path = save(tmp_path / "a.png", np.ascontiguousarray(upright))
    found = load_picture(path, size, size)
    assert found.shape == (3, size, size)
    # Lanczos looks at three pixels to each side, of the picture or of the clip, also beyond the
    # edge of what is cut out.
    edge = 3 * max(1, -(-size // 30))
    inner = slice(edge, size - edge)
    green = np.array([0, 200, 0], dtype=np.float32)[:, None, None] / 255
    assert np.abs(found.numpy() - green)[:, inner, inner].max() <= 2 * HALF_A_LEVEL
    assert found[1].mean() > 0.95 * 200 / 255


def test_it_is_resized_with_a_lanczos_filter(tmp_path):
    pixels = noise(40, 60)
    path = save(tmp_path / "a.png", pixels)
    middle = (0, 4, 60, 36)
    resized = Image.fromarray(pixels).resize((30, 16), Image.Resampling.LANCZOS, middle)
    found = load_picture(path, 30, 16).permute(1, 2, 0).numpy()
    assert np.array_equal(found, np.asarray(resized, dtype=np.float32) / 255)


@MANY
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    color=st.tuples(*[st.integers(0, 255)] * 3),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
)
def test_one_color_stays_this_color_at_every_size(tmp_path, size, color, width, height):
    path = tmp_path / "a.png"
    Image.new("RGB", size, color).save(path)
    found = load_picture(str(path), width, height)
    expected = np.broadcast_to(np.array(color)[:, None, None] / 255, (3, height, width))
    assert np.abs(found.numpy() - expected).max() <= 2 * HALF_A_LEVEL


def test_the_digest_is_that_of_the_files_bytes(tmp_path):
    path = save(tmp_path / "a.png", noise())
    expected = hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    assert picture_digest(path) == expected
    save(tmp_path / "a.png", noise(13, 17))
    assert picture_digest(path) != expected


def test_any_filesystem_will_do(tmp_path):
    uri = f"memory://{uuid.uuid4().hex}/a.png"
    pixels = noise()
    local = save(tmp_path / "a.png", pixels)
    with fsspec.open(uri, "wb") as stream:
        stream.write((tmp_path / "a.png").read_bytes())
    assert picture_digest(uri) == picture_digest(local)
    assert np.array_equal(load(uri, pixels), load(local, pixels))


def test_another_picture_than_the_digest_says_is_refused(tmp_path):
    path = save(tmp_path / "a.png", noise())
    digest = picture_digest(path)
    assert load_picture(path, 8, 8, sha256=digest).shape == (3, 8, 8)
    save(tmp_path / "a.png", noise(13, 17))
    with pytest.raises(PictureError, match=rf"another one .* instead of {digest[:16]}"):
        load_picture(path, 8, 8, sha256=digest)


def test_the_error_travels_between_processes():
    error = PictureError("a.png", "is a directory", "Give a file")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def small_png_of_size(width, height):
    """Make a PNG file of a few bytes that says how large it is, and holds next to nothing."""

    def chunk(name, content):
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(small_png_of_size(50_000, 50_000))
    with pytest.raises(PictureError, match=r"more pixels than is believable.*Make it smaller"):
        picture_digest(str(tmp_path / "a.png"))


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "a.png"
    with path.open("wb") as stream:
        stream.truncate(init_image.MOST_BYTES + 1)
    with pytest.raises(PictureError, match=r"has 268,435,457 bytes, more than 268,435,456"):
        picture_digest(str(path))


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(PictureError, match=r"is a directory. Give a file"):
        picture_digest(str(tmp_path))
    with pytest.raises(PictureError, match=r"the picture '.*a.png' is not there. Check the path"):
        picture_digest(str(tmp_path / "a.png"))


@pytest.mark.parametrize("suffix", ["gif", "bmp", "txt"])
def test_other_formats_are_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "txt":
        path.write_text("no picture")
    else:
        save(path, noise())
    with pytest.raises(PictureError, match=r"is no PNG, JPEG, WebP or TIFF. Save it as one"):
        picture_digest(str(path))


def test_secrets_of_a_uri_are_not_told():
    uri = "nowhere://user:secret@host/a.png?token=secret"
    with pytest.raises(PictureError, match=r"'nowhere://host/a.png' cannot be read") as caught:
        picture_digest(uri)
    assert "secret" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@MANY
@given(kept=st.floats(0, 1), place=st.floats(0, 1), byte=st.integers(0, 255))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_damaged_file_is_a_picture_or_refused(tmp_path, kind, kept, place, byte):
    """Whatever is cut off or changed, no decoder's own exception comes through."""
    stream = io.BytesIO()
    Image.fromarray(noise()).save(stream, kind)
    content = bytearray(stream.getvalue())
    content[int(place * (len(content) - 1))] = byte
    path = tmp_path / "a"
    path.write_bytes(content[: int(kept * len(content))])
    try:
        found = load_picture(str(path), 16, 12)
    except PictureError:
        return
    assert found.shape == (3, 12, 16)
    assert 0 <= found.min() <= found.max() <= 1


def test_a_server_that_cannot_be_reached_is_not_a_picture_that_is_missing():
    with pytest.raises(PictureError, match=r"cannot be reached \(.*\)") as refused:
        picture_digest("http://127.0.0.1:9/art.png")
    assert refused.value.remedy == "Check the address and the network"
