"""The block structures of file formats: where each block begins and ends, without reading what is in it.

Every function yields (name, start, end) of the payloads in file order. The last `end` lies beyond the data
when the file was cut; a block header that is itself cut is not given. A file of more blocks than any honest
one has is read no further.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = [
    "Block",
    "gif_blocks",
    "id3_end",
    "iso_boxes",
    "jpeg_segments",
    "ogg_pages",
    "png_chunks",
    "riff_chunks",
]

Block = tuple[bytes, int, int]
_MAX_BLOCKS = 100_000
_MAX_GIF_SUB_BLOCKS = 500_000


def png_chunks(data: bytes) -> Iterator[Block]:
    """Chunks of a PNG (W3C PNG, section 5); checksums are not part of the payload."""
    at = 8
    for _ in range(_MAX_BLOCKS):
        if at + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, at)
        yield name, at + 8, at + 8 + length
        at += 12 + length


def riff_chunks(data: bytes) -> Iterator[Block]:
    """Top-level chunks of a RIFF file."""
    at = 12
    for _ in range(_MAX_BLOCKS):
        if at + 8 > len(data):
            return
        name, length = struct.unpack_from("<4sI", data, at)
        yield name, at + 8, at + 8 + length
        at += 8 + length + (length & 1)


def iso_boxes(data: bytes) -> Iterator[Block]:
    """Top-level boxes of an ISO base media file (ISO/IEC 14496-12); stops at a size no box can have."""
    at = 0
    for _ in range(_MAX_BLOCKS):
        if at + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, at)
        header = 8
        if length == 1 and at + 16 <= len(data):
            (length,) = struct.unpack_from(">Q", data, at + 8)
            header = 16
        if length == 0:  # to the end of the file
            length = len(data) - at
        if length < header:
            return
        yield name, at + header, at + length
        at += length


def jpeg_segments(data: bytes) -> Iterator[Block]:
    """Marker segments of a JPEG (ITU-T T.81, annex B) up to the first scan."""
    at = 2
    for _ in range(_MAX_BLOCKS):
        if at + 4 > len(data) or data[at] != 0xFF:
            return
        if data[at + 1] == 0xFF:  # fill bytes are allowed before a marker
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4])
        yield data[at + 1 : at + 2], at + 4, at + 2 + length
        if data[at + 1] == 0xDA or length < 2:
            return
        at += 2 + length


def gif_blocks(data: bytes) -> Iterator[Block]:
    """Images (b","), extensions (b"!" and their label) and the trailer (b";") of a GIF89a file."""
    sub_blocks = 0
    try:
        at = 13 + _colour_table(data[10])
        for _ in range(_MAX_BLOCKS):
            start = at
            if data[at] == 0x3B:
                yield b";", at, at + 1
                return
            if data[at] == 0x2C:
                name = b","
                at += 11 + _colour_table(data[at + 9])
            elif data[at] == 0x21:
                name = b"!" + data[at + 1 : at + 2]
                at += 2
            else:
                return
            while at < len(data) and data[at]:
                at += data[at] + 1
                sub_blocks += 1
                if sub_blocks > _MAX_GIF_SUB_BLOCKS:
                    return
            at += 1
            yield name, start, at
    except IndexError:
        return


def ogg_pages(data: bytes) -> Iterator[Block]:
    """Pages of an Ogg stream (RFC 3533, section 6), header included, up to where none begins."""
    at = 0
    for _ in range(_MAX_BLOCKS):
        if data[at : at + 4] != b"OggS" or at + 27 > len(data):
            return
        count = data[at + 26]
        end = at + 27 + count + sum(data[at + 27 : at + 27 + count])
        yield b"OggS", at, end
        at = end


def id3_end(data: bytes) -> int:
    """Where an ID3v2 tag at the start ends; 0 without one."""
    if not data.startswith(b"ID3") or len(data) <= 10:
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _colour_table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
