"""What is wrong with a file that cannot be decoded. Read from its structure, never from error texts."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

from media.blocks import (
    Block,
    gif_blocks,
    id3_end,
    iso_boxes,
    jpeg_segments,
    ogg_pages,
    png_chunks,
    riff_chunks,
)
from media.checksums import has_damage
from media.errors import (
    BombError,
    CorruptError,
    EncryptedError,
    MediaError,
    TruncatedError,
    UnsupportedError,
)

__all__ = ["check_blocks", "check_picture", "check_structure", "diagnose", "is_truncated"]

_MAX_BLOCKS = 80_000  # an animation has two or three for each of at most 36,000 pictures
_MAX_INDEX_BYTES = 8 * 1024 * 1024
_MAX_SCANS = 100  # encoders write about ten
_MAX_SCANNED_PIXELS = 1_000_000_000
_MAX_RUN_BYTES = 2 * 1024 * 1024
# Encoders do not agree on what the length in an MP3's first frame counts.
_MP3_SLACK_BYTES = 4096
_WALKS: dict[str, Callable[[bytes], Iterator[Block]]] = {
    "jpeg": jpeg_segments,
    "png": png_chunks,
    "gif": gif_blocks,
    "ogg": ogg_pages,
    **dict.fromkeys(("wav", "webp", "avi"), riff_chunks),
    **dict.fromkeys(("mp4", "mov", "m4a"), iso_boxes),
}
_RIFF = {"wav", "webp", "avi"}
_ISO = {"mp4", "mov", "m4a"}
# Writers that cannot seek back leave a huge length; it then means "to the end".
_STREAMED = 0x7FFFF000
# Pillow reads no compressed text or colour profile beyond this.
_MAX_PNG_TEXT_BYTES = 1024 * 1024
# Sample entries of Common Encryption (ISO/IEC 23001-7) and of older protected iTunes files.
_PROTECTED = (b"encv", b"enca", b"drms", b"drmi")
# StripOffsets, StripByteCounts, TileOffsets, TileByteCounts
_TIFF_PLACES = {273, 279, 324, 325}
_EBML_UNKNOWN = {(1 << 7 * n) - 1 for n in range(1, 9)}


def diagnose(data: bytes, name: str) -> type[MediaError]:
    """TruncatedError, BombError or CorruptError for `data` of format `name`, which did not decode."""
    if is_truncated(data, name):
        return TruncatedError
    if name == "png" and _png_text_bomb(data):
        return BombError
    return CorruptError


def is_truncated(data: bytes, name: str) -> bool:
    """True when `data`, of format `name`, certainly lacks its end; False also where that cannot be told."""
    if name in _RIFF:
        size = int.from_bytes(data[4:8], "little")
        return len(data) < 12 or (
            size < _STREAMED and size + 7 > len(data)
        )  # the last padding byte is optional
    if name in _ISO:
        boxes = list(iso_boxes(data))
        return not boxes or boxes[-1][2] > len(data) or all(box != b"moov" for box, _, _ in boxes)
    if name in {"webm", "mkv"}:
        return _matroska_cut(data)
    if name == "ogg":
        return _ogg_cut(data)
    if name == "mp3":
        return _mp3_cut(data)
    if name == "jpeg":
        return data.rfind(b"\xff\xd9") < 0
    if name == "png":
        chunks = list(png_chunks(data))
        return not chunks or chunks[-1][2] + 4 > len(data) or all(chunk != b"IEND" for chunk, _, _ in chunks)
    if name == "gif":
        # A missing trailer alone is common and harmless.
        blocks = list(gif_blocks(data))
        return len(data) < 13 or not any(block == b"," for block, _, _ in blocks) or blocks[-1][2] > len(data)
    if name == "bmp":
        return int.from_bytes(data[2:6], "little") > len(data)
    if name == "tiff":
        return _tiff_cut(data)
    return False


def check_structure(data: bytes, name: str) -> None:
    """Looks at a sound or video file before FFmpeg does, which would play what is left of a cut one.

    Raises TruncatedError, CorruptError (see `check_blocks`) and, for the MP4 family, EncryptedError.
    """
    if is_truncated(data, name):
        raise TruncatedError(kind=name)
    check_blocks(data, name)
    if has_damage(data, name):
        raise CorruptError(kind=name)
    if name in _ISO:
        for box, start, end in iso_boxes(data):
            # A protected track has its sample entry renamed and protection information put into it.
            if (
                box == b"moov"
                and b"sinf" in data[start:end]
                and any(e in data[start:end] for e in _PROTECTED)
            ):
                raise EncryptedError(kind=name)


def check_picture(data: bytes, name: str, pixels: int) -> None:
    """Looks at a picture of `pixels` before Pillow does, which stops for no deadline.

    Raises CorruptError for a wrong checksum, BombError for a JPEG of far more passes over all its pixels than
    an honest one has, UnsupportedError for a large run-length coded BMP.
    """
    if has_damage(data, name):
        raise diagnose(data, name)(kind=name)
    if name == "jpeg":
        # Inside scans 0xFF is always followed by zero: from the first one on this finds markers alone.
        begins = next((start for block, start, _ in jpeg_segments(data) if block == b"\xda"), len(data))
        scans = 1 + data.count(b"\xff\xda", begins)
        if scans > _MAX_SCANS or scans * pixels > _MAX_SCANNED_PIXELS:
            raise BombError(kind=name)
    # Pillow unpacks these in Python, pair by pair.
    if name == "bmp" and len(data) > _MAX_RUN_BYTES and int.from_bytes(data[30:34], "little") in {1, 2}:
        raise UnsupportedError("run-length coding is not supported in a bitmap this large", kind=name)


def check_blocks(data: bytes, name: str) -> None:
    """CorruptError for far more blocks, or a larger index, than an honest file has: readers walk them all."""
    walk = _WALKS.get(name)
    if walk is None:
        return
    for number, (block, start, end) in enumerate(walk(data)):
        if number >= _MAX_BLOCKS or (block == b"moov" and end - start > _MAX_INDEX_BYTES):
            raise CorruptError("it consists of far too many pieces", kind=name)


def _mp3_cut(data: bytes) -> bool:
    """The first frame of many files is empty but for a "Xing" or "Info" tag with the length of all frames."""
    at = id3_end(data)
    if at + 4 > len(data):
        return True
    is_mpeg1, is_mono = data[at + 1] & 8, data[at + 3] >> 6 == 3
    tag = at + 4 + ((17 if is_mono else 32) if is_mpeg1 else (9 if is_mono else 17))
    flags = int.from_bytes(data[tag + 4 : tag + 8])
    if data[tag : tag + 4] not in {b"Xing", b"Info"} or not flags & 2:
        return False
    place = tag + (12 if flags & 1 else 8)  # a count of frames may come first
    return at + int.from_bytes(data[place : place + 4]) > len(data) + _MP3_SLACK_BYTES


def _ogg_cut(data: bytes) -> bool:
    """The last page (RFC 3533, section 6) is longer than what is left."""
    at = data.rfind(b"OggS")
    if at < 0 or at + 27 > len(data):
        return True
    lengths = data[at + 27 : at + 27 + data[at + 26]]
    return at + 27 + data[at + 26] + sum(lengths) > len(data)


def _tiff_cut(data: bytes) -> bool:
    """The first directory (TIFF 6.0, section 2), or a strip or tile it points to, lies beyond the data."""
    order = "<" if data[:2] == b"II" else ">"
    places: dict[int, tuple[int, ...]] = {}
    try:
        (directory,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, form, number, at = struct.unpack_from(order + "HHII", data, entry)
            if tag in _TIFF_PLACES and form in {3, 4} and number <= len(data):
                letter = "H" if form == 3 else "I"
                if number * (2 if form == 3 else 4) <= 4:
                    at = entry + 8
                places[tag] = struct.unpack_from(f"{order}{number}{letter}", data, at)
    except struct.error:
        return True
    for offsets, lengths in ((273, 279), (324, 325)):
        for at, length in zip(places.get(offsets, ()), places.get(lengths, ()), strict=False):
            if at + length > len(data):
                return True
    return False


def _matroska_cut(data: bytes) -> bool:
    """The EBML header or the segment after it (RFC 9559) is longer than what is left."""
    at = 4
    for identifier_bytes in (0, 4):
        at += identifier_bytes
        if at >= len(data) or data[at] == 0:
            return True
        width = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
        at += width
        if identifier_bytes == 0 or size not in _EBML_UNKNOWN:
            at += size
    return at > len(data)


def _png_text_bomb(data: bytes) -> bool:
    for name, start, end in png_chunks(data):
        if name in {b"zTXt", b"iTXt", b"iCCP"}:
            payload = data[start:end]
            compressed = payload[payload.find(b"\0") + 2 :]
            if name == b"iTXt":  # keyword, two flag bytes, language, translated keyword, text
                compressed = compressed[1:].split(b"\0", 2)[-1]
            try:
                plain = zlib.decompressobj().decompress(compressed, _MAX_PNG_TEXT_BYTES + 1)
            except zlib.error:
                continue
            if len(plain) > _MAX_PNG_TEXT_BYTES:
                return True
    return False
