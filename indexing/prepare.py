"""Media as sent in -> what has to be embedded. Blocks and takes time: for threads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from media import Limits, MediaError, Modality, decode_text, probe, segments, sniff
from orchestrator.errors import PartError
from orchestrator.types import MediaInfo

__all__ = ["TEXT_INDEX", "Piece", "hashes_of", "pieces_of"]

TEXT_INDEX = -1
"""``media_index`` of the row of an item's own text."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one embedding is made of: a text, or an encoded file, ``start_s`` to ``end_s`` of its media."""

    modality: Modality
    media_index: int
    segment: int
    start_s: float
    end_s: float
    data: bytes | str


def hashes_of(media: Sequence[bytes]) -> tuple[str, ...]:
    """SHA-256 of each, in hex."""
    return tuple(hashlib.sha256(data).hexdigest() for data in media)


def pieces_of(index: int, data: bytes, sha256: str, limits: Limits) -> tuple[MediaInfo, list[Piece]]:
    """What media ``index`` is, and its pieces.

    Raises:
        PartError: it cannot be used; ``part`` is ``index``.
    """
    try:
        kind = sniff(data, limits)
        found = probe(data, kind, limits)
        if kind.modality is Modality.TEXT:
            pieces = [Piece(Modality.TEXT, index, 0, 0.0, 0.0, decode_text(data, limits))]
        else:
            pieces = [
                Piece(kind.modality, index, s.index, s.start_s, s.end_s, s.data)
                for s in segments(data, kind, limits)
            ]
    except MediaError as error:
        raise PartError.of(error, index) from error
    duration_s = max((piece.end_s for piece in pieces), default=found.duration_s)
    return MediaInfo(kind.modality, kind.format, sha256, duration_s), pieces
