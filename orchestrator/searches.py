"""Which searches a query takes, and searches that are to yield items of a store that ranks rows.

An item has one row per medium and segment, so a few long sounds or videos may fill all rows of a search and
hide every other item. Where a search comes back full with fewer items than wanted it is made again without
the items found so far, deeper each time. Rows come best first: the first row of an item is its best, what a
repetition finds ranks behind it, so nothing is lost by leaving found items out. The server's own grouping
is no way out: Milvus 2.3 has none, and Milvus Lite reads ten times the rows for it in every search and groups
no more than these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator.compose import QueryVector
from orchestrator.deadlines import Deadline
from orchestrator.errors import SensoriumError
from orchestrator.filters import exclude_items
from orchestrator.ports import VectorStore
from orchestrator.trace import Trace, reason
from orchestrator.types import FloatArray, Modality, RowHit, Space

__all__ = ["MAX_REPEATS", "ItemSearcher", "Search", "plan"]

MAX_REPEATS = 4
"""How often one vector's search is made again at most."""

_DEEPER = 4
_MAX_ROWS = 1000
"""A repetition asks for so many times the rows, up to this many."""

_NATIVE: dict[Literal["audio", "video"], Modality] = {"audio": Modality.AUDIO, "video": Modality.VIDEO}


@dataclass(frozen=True, slots=True)
class Search:
    """One call of the store: a vector [n, dim] per source. A source of None is the composed vector."""

    space: Space
    target: Modality
    sources: tuple[QueryVector | None, ...]
    vectors: FloatArray

    @property
    def name(self) -> str:
        """As ``degraded`` calls it: "image", "audio/audio"."""
        return self.target.value + ("" if self.space == "unified" else f"/{self.space}")


def plan(
    vectors: Sequence[QueryVector],
    composed: Callable[[Modality], FloatArray | None],
    targets: Sequence[Modality],
) -> list[Search]:
    """The searches for ``vectors`` and the composed vector for each target, where there is one: those of one
    space and target share a call."""
    unified = [v for v in vectors if v.space in ("unified", "transcript")]
    searches = []
    for target in targets:
        sources: list[QueryVector | None] = [*unified]
        matrix = [v.vector for v in unified]
        if (recall := composed(target)) is not None:
            sources.append(None)
            matrix.append(recall)
        searches.append(Search("unified", target, tuple(sources), np.stack(matrix)))
    for space, modality in _NATIVE.items():
        native = [v for v in vectors if v.space == space]
        if native and modality in targets:
            searches.append(Search(space, modality, tuple(native), np.stack([v.vector for v in native])))
    return searches


class ItemSearcher:
    """Searches the rows of one embedding version for items."""

    def __init__(self, store: VectorStore, embedding_version: str) -> None:
        self._store = store
        self._version = embedding_version

    async def search(
        self,
        search: Search,
        rows: int,
        wanted: int,
        expression: str,
        trace: Trace,
        budget_s: float,
        stage: str,
    ) -> list[list[RowHit]]:
        """For each vector the best row of each item found, best first: all that ``rows`` rows hold.

        Where these are fewer than ``wanted`` items, more are looked for. That never takes more than one call
        at a time; where it stays short of ``wanted`` though there may be more, ``trace`` says why, as it does
        of ``stage``.

        Raises:
            SensoriumError, TimeoutError: the first call failed.
        """
        deadline = Deadline(budget_s)
        lists = await self._call(search, search.vectors, rows, expression, trace, deadline, stage)
        found = [_best_rows(hits) for hits in lists]
        for place, hits in enumerate(lists):
            if len(hits) < rows or len(found[place]) >= wanted:
                continue
            vector = search.vectors[place : place + 1]
            try:
                done = await self._repeat(
                    search, vector, found[place], rows, wanted, expression, trace, deadline, stage
                )
                why = "" if done else "repeats"
            except (SensoriumError, TimeoutError) as error:
                why = reason(error)
            if why:
                trace.degrade(stage, f"{search.name}: long items may hide others: {why}")
                if why != "repeats":
                    break
        return [list(best.values()) for best in found]

    async def _repeat(
        self,
        search: Search,
        vector: FloatArray,
        best: dict[str, RowHit],
        rows: int,
        wanted: int,
        expression: str,
        trace: Trace,
        deadline: Deadline,
        stage: str,
    ) -> bool:
        """Adds to ``best`` until it holds ``wanted`` items or there are no more; False if it gave up."""
        for _ in range(MAX_REPEATS):
            rows = max(rows, min(rows * _DEEPER, _MAX_ROWS))
            others = exclude_items(expression, list(best))
            (hits,) = await self._call(search, vector, rows, others, trace, deadline, stage)
            best |= _best_rows(hits)
            if len(hits) < rows or len(best) >= wanted:
                return True
        return False

    async def _call(
        self,
        search: Search,
        vectors: FloatArray,
        rows: int,
        expression: str,
        trace: Trace,
        deadline: Deadline,
        stage: str,
    ) -> list[list[RowHit]]:
        budget_s = deadline.remaining_s
        with trace.waiting(stage, "milvus"):
            async with asyncio.timeout(budget_s):
                return await self._store.search(
                    search.space, search.target, vectors, rows, expression, self._version, budget_s
                )


def _best_rows(hits: Sequence[RowHit]) -> dict[str, RowHit]:
    best: dict[str, RowHit] = {}
    for hit in hits:
        best.setdefault(hit.item_id, hit)
    return best
