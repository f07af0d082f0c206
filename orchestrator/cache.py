"""The embedding cache in front of Triton: LRU, with a time to live, bounded in bytes, single-flight.

A key stands for content, modality and embedding version, so an entry can never be wrong, only old; the time
to live is there to give memory back. Behind it there may be a store that several processes share. Callers
that ask for the same key while it is being made wait for the same *flight*. The flight is a task of its own:
a caller that gives up does not end it for the others, but when nobody waits for it any more it is cancelled.
A flight that fails is forgotten, and its error goes to whoever waited for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from cachetools import TTLCache

from orchestrator.types import NATIVE_DIM, UNIFIED_DIM, Embedding

__all__ = ["EmbeddingCache", "SharedStore"]

_ENTRY_OVERHEAD_BYTES = 512
"""Key, arrays' headers and the cache's own links; measured with tracemalloc, rounded up."""
_SIZES = {4 * (UNIFIED_DIM + native) for native in (0, *NATIVE_DIM.values())}
"""What an entry in the shared store may have: the unified vector and perhaps a native one, float32."""


class SharedStore(Protocol):
    """Bytes that several processes share (Redis). What fails is a miss, never an error."""

    async def get(self, key: bytes) -> bytes | None:
        """The value of ``key``, if there is one."""
        ...

    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """Keeps ``value`` for ``ttl_s`` seconds, unless it is too large."""
        ...

    async def generation(self) -> bytes | None:
        """The generation of the catalogue that all processes agree on; None if it cannot be known for now."""
        ...

    async def new_generation(self) -> bytes | None:
        """Ends it and begins another."""
        ...


@dataclass(slots=True)
class _Flight:
    task: asyncio.Task[Embedding]
    waiters: int = 0


class EmbeddingCache:
    """``max_bytes`` bounds the vectors held; 0 keeps nothing, nor in ``store``, but still shares flights."""

    def __init__(self, max_bytes: int, ttl_s: float, store: SharedStore | None = None) -> None:
        self._store = store if max_bytes else None
        self._ttl_s = ttl_s
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
            entry = await self._read(key)
            if entry is None:
                entry = await make()
                if self._store is not None:
                    await self._store.put(key, _written(entry), self._ttl_s)
            if _size_bytes(entry) <= self._entries.maxsize:
                self._entries[key] = entry
            return entry
        finally:
            flight = self._flights.get(key)
            if flight is not None and flight.task is mine:
                del self._flights[key]

    async def _read(self, key: bytes) -> Embedding | None:
        value = None if self._store is None else await self._store.get(key)
        if value is None or len(value) not in _SIZES:
            return None
        numbers = np.frombuffer(value, "<f4").astype(np.float32)
        native = numbers[UNIFIED_DIM:]
        return Embedding(numbers[:UNIFIED_DIM], native if len(native) else None)

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


def _written(entry: Embedding) -> bytes:
    native = b"" if entry.native is None else entry.native.astype("<f4").tobytes()
    return entry.unified.astype("<f4").tobytes() + native
