"""The embedding cache in front of Triton: LRU, with a time to live, bounded in bytes, single-flight.

A key names content, modality and embedding version, so an entry can never be wrong, only old; the time to
live is there to give memory back. Callers that ask for the same key while it is being made wait for the same
*flight*. The flight is a task of its own: a caller that gives up does not end it for the others, but when
nobody waits for it any more it is cancelled. A flight that fails is forgotten, and its error goes to whoever
waited for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cachetools import TTLCache

from orchestrator.types import Embedding, Modality

__all__ = ["EmbeddingCache", "cache_key"]

_ENTRY_OVERHEAD_BYTES = 512
"""Key, arrays' headers and the cache's own links; measured with tracemalloc, rounded up."""


def cache_key(modality: Modality, digest: bytes, embedding_version: str) -> bytes:
    """Stands for the content of SHA-256 ``digest`` (32 bytes), read as ``modality``, in this version.

    The digest has a fixed length and a modality holds no NUL, so no two different triples give one key.
    """
    return digest + modality.value.encode() + b"\0" + embedding_version.encode()


@dataclass(slots=True)
class _Flight:
    task: asyncio.Task[Embedding]
    waiters: int = 0


class EmbeddingCache:
    """``max_bytes`` bounds the vectors held; 0 keeps nothing but still shares flights."""

    def __init__(self, max_bytes: int, ttl_s: float) -> None:
        self._entries: TTLCache[bytes, Embedding] = TTLCache(max_bytes, ttl_s, getsizeof=_size_bytes)
        self._flights: dict[bytes, _Flight] = {}
        self._tasks: set[asyncio.Task[Embedding]] = set()

    async def get(self, key: bytes, make: Callable[[], Awaitable[Embedding]]) -> tuple[Embedding, bool]:
        """The entry of ``key``, made by ``make`` if need be, and whether it was there already.

        Raises:
            whatever ``make`` raises.
        """
        entry = self._entries.get(key)
        if entry is not None:
            return entry, True
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(self._fly(key, make)))
            self._tasks.add(flight.task)
            flight.task.add_done_callback(self._tasks.discard)
        flight.waiters += 1
        try:
            # The shield keeps the flight going when this caller alone is cancelled.
            return await asyncio.shield(flight.task), False
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                self._flights.pop(key, None)
                flight.task.cancel()

    async def _fly(self, key: bytes, make: Callable[[], Awaitable[Embedding]]) -> Embedding:
        mine = asyncio.current_task()
        try:
            entry = await make()
            if _size_bytes(entry) <= self._entries.maxsize:
                self._entries[key] = entry
            return entry
        finally:
            flight = self._flights.get(key)
            if flight is not None and flight.task is mine:
                del self._flights[key]

    @property
    def size_bytes(self) -> int:
        """Bytes held now."""
        return int(self._entries.currsize)

    def __len__(self) -> int:
        return len(self._entries)

    async def close(self) -> None:
        """Cancels every flight and waits until all have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _size_bytes(entry: Embedding) -> int:
    return entry.nbytes + _ENTRY_OVERHEAD_BYTES
