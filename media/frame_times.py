"""How long each picture of an animated GIF, WebP or PNG is shown: from its blocks, nothing decoded."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

from media.blocks import gif_blocks, png_chunks, riff_chunks
from media.damage import is_truncated
from media.errors import CorruptError, TooLongError, TooManyFramesError, TruncatedError
from media.limits import Limits
from media.types import Kind

__all__ = ["checked_lengths_s", "frame_lengths_s", "is_animated"]

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
