"""Checksums that formats carry themselves: damage is seen at the speed of memory, with nothing decoded."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from media.blocks import ogg_pages, png_chunks

__all__ = ["has_damage"]

# What a reader cannot do without; a damaged comment or colour profile hurts nobody.
_PNG_NEEDED = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"}
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_NO_CHECKSUM = bytes(4)


def has_damage(data: bytes, name: str) -> bool:
    """True when a PNG chunk or an Ogg page is there in full and differs from its checksum."""
    checks = {"png": _png_checks, "ogg": _ogg_checks}.get(name)
    return checks is not None and not all(checks(data))


def _png_checks(data: bytes) -> Iterator[bool]:
    view = memoryview(data)
    for name, start, end in png_chunks(data):
        if name in _PNG_NEEDED and end + 4 <= len(data):
            yield zlib.crc32(view[start - 4 : end]) == int.from_bytes(view[end : end + 4])


def _ogg_checks(data: bytes) -> Iterator[bool]:
    """RFC 3533, section 6: the same polynomial as zlib's, but bits in the other order and no inversions."""
    view = memoryview(data)
    for _, start, end in ogg_pages(data):
        if end <= len(data):
            page = b"".join((view[start : start + 22], _NO_CHECKSUM, view[start + 26 : end]))
            crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
            yield crc.to_bytes(4, "big").translate(_REVERSED) == view[start + 22 : start + 26]
