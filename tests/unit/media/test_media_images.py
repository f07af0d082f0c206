"""Pictures: formats, orientation, colour, transparency, depth."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from media import (
    CorruptError,
    Limits,
    TooManyPixelsError,
    TruncatedError,
    decode_image,
    probe,
    sniff,
    thumbnail,
)

RASTER = ["jpeg", "png", "webp", "gif", "bmp", "tiff"]


def _save(image: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


@pytest.mark.parametrize("name", RASTER)
def test_round_trip(files, limits, name):
    data = files["image", name]
    pixels = decode_image(data, limits)
    assert pixels.shape == (64, 96, 3)
    assert pixels.dtype == np.uint8
    tolerance = 6 if name == "jpeg" else 0
    assert np.abs(pixels[32, 10].astype(int) - (255, 0, 0)).max() <= tolerance
    assert np.abs(pixels[32, 80].astype(int) - (0, 0, 255)).max() <= tolerance
    facts = probe(data, sniff(data, limits), limits)
    assert (facts.width, facts.height) == (96, 64)


@pytest.mark.parametrize("name", [*RASTER, "svg"])
def test_thumbnail(files, limits, name):
    data = files["image", name]
    picture = Image.open(io.BytesIO(thumbnail(data, sniff(data, limits), limits, size_px=32)))
    assert picture.format == "WEBP"
    assert max(picture.size) == 32
    assert picture.width > picture.height


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(limits, orientation):
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:10, :15] = 255  # a mark in the upper left corner
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _save(Image.fromarray(np.ascontiguousarray(undo(upright))), "PNG", exif=exif)
    np.testing.assert_array_equal(decode_image(data, limits), upright)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_broken_exif_is_ignored(limits):
    data = _save(Image.new("RGB", (8, 8), "red"), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode_image(data, limits).shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("mode", "colour", "options", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), {}, (255, 255, 255)),
        ("RGBA", (255, 0, 0, 128), {}, (255, 127, 127)),
        ("LA", (0, 0), {}, (255, 255, 255)),
        ("LA", (0, 128), {}, (127, 127, 127)),
        ("L", 100, {}, (100, 100, 100)),
        ("L", 100, {"transparency": 100}, (255, 255, 255)),
        ("RGB", (1, 2, 3), {"transparency": (1, 2, 3)}, (255, 255, 255)),
        ("1", 1, {}, (255, 255, 255)),
        ("P", 0, {}, (0, 0, 0)),
        ("P", 0, {"transparency": 0}, (255, 255, 255)),
        ("I;16", 0x80FF, {}, (128, 128, 128)),
    ],
)
def test_png_modes(limits, mode, colour, options, expected):
    image = Image.new(mode, (9, 7), colour)
    if mode == "P":
        image.putpalette([0, 0, 0, 255, 0, 0])
    pixels = decode_image(_save(image, "PNG", **options), limits)
    assert pixels.shape == (7, 9, 3)
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_sixteen_bit_colour(limits):
    import struct
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    row = b"\0" + struct.pack(">3H", 0xFFFF, 0x8000, 0x0101) * 4
    data = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 2, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(row * 2))
        + chunk(b"IEND", b"")
    )
    assert np.abs(decode_image(data, limits)[0, 0].astype(int) - (255, 128, 1)).max() <= 1


@pytest.mark.parametrize("mode", ["I", "F", "I;16", "LAB", "CMYK", "YCbCr"])
def test_tiff_modes(limits, mode):
    if mode in {"I", "F", "I;16"}:
        ramp = np.linspace(0, 60_000, 16).reshape(4, 4)
        image = Image.fromarray(ramp.astype({"I": np.int32, "F": np.float32, "I;16": np.uint16}[mode]))
        pixels = decode_image(_save(image, "TIFF"), limits)
        assert pixels[0, 0, 0] == 0
        assert pixels[3, 3, 0] >= 234
        assert (np.diff(pixels[:, :, 0].ravel().astype(int)) > 0).all()
    else:
        image = Image.new(
            mode, (4, 4), {"LAB": (255, 128, 128), "CMYK": (0, 0, 0, 0), "YCbCr": (255, 128, 128)}[mode]
        )
        assert (decode_image(_save(image, "TIFF"), limits) >= 254).all()


def test_float_with_nan(limits):
    image = Image.fromarray(np.array([[np.nan, 0.0], [1.0, np.inf]], np.float32))
    assert decode_image(_save(image, "TIFF"), limits).shape == (2, 2, 3)


def test_cmyk_jpeg(limits):
    pixels = decode_image(_save(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95), limits)
    red = pixels[8, 8].astype(int)
    assert red[0] > 200
    assert red[1:].max() < 80


def test_profile_is_converted_to_srgb(limits):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    linear = _linear_profile(srgb)
    image = Image.new("RGB", (8, 8), (64, 64, 64))
    plain = decode_image(_save(image, "PNG", icc_profile=srgb), limits)
    assert np.abs(plain.astype(int) - 64).max() <= 1
    converted = decode_image(_save(image, "PNG", icc_profile=linear), limits)
    assert np.abs(converted.astype(int) - 137).max() <= 2  # 64/255 of linear light in sRGB's curve
    over = Image.new("RGBA", (8, 8), (64, 64, 64, 255))
    over.putpixel((0, 0), (0, 0, 0, 0))
    with_alpha = decode_image(_save(over, "PNG", icc_profile=linear), limits)
    assert np.abs(with_alpha[4, 4].astype(int) - 137).max() <= 2
    assert (with_alpha[0, 0] == 255).all()


def _linear_profile(srgb: bytes) -> bytes:
    """sRGB's profile with straight tone curves (ICC.1: a curve of no entries is the identity)."""
    data = bytearray(srgb)
    for i in range(int.from_bytes(data[128:132])):
        name, offset, size = (
            data[132 + 12 * i : 136 + 12 * i],
            *(int.from_bytes(data[132 + 12 * i + k : 136 + 12 * i + k]) for k in (4, 8)),
        )
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            data[offset : offset + size] = (b"curv" + bytes(8)).ljust(size, b"\0")
    return bytes(data)


