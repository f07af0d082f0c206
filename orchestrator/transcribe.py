"""Stage transcribe: what is said in a sound query, as a text to search with beside the sound itself."""

from __future__ import annotations

import asyncio
import hashlib
import math
from dataclasses import dataclass

from media import Kind, Modality
from orchestrator.classify import ClassifiedPart
from orchestrator.deadlines import Deadline
from orchestrator.embed import Cutter, Embedder
from orchestrator.ports import Encoder, ItemStore
from orchestrator.settings import TranscribeSettings
from orchestrator.trace import Trace
from orchestrator.types import Embedding

__all__ = ["Heard", "Transcriber"]

_TEXT = Kind(Modality.TEXT, "text", "text/plain")


@dataclass(frozen=True, slots=True)
class Heard:
    """What was said, its embedding, and the mean probability of a token (0..1)."""

    text: str
    embedding: Embedding
    confidence: float


class Transcriber:
    """Speech to text with the catalogue's own words as expected phrases."""

    def __init__(
        self,
        encoder: Encoder,
        items: ItemStore,
        embedder: Embedder,
        cutter: Cutter,
        settings: TranscribeSettings,
    ) -> None:
        self._encoder = encoder
        self._items = items
        self._embedder = embedder
        self._cutter = cutter
        self._settings = settings

    async def transcribe(self, part: ClassifiedPart, trace: Trace, budget_s: float) -> Heard | None:
        """What is said in the sound ``part``; None when nothing is, or nothing that can be trusted.

        Of a long sound only the first segment is listened to: spoken queries are short.

        Raises:
            PartError: a decoder refused the content.
            DependencyError: Triton or the item store failed.
            TimeoutError: it took longer than ``budget_s``.
        """
        deadline = Deadline(budget_s)
        async with asyncio.timeout(budget_s):
            phrases = await self._items.vocabulary(self._settings.vocabulary_size)
            (sound,) = await self._cutter.cut(part, 1)
            with trace.waiting("transcribe", "triton"):
                heard = await self._encoder.transcribe(sound, phrases, deadline.remaining_s)
            confidence = math.exp(min(0.0, heard.score))
            if not heard.text or confidence < self._settings.min_confidence:
                return None
            digest = hashlib.sha256(heard.text.encode()).digest()
            text = ClassifiedPart(part.index, _TEXT, part.weight, heard.text, digest)
            embedding, _ = await self._embedder.embed(text, trace, deadline.remaining_s, "transcribe")
            return Heard(heard.text, embedding, confidence)
