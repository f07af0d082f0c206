"""Stage cache: an answer that was worked out before for an equal query, from an unchanged catalogue.

It stands behind ``classify``, which gives the hash of each part, and before a place is asked for: a hit costs
no place. What is kept is the answer as a protobuf message, without what is one request's own (times, id).

Not kept: an answer that lacks something (``degraded``), and one for a named user. What such a user is shown
is recorded with the evidence behind it, so that feedback can be learned from, and moved by their profile; a
kept answer has neither.

Equal queries at once share a flight: one of them works, under its own deadline, the others wait for what
comes of it, each until its own. What failed or was degraded is not shared: then each works for itself. When
the one that works is cancelled, another takes over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from cachetools import TTLCache

from orchestrator.cache import SharedStore
from orchestrator.cache_keys import answer_key
from orchestrator.classify import ClassifiedPart
from orchestrator.generations import Generations
from orchestrator.query import Priority, SearchQuery, SearchResult
from orchestrator.settings import CacheSettings
from orchestrator.trace import Trace
from orchestrator.wire import kept_answer, result_of

__all__ = ["AnswerCache"]

_ENTRY_OVERHEAD_BYTES = 512
"""Key, object headers and the cache's own links, rounded up."""

_FlightKey: TypeAlias = tuple[bytes, Priority]
"""Nobody who looks at a screen waits for a flight that itself waits behind them."""

_Came: TypeAlias = bytes | Literal["failed", "left"]
"""Of a flight: an answer to share, nothing to share, or nothing because whoever flew it left."""


class AnswerCache:
    """One for all releases; ``store`` keeps the answers if given."""

    def __init__(
        self,
        settings: CacheSettings,
        generations: Generations,
        store: SharedStore | None = None,
    ) -> None:
        self._enabled = settings.answers_max_bytes > 0
        self._ttl_s = settings.answers_ttl_s
        self._generations = generations
        self._store = store
        self._entries: TTLCache[bytes, bytes] = TTLCache(
            settings.answers_max_bytes, self._ttl_s, getsizeof=_size_bytes
        )
        self._flights: dict[_FlightKey, asyncio.Future[_Came]] = {}

    async def get(
        self,
        query: SearchQuery,
        parts: Sequence[ClassifiedPart],
        setup: bytes,
        trace: Trace,
        make: Callable[[], Awaitable[SearchResult]],
    ) -> SearchResult:
        """The answer to ``query``: kept, from somebody who asks the same just now, or else by ``make``.

        ``setup`` stands for what makes the answer beside query and catalogue.

        Raises:
            whatever ``make`` raises.
        """
        if not self._enabled or query.user or query.options.cache is False:
            return await make()
        key, kept = b"", None
        with trace.stage("cache"):
            generation = await self._generations.current()
            if generation is not None:
                key = answer_key(query, parts, setup, generation)
                kept = await self._kept(key) or await self._shared((key, query.priority))
        if kept is not None:
            found = result_of(kept, trace.stages(), trace.total_ms)
            if found is not None:
                return found
        flight = key, query.priority
        if not key or flight in self._flights:
            return await make()
        return await self._fly(flight, make)

    async def _shared(self, key: _FlightKey) -> bytes | None:
        """What comes of the flight of ``key``, if there is one and anything comes of it for others."""
        came: _Came = "left"
        while came == "left" and key in self._flights:
            # The shield keeps the flight going when this caller alone is cancelled.
            came = await asyncio.shield(self._flights[key])
        return came if isinstance(came, bytes) else None

    async def _fly(self, key: _FlightKey, make: Callable[[], Awaitable[SearchResult]]) -> SearchResult:
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        came: _Came = "failed"
        try:
            result = await make()
            if not result.degraded:
                came = kept_answer(result)
                result = replace(result, kept=came)
                await self._keep(key[0], came)
            return result
        except asyncio.CancelledError:
            came = "left"
            raise
        finally:
            del self._flights[key]
            flight.set_result(came)

    async def _kept(self, key: bytes) -> bytes | None:
        if self._store is not None:
            return await self._store.get(key)
        return self._entries.get(key)

    async def _keep(self, key: bytes, answer: bytes) -> None:
        if self._store is not None:
            await self._store.put(key, answer, self._ttl_s)
        elif _size_bytes(answer) <= self._entries.maxsize:
            self._entries[key] = answer

    @property
    def size_bytes(self) -> int:
        """Bytes held in this process now."""
        return int(self._entries.currsize)


def _size_bytes(answer: bytes) -> int:
    return len(answer) + _ENTRY_OVERHEAD_BYTES
