"""Stage admit: refuse what cannot be answered before it costs anything; bound what is answered at once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.errors import OverloadedError, RequestError, TooLargeError
from orchestrator.feedback import check_user
from orchestrator.query import SearchQuery
from orchestrator.settings import AdmissionSettings
from orchestrator.trace import Trace

__all__ = ["MAX_WEIGHT", "Gate", "check_query"]

MAX_WEIGHT = 10.0


def check_query(query: SearchQuery, settings: AdmissionSettings) -> None:
    """Counts and ranges of a query; its content is judged by ``classify``.

    Raises:
        RequestError: a number is out of range, or there is nothing to search for.
        TooLargeError: it has too many parts.
    """
    if not query.parts:
        raise RequestError("a query needs at least one part")
    if len(query.parts) > settings.max_parts:
        raise TooLargeError("the query has too many parts", limit=f"max_parts={settings.max_parts}")
    for index, part in enumerate(query.parts):
        if not math.isfinite(part.weight) or part.weight == 0 or abs(part.weight) > MAX_WEIGHT:
            raise RequestError(
                "a weight must be finite and not 0", part=index, limit=f"max_weight={MAX_WEIGHT:g}"
            )
    if all(part.weight < 0 for part in query.parts):
        raise RequestError("every part is negative: there is nothing to look for")
    if not query.targets:
        raise RequestError("no target modality is left")
    if not 1 <= query.limit <= settings.max_results:
        raise RequestError("limit is out of range", limit=f"max_results={settings.max_results}")
    if not 0 <= query.offset <= settings.max_offset:
        raise RequestError("offset is out of range", limit=f"max_offset={settings.max_offset}")
    if not 0 <= query.min_score <= 1:
        raise RequestError("min_score must lie between 0 and 1")
    if query.user:
        check_user(query.user)
    if query.mmr_lambda is not None and not 0 <= query.mmr_lambda <= 1:
        raise RequestError("mmr_lambda must lie between 0 and 1")


class Gate:
    """So many requests at once, so many more waiting; the next one is turned away at once."""

    def __init__(self, max_concurrent: int, max_waiting: int) -> None:
        self._places = asyncio.Semaphore(max_concurrent)
        self._max_waiting = max_waiting
        self.active = 0
        self.waiting = 0

    @asynccontextmanager
    async def enter(self, trace: Trace) -> AsyncIterator[None]:
        """Holds a place for the block; the wait for it counts for ``trace``'s stage admit.

        Raises:
            OverloadedError: all places are taken and as many as may wait are waiting.
        """
        if self._places.locked() and self.waiting >= self._max_waiting:
            raise OverloadedError("too many requests at once", limit=f"max_waiting={self._max_waiting}")
        self.waiting += 1
        try:
            with trace.stage("admit"):
                await self._places.acquire()
        finally:
            self.waiting -= 1
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1
            self._places.release()
