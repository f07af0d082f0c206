"""The unified vectors of candidates' rows, for the stages that compare candidates.

One per request: what one stage has fetched, the next one finds here, so that Milvus is asked once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from orchestrator.ports import VectorStore
from orchestrator.trace import Trace
from orchestrator.types import FloatArray

__all__ = ["RowVectors"]


class RowVectors:
    """Vectors of one embedding version by row key."""

    def __init__(self, store: VectorStore, embedding_version: str) -> None:
        self._store = store
        self._version = embedding_version
        self._asked: set[str] = set()
        self._found: dict[str, FloatArray] = {}

    async def get(
        self, keys: Iterable[str], trace: Trace, stage: str, budget_s: float
    ) -> Mapping[str, FloatArray]:
        """Vectors [1024] of ``keys`` and of all that were asked for before; one not stored is left out.

        Waiting counts for ``stage``.

        Raises:
            DependencyError: the store failed.
            TimeoutError: it took longer than ``budget_s``.
        """
        new = [key for key in dict.fromkeys(keys) if key not in self._asked]
        if new:
            with trace.waiting(stage, "milvus"):
                async with asyncio.timeout(budget_s):
                    self._found.update(await self._store.vectors(new, self._version, budget_s))
            self._asked.update(new)
        return self._found
