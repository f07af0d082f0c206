"""One change of an item at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

__all__ = ["ItemLocks"]


class ItemLocks:
    """A lock per item id, first come first served; kept only while somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()

    @asynccontextmanager
    async def hold(self, ids: Iterable[str]) -> AsyncIterator[None]:
        """Holds the locks of all ``ids``, taken in order so that two holders cannot wait for each other."""
        async with AsyncExitStack() as stack:
            for item_id in sorted(set(ids)):
                await stack.enter_async_context(self._one(item_id))
            yield

    @asynccontextmanager
    async def _one(self, item_id: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(item_id, asyncio.Lock())
        self._users[item_id] += 1
        try:
            async with lock:
                yield
        finally:
            self._users[item_id] -= 1
            if not self._users[item_id]:
                del self._users[item_id], self._locks[item_id]