@pytest.mark.parametrize("profile", [b"nonsense", b"\0" * 200])
def test_broken_profile_is_ignored(limits, profile):
    data = _save(Image.new("RGB", (8, 8), "red"), "PNG", icc_profile=profile)
    np.testing.assert_array_equal(decode_image(data, limits)[0, 0], (255, 0, 0))


def test_profile_of_other_pixels_is_ignored(limits):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    data = _save(Image.new("RGB", (8, 8), "red"), "PNG", icc_profile=lab)
    np.testing.assert_array_equal(decode_image(data, limits)[0, 0], (255, 0, 0))


@pytest.mark.parametrize("name", RASTER)
def test_truncated(limits, name):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = _save(Image.fromarray(noise), name.upper())
    with pytest.raises(TruncatedError) as caught:
        decode_image(data[: len(data) // 2], limits)
    assert caught.value.kind == name


def test_corrupt(files, limits):
    data = bytearray(files["image", "png"])
    at = data.index(b"IDAT") + 8
    data[at : at + 8] = b"\xff" * 8
    with pytest.raises(CorruptError):
        decode_image(bytes(data), limits)


def test_too_many_pixels_before_decoding(files):
    small = Limits(max_pixels=96 * 64 - 1)
    data = files["image", "png"]
    for refuse in (lambda: decode_image(data, small), lambda: probe(data, sniff(data, small), small)):
        with pytest.raises(TooManyPixelsError) as caught:
            refuse()
        assert caught.value.limit == f"max_pixels={96 * 64 - 1}"


def test_animation_as_an_image_is_its_first_picture(files, limits):
    assert decode_image(files["video", "gif"], limits).max() == 0
