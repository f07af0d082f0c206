"""Pictures to upright sRGB over white."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps

from media.damage import check_blocks, check_picture, diagnose
from media.errors import BombError, MediaError, TooManyPixelsError, UnsupportedError
from media.limits import Limits, check_size
from media.types import Kind

__all__ = ["decode_image", "image_errors", "open_image", "over_white"]

_PILLOW_FORMATS = {
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WEBP",
    "gif": "GIF",
    "bmp": "BMP",
    "tiff": "TIFF",
}
_SRGB = ImageCms.createProfile("sRGB")

# Above its own threshold Pillow only warns, above twice that it raises: here both refuse.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# Its other warnings tell of odd but readable files, once for each.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@contextmanager
def image_errors(data: bytes, kind: str) -> Iterator[None]:
    """Pillow's errors become ours. Its readers raise about any of these on damaged files."""
    try:
        yield
    except MediaError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BombError(kind=kind, limit=f"max_pixels={Image.MAX_IMAGE_PIXELS}") from error
    except MemoryError as error:
        raise BombError(kind=kind) from error
    except (
        OSError,
        ValueError,
        SyntaxError,
        TypeError,
        LookupError,
        EOFError,
        struct.error,
        ArithmeticError,
        AttributeError,
        RuntimeError,
    ) as error:
        raise diagnose(data, kind)(kind=kind) from error


def open_image(data: bytes, kind: Kind, limits: Limits) -> Image.Image:
    """The header of a raster picture, its size checked. To be called inside `image_errors`."""
    if kind.format not in _PILLOW_FORMATS:
        raise UnsupportedError(kind=kind.format)
    check_blocks(data, kind.format)
    image = Image.open(io.BytesIO(data), formats=(_PILLOW_FORMATS[kind.format],))
    if image.width * image.height > limits.max_pixels:
        raise TooManyPixelsError(kind=kind.format, limit=f"max_pixels={limits.max_pixels}")
    check_picture(data, kind.format, image.width * image.height)
    return image


def decode_image(data: bytes, limits: Limits, kind: Kind | None = None) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, 3]: EXIF orientation applied, colour profile converted to sRGB, transparency over white.

    An SVG comes with its longest side at svg_render_px; of an animation the first frame is taken. Raises the
    errors of `sniff`, TooManyPixelsError, BombError, CorruptError, TruncatedError, and those of `render_svg`.
    """
    if kind is None:
        from media.sniffing import sniff

        kind = sniff(data, limits)
    check_size(data, limits, kind.format)
    with image_errors(data, kind.format):
        if kind.format == "svg":
            from media.svg import render_svg

            return np.asarray(over_white(render_svg(data, limits)))
        with open_image(data, kind, limits) as image:
            image.load()
            return np.asarray(over_white(_to_srgb(_upright(image))))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _to_srgb(image: Image.Image) -> Image.Image:
    """8-bit image (mode RGB or RGBA); a profile that does not fit the pixels is ignored, as browsers do."""
    icc = image.info.get("icc_profile")
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA") if image.mode not in {"LA", "La"} else image.convert("LA")
        alpha = image.getchannel("A")
        image = image.convert("RGB") if image.mode == "RGBA" else image.getchannel("L")
    elif image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.mode == "P":
        image = image.convert("RGB")
    if icc and image.mode in {"RGB", "L", "CMYK", "LAB"}:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            image = ImageCms.profileToProfile(image, profile, _SRGB, outputMode="RGB") or image
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    if image.mode == "LAB":
        image = (
            ImageCms.profileToProfile(image, ImageCms.createProfile("LAB"), _SRGB, outputMode="RGB") or image
        )
    image = image.convert("RGB")
    if alpha is not None:
        image.putalpha(alpha)
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey by its high byte; 32-bit and floating-point grey from its darkest to its lightest value."""
    values = np.asarray(image)
    if values.dtype == np.uint16 or (image.mode == "I" and image.format == "PNG"):
        return Image.fromarray((values.astype(np.uint16) >> 8).astype(np.uint8))
    values = np.nan_to_num(values.astype(np.float64))
    low, high = values.min(), values.max()
    return Image.fromarray(((values - low) * (255 / max(high - low, 1e-12))).round().astype(np.uint8))


def over_white(image: Image.Image) -> Image.Image:
    """Mode RGB, whatever shows through being white."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    canvas = Image.new("RGBA", image.size, "white")
    canvas.alpha_composite(image)
    return canvas.convert("RGB")
