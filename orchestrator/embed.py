"""Stage embed: one Triton ensemble per part, all parts at once, behind the cache.

A long sound or video is cut as the catalogue's own are; its segments are embedded at once and pooled.
"""

from __future__ import annotations

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor

from media import Limits, MediaError, Modality, segments
from orchestrator.cache import EmbeddingCache
from orchestrator.cache_keys import embedding_key
from orchestrator.classify import ClassifiedPart
from orchestrator.compose import pool
from orchestrator.deadlines import Deadline, together
from orchestrator.errors import PartError
from orchestrator.ports import Encoder
from orchestrator.trace import Trace
from orchestrator.types import Embedding

__all__ = ["Cutter", "Embedder"]


class Cutter:
    """Cuts what is too long for one inference, in ``executor``'s threads."""

    def __init__(self, limits: Limits, executor: ThreadPoolExecutor) -> None:
        self._limits = limits
        self._executor = executor

    def is_long(self, part: ClassifiedPart) -> bool:
        """Whether ``part`` has to be cut."""
        longest_s = {
            Modality.AUDIO: self._limits.segment_audio_s,
            Modality.VIDEO: self._limits.segment_video_s,
        }.get(part.modality)
        if longest_s is None:
            return False
        return part.duration_s > longest_s or len(part.data) > self._limits.segment_bytes

    def searched_s(self, part: ClassifiedPart, at_most: int) -> float:
        """How many seconds from the start ``at_most`` segments of ``part`` cover, if it is that long."""
        length_s, overlap_s = {
            Modality.AUDIO: (self._limits.segment_audio_s, self._limits.segment_audio_overlap_s),
            Modality.VIDEO: (self._limits.segment_video_s, self._limits.segment_video_overlap_s),
        }.get(part.modality, (0.0, 0.0))
        return length_s + (at_most - 1) * (length_s - overlap_s)

    async def cut(self, part: ClassifiedPart, at_most: int) -> list[bytes]:
        """The first ``at_most`` segments of ``part``, itself if it is not long.

        Raises:
            PartError: it cannot be decoded.
        """
        data = part.data
        if isinstance(data, str):
            raise TypeError("a text is not cut")
        if not self.is_long(part):
            return [data]

        def work() -> list[bytes]:
            first_s = self.searched_s(part, at_most)
            found = itertools.islice(segments(data, part.kind, self._limits, first_s), at_most)
            return [segment.data for segment in found]

        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except MediaError as error:
            raise PartError.of(error, part.index) from error


class Embedder:
    """Embeddings of classified parts, of one embedding version."""

    def __init__(
        self,
        encoder: Encoder,
        cache: EmbeddingCache,
        cutter: Cutter,
        embedding_version: str,
        *,
        flight_s: float,
        max_segments: int,
    ) -> None:
        self._encoder = encoder
        self._cache = cache
        self._cutter = cutter
        self._version = embedding_version
        # A flight may serve several callers: the stage's budget bounds it, not the deadline of one of them.
        self._flight_s = flight_s
        self._max_segments = max_segments

    async def embed(
        self, part: ClassifiedPart, trace: Trace, budget_s: float, stage: str = "embed"
    ) -> tuple[Embedding, bool]:
        """The embedding of ``part``, and whether it came from the cache; its time counts for ``stage``.

        Raises:
            PartError: a decoder refused the content.
            DependencyError: Triton failed.
            TimeoutError: it took longer than ``budget_s``.
        """
        key = embedding_key(part.modality, part.digest, self._version)
        with trace.waiting(stage, "triton"):
            try:
                async with asyncio.timeout(budget_s):
                    return await self._cache.get(key, lambda: self._make(part))
            except PartError as error:
                raise error.at(part.index) from error

    def unsearched(self, part: ClassifiedPart) -> str | None:
        """Why the end of ``part`` is not searched, or None: said in the answer, for it is not the whole."""
        searched_s = self._cutter.searched_s(part, self._max_segments)
        if part.duration_s <= searched_s:
            return None
        return f"part {part.index}: only its first {searched_s:.0f} s are searched"

    async def _make(self, part: ClassifiedPart) -> Embedding:
        deadline = Deadline(self._flight_s)
        if not self._cutter.is_long(part):
            return await self._encoder.embed(part.modality, part.data, deadline.remaining_s)
        pieces = await self._cutter.cut(part, self._max_segments)
        return pool(
            await together(
                self._encoder.embed(part.modality, piece, deadline.remaining_s) for piece in pieces
            )
        )
