"""Stage classify: what each part is, by its content alone.

A part that came as bytes is sniffed, probed and hashed in a thread: containers are opened for it, and a hash
of 25 MB takes tens of milliseconds. Probing here means that limits are held before anything is queued for
Triton. A part that came as text is only cleaned, which is cheap, on the event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from media import Kind, Limits, MediaError, Modality, decode_text, probe, sniff
from orchestrator.deadlines import together
from orchestrator.errors import PartError
from orchestrator.query import QueryPart

__all__ = ["ClassifiedPart", "Classifier"]

_TEXT = Kind(Modality.TEXT, "text", "text/plain")
_INLINE_TEXT_CHARS = 8192
"""Longer texts are cleaned in a thread: Unicode normalisation of 64 KiB takes milliseconds."""


@dataclass(frozen=True, slots=True)
class ClassifiedPart:
    """A part that may be embedded. ``data`` is clean text, or the bytes as they came; ``digest`` its SHA-256.

    ``duration_s`` is 0 for texts and stills.
    """

    index: int
    kind: Kind
    weight: float
    data: str | bytes
    digest: bytes
    duration_s: float = 0.0

    @property
    def modality(self) -> Modality:
        """What the content was found to be."""
        return self.kind.modality


class Classifier:
    """``executor`` runs what would hold up the event loop; whoever made it shuts it down."""

    def __init__(self, limits: Limits, executor: ThreadPoolExecutor) -> None:
        self._limits = limits
        self._executor = executor

    async def classify(self, parts: Sequence[QueryPart]) -> list[ClassifiedPart]:
        """All parts, in order.

        Raises:
            PartError: a part is empty, over a limit, broken, or of a kind that is not supported.
        """
        if all(_is_short_text(part) for part in parts):
            return [self._classify(index, part) for index, part in enumerate(parts)]
        return await together(self._one(index, part) for index, part in enumerate(parts))

    async def _one(self, index: int, part: QueryPart) -> ClassifiedPart:
        if _is_short_text(part):
            return self._classify(index, part)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._classify, index, part)

    def _classify(self, index: int, part: QueryPart) -> ClassifiedPart:
        data, kind, duration_s = part.content, _TEXT, 0.0
        try:
            if isinstance(data, bytes):
                kind = sniff(data, self._limits)
                duration_s = probe(data, kind, self._limits).duration_s
            if kind.modality is Modality.TEXT:
                data = decode_text(data, self._limits)
        except MediaError as error:
            raise PartError.of(error, index) from error
        digest = hashlib.sha256(data.encode() if isinstance(data, str) else data).digest()
        return ClassifiedPart(index, kind, part.weight, data, digest, duration_s)


def _is_short_text(part: QueryPart) -> bool:
    return isinstance(part.content, str) and len(part.content) <= _INLINE_TEXT_CHARS
