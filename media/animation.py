"""Animated GIF, WebP and PNG: their times from the block structure, their pictures through Pillow."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Collection, Iterator

import numpy as np
import numpy.typing as npt

from media.blocks import gif_blocks, png_chunks, riff_chunks
from media.damage import diagnose, is_truncated
from media.errors import CorruptError, TooLongError, TooManyFramesError, TooManyPixelsError, TruncatedError
from media.image import image_errors, open_image, over_white
from media.limits import Clock, Limits
from media.types import Kind, Probe

__all__ = ["animation_frames", "checked_lengths_s", "frame_lengths_s", "is_animated", "probe_animation"]

_DEFAULT_S = 0.1  # what browsers show a picture for when it asks for 10 ms or less


def is_animated(data: bytes, name: str) -> bool:
    """Whether a GIF, WebP or PNG has more than one picture."""
    return len(list(itertools.islice(frame_lengths_s(data, name), 2))) > 1


def frame_lengths_s(data: bytes, name: str) -> Iterator[float]:
    """How long each picture is shown, in seconds; nothing for a still WebP or PNG."""
    reader = {"gif": _gif_lengths, "webp": _webp_lengths, "png": _png_lengths}[name]
    return (length if length > 0.01 else _DEFAULT_S for length in reader(data))


def _gif_lengths(data: bytes) -> Iterator[float]:
    length_s = 0.0
    for name, start, _ in gif_blocks(data):
        if name == b"!\xf9":
            length_s = int.from_bytes(data[start + 4 : start + 6], "little") / 100
        elif name == b",":
            yield length_s
            length_s = 0.0


def _webp_lengths(data: bytes) -> Iterator[float]:
    for name, start, _ in riff_chunks(data):
        if name == b"ANMF":
            yield int.from_bytes(data[start + 12 : start + 15], "little") / 1000


def _png_lengths(data: bytes) -> Iterator[float]:
    animated = False
    for name, start, end in png_chunks(data):
        if name == b"acTL":
            animated = True
        elif name == b"IDAT" and not animated:
            return
        elif name == b"fcTL" and animated and end - start == 26 and end <= len(data):
            numerator, denominator = struct.unpack_from(">HH", data, start + 20)
            yield numerator / (denominator or 100)


def checked_lengths_s(data: bytes, kind: Kind, limits: Limits) -> list[float]:
    """`frame_lengths_s` of a whole file.

    Raises TruncatedError, CorruptError, TooManyFramesError, TooLongError.
    """
    lengths = list(itertools.islice(frame_lengths_s(data, kind.format), limits.max_frames + 1))
    if len(lengths) > limits.max_frames:
        raise TooManyFramesError(kind=kind.format, limit=f"max_frames={limits.max_frames}")
    if is_truncated(data, kind.format):
        raise TruncatedError(kind=kind.format)
    if not lengths:
        raise CorruptError("there are no frames in it", kind=kind.format)
    if sum(lengths) > limits.max_video_s:
        raise TooLongError(kind=kind.format, limit=f"max_video_s={limits.max_video_s:g}")
    return lengths


def _check_pixels(width: int, height: int, count: int, kind: Kind, limits: Limits) -> None:
    for pixels, name in (
        (width * height, "max_frame_pixels"),
        (width * height * count, "max_animation_pixels"),
    ):
        if pixels > getattr(limits, name):
            raise TooManyPixelsError(kind=kind.format, limit=f"{name}={getattr(limits, name)}")


def probe_animation(data: bytes, kind: Kind, limits: Limits) -> Probe:
    """Size, exact frame count and duration. Raises what `checked_lengths_s` does and TooManyPixelsError."""
    lengths = checked_lengths_s(data, kind, limits)
    with image_errors(data, kind.format), open_image(data, kind, limits) as image:
        _check_pixels(image.width, image.height, len(lengths), kind, limits)
        return Probe(kind, image.width, image.height, sum(lengths), len(lengths))


def animation_frames(
    data: bytes, kind: Kind, limits: Limits, count: int, wanted: Collection[int], clock: Clock
) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """(index, uint8 [H, W, 3]) of the wanted pictures of `count` in order; those between are only decoded.

    Raises TruncatedError, CorruptError, TooManyPixelsError (max_frame_pixels for one, max_animation_pixels
    for all together), DeadlineError.
    """
    with image_errors(data, kind.format), open_image(data, kind, limits) as image:
        _check_pixels(image.width, image.height, count, kind, limits)
        canvas = image.size
        # An APNG may begin with a picture for viewers that know no animation: it is not part of it.
        first = 1 if getattr(image, "default_image", False) else 0
        for index in range(max(wanted) + 1):
            clock.check()
            try:
                image.seek(first + index)
            except EOFError as error:
                raise diagnose(data, kind.format)(kind=kind.format) from error
            # A GIF's pictures may reach beyond its canvas, and Pillow's image then grows.
            _check_pixels(image.width, image.height, 1, kind, limits)
            if index in wanted:
                yield index, np.asarray(over_white(image.convert("RGBA").crop((0, 0, *canvas))))
