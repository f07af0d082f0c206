"""Animated GIF, WebP and PNG as videos, through Pillow."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from media.errors import CorruptError, TooLongError, TooManyFramesError, TooManyPixelsError
from media.image import image_errors, open_image, over_white
from media.limits import Clock, Limits
from media.types import Kind, Probe

__all__ = ["animation_frames", "is_animated", "probe_animation"]

_DEFAULT_FRAME_S = 0.1  # what browsers show a frame for when it asks for 10 ms or less


def is_animated(data: bytes, name: str) -> bool:
    """Whether a GIF, WebP or PNG has more than one picture, from its block structure alone."""
    if name == "webp":
        return data[12:16] == b"VP8X" and len(data) > 20 and bool(data[20] & 2)
    if name == "png":
        return _png_animated(data)
    return _gif_animated(data)


def _png_animated(data: bytes) -> bool:
    at = 8
    while at + 12 <= len(data):
        length, chunk = struct.unpack_from(">I4s", data, at)
        if chunk == b"acTL":
            return int.from_bytes(data[at + 8 : at + 12]) > 1
        if chunk == b"IDAT":
            return False
        at += 12 + length
    return False


def _gif_animated(data: bytes) -> bool:
    pictures = 0
    try:
        at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
        while data[at] in {0x2C, 0x21}:
            if data[at] == 0x2C:
                pictures += 1
                if pictures > 1:
                    return True
                flags = data[at + 9]
                at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
            else:
                at += 2
            while data[at]:
                at += data[at] + 1
            at += 1
    except IndexError:
        pass
    return False


def _open(data: bytes, kind: Kind, limits: Limits) -> tuple[Image.Image, int]:
    image = open_image(data, kind, limits)
    pixels = image.width * image.height
    if pixels > limits.max_frame_pixels:
        raise TooManyPixelsError(kind=kind.format, limit=f"max_frame_pixels={limits.max_frame_pixels}")
    count = getattr(image, "n_frames", 1)
    if count > limits.max_frames:
        raise TooManyFramesError(kind=kind.format, limit=f"max_frames={limits.max_frames}")
    if pixels * count > limits.max_animation_pixels:
        raise TooManyPixelsError(
            kind=kind.format, limit=f"max_animation_pixels={limits.max_animation_pixels}"
        )
    return image, count


def probe_animation(data: bytes, kind: Kind, limits: Limits) -> Probe:
    """Facts about an animation; times of frames are known only to those who walk through it."""
    with image_errors(data, kind.format):
        image, count = _open(data, kind, limits)
        with image:
            duration_s = _frame_s(image) * count
    return Probe(kind, image.width, image.height, duration_s, count)


def animation_frames(
    data: bytes, kind: Kind, limits: Limits, clock: Clock
) -> Iterator[tuple[float, float, npt.NDArray[np.uint8]]]:
    """(start, end, uint8 [H, W, 3]) of every picture in order. Raises what `decode_image` raises."""
    start_s = 0.0
    with image_errors(data, kind.format):
        image, count = _open(data, kind, limits)
        with image:
            for index in range(count):
                clock.check()
                try:
                    image.seek(index)
                except EOFError as error:
                    raise CorruptError(kind=kind.format) from error
                end_s = start_s + _frame_s(image)
                if end_s > limits.max_video_s:
                    raise TooLongError(kind=kind.format, limit=f"max_video_s={limits.max_video_s:g}")
                yield start_s, end_s, np.asarray(over_white(image.convert("RGBA")))
                start_s = end_s


def _frame_s(image: Image.Image) -> float:
    duration_s = float(image.info.get("duration", 0)) / 1000
    return duration_s if duration_s > 0.01 else _DEFAULT_FRAME_S
