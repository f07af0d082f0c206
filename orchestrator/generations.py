"""Which state of the catalogue an answer is of: a generation ends when an item changes.

A generation is part of an answer's key, so a change ends every kept answer at once and nothing has to be
looked for and removed. Where several processes share a store they share the generation: it is read again
after ``BOUND_S``, which bounds for how long another process may give answers from before a change. A change
of this process is known here at once: until the others can know of it, nothing is read from the cache.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from orchestrator.cache import SharedStore

__all__ = ["BOUND_S", "Generations"]

BOUND_S = 1.0
"""Seconds after which a change by another process is known."""

_AGAIN_S = 0.5


class Generations:
    """One per process, used on the event loop only. ``shared`` is None where it has the cache for itself."""

    def __init__(
        self, shared: SharedStore | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shared = shared
        self._clock = clock
        self._count = 0
        self._known: tuple[bytes, float] | None = None
        self._telling: asyncio.Task[None] | None = None

    def changed(self) -> None:
        """An item is not what it was."""
        self._count += 1
        self._known = None
        if self._shared is not None and self._telling is None:
            self._telling = asyncio.create_task(self._tell(self._shared))

    async def current(self) -> bytes | None:
        """The generation of answers that begin now; None if answers may be neither read nor kept."""
        if self._shared is None:
            return str(self._count).encode()
        if self._telling is not None:
            return None
        if self._known is not None and self._clock() - self._known[1] < BOUND_S:
            return self._known[0]
        count, asked_s = self._count, self._clock()
        generation = await self._shared.generation()
        if generation is None or count != self._count:
            return None
        self._known = (generation, asked_s)
        return generation

    async def _tell(self, shared: SharedStore) -> None:
        told = -1
        while told != self._count:
            count = self._count
            if await shared.new_generation() is not None:
                told = count
            else:
                await asyncio.sleep(_AGAIN_S)
        self._telling = None

    async def close(self) -> None:
        """Stops telling the others."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
