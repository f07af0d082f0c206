"""Does a file end before its own structure says so? Read from lengths in headers, never from error texts."""

from __future__ import annotations

import struct

__all__ = ["is_truncated"]

_RIFF = {"wav", "webp", "avi"}
_BOXES = {"mp4", "mov", "m4a"}
# Writers that cannot seek back put a huge or zero length there; it then means "to the end".
_STREAMED = 0x7FFFF000


def is_truncated(data: bytes, name: str) -> bool:
    """True when `data`, of format `name`, certainly lacks its end; False also where that cannot be told."""
    try:
        if name in _RIFF:
            size = int.from_bytes(data[4:8], "little")
            return size < _STREAMED and size + 8 > len(data) + 1  # a missing last padding byte is common
        if name in _BOXES:
            return _boxes_cut(data)
        check = {"jpeg": _jpeg_cut, "png": _png_cut, "gif": _gif_cut, "bmp": _bmp_cut, "ogg": _ogg_cut}.get(
            name
        )
        return check is not None and check(data)
    except (IndexError, struct.error):
        return True


def _jpeg_cut(data: bytes) -> bool:
    return data.rfind(b"\xff\xd9") < 0


def _png_cut(data: bytes) -> bool:
    at = 8
    while at < len(data):
        length, chunk = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if chunk == b"IEND":
            return at > len(data)
    return True


def _gif_cut(data: bytes) -> bool:
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while data[at] != 0x3B:
        if data[at] == 0x2C:
            flags = data[at + 9]
            at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        elif data[at] == 0x21:
            at += 2
        else:
            return False  # damaged rather than cut
        while data[at]:
            at += data[at] + 1
        at += 1
        if at == len(data):
            return False  # only the trailer is missing
    return False


def _bmp_cut(data: bytes) -> bool:
    return int.from_bytes(data[2:6], "little") > len(data)


def _ogg_cut(data: bytes) -> bool:
    at = data.rfind(b"OggS")
    count = data[at + 26]
    return at + 27 + count + sum(data[at + 27 : at + 27 + count]) > len(data) or at + 27 + count > len(data)


def _boxes_cut(data: bytes) -> bool:
    at = 0
    names = set()
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
        names.add(name)
        if size == 0:
            break
        if size < 8:
            return False
        at += size
    return at > len(data) or b"moov" not in names
