"""Stage retrieve: one vector search per space and target modality, all at once, filters pushed down.

A query of several parts takes two passes. The first finds candidates with every positive part and the
composed vector; the second, restricted to those candidates, measures them against every part, negative ones
included, so that a candidate which one part found is not taken to lack what it was never asked for.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator.calibrate import Calibration
from orchestrator.compose import Composition, QueryVector
from orchestrator.deadlines import Deadline, together
from orchestrator.errors import SensoriumError
from orchestrator.filters import restrict_to_items
from orchestrator.fusion import Learned, fuse
from orchestrator.query import Signal, SignalSpace
from orchestrator.trace import Trace, reason
from orchestrator.types import FloatArray, Modality, RowHit, Space, VectorStore

__all__ = ["Retriever"]

_NATIVE: dict[Literal["audio", "video"], Modality] = {"audio": Modality.AUDIO, "video": Modality.VIDEO}

_ROWS_PER_CANDIDATE = 4
"""Rows of one modality that the second pass allows a candidate; long media have more, short ones fewer."""

_FIRST_PASS_SHARE = 0.6
"""Of the stage's budget, when a second pass follows."""

_Key = tuple[int, Modality, SignalSpace, Modality, str]


@dataclass(frozen=True, slots=True)
class _Search:
    """One call of the store. A source of None is the composed vector."""

    space: Space
    target: Modality
    sources: tuple[QueryVector | None, ...]
    vectors: FloatArray


class Retriever:
    """Signals for a composition."""

    def __init__(
        self,
        store: VectorStore,
        calibration: Calibration,
        embedding_version: str,
        *,
        rows_per_search: int,
        max_candidates: int,
        learned: Learned,
    ) -> None:
        self._store = store
        self._calibration = calibration
        self._version = embedding_version
        self._rows_per_search = rows_per_search
        self._max_candidates = max_candidates
        self._learned = learned

    async def retrieve(
        self,
        query: Composition,
        targets: Sequence[Modality],
        expression: str,
        trace: Trace,
        budget_s: float,
    ) -> list[Signal]:
        """The best signal per (query vector, item modality, item).

        A search that fails is noted in ``trace``; the others stand.

        Raises:
            SensoriumError, TimeoutError: every search of the first pass failed.
        """
        deadline = Deadline(budget_s)
        positive = [vector for vector in query.vectors if vector.weight > 0]
        first = _plan(positive, query.recall, targets)
        share = _FIRST_PASS_SHARE if query.mixed else 1.0
        rows = await self._run(
            first, self._rows_per_search, expression, trace, deadline.budget_s(budget_s, share)
        )
        best = self._best(rows)
        if not query.mixed:
            return list(best.values())
        candidates = self._candidates(best.values(), rows, query)
        if not candidates:
            return []
        second = _plan(query.vectors, None, targets)
        limit = _ROWS_PER_CANDIDATE * len(candidates)
        among = restrict_to_items(expression, candidates)
        try:
            rows = await self._run(second, limit, among, trace, deadline.remaining_s)
        except (SensoriumError, TimeoutError) as error:
            trace.degrade("retrieve", f"parts were not weighed against each other: {reason(error)}")
            return [signal for signal in best.values() if signal.row.item_id in set(candidates)]
        return list(self._best(rows).values())

    async def _run(
        self, searches: Sequence[_Search], limit: int, expression: str, trace: Trace, budget_s: float
    ) -> list[tuple[_Search, list[list[RowHit]]]]:
        """What each search found; failures are noted, and raised only if nothing at all was found out."""

        async def one(search: _Search) -> list[list[RowHit]] | Exception:
            try:
                with trace.waiting("retrieve", "milvus"):
                    async with asyncio.timeout(budget_s):
                        return await self._store.search(
                            search.space,
                            search.target,
                            search.vectors,
                            limit,
                            expression,
                            self._version,
                            budget_s,
                        )
            except (SensoriumError, TimeoutError) as error:
                return error

        found = await together(one(search) for search in searches)
        done = []
        failed: Exception | None = None
        for search, answer in zip(searches, found, strict=True):
            if isinstance(answer, Exception):
                failed = failed or answer
                space = "" if search.space == "unified" else f"/{search.space}"
                trace.degrade("retrieve", f"{search.target.value}{space}: {reason(answer)}")
            else:
                done.append((search, answer))
        if failed is not None and not done:
            raise failed
        return done

    def _best(self, found: Iterable[tuple[_Search, list[list[RowHit]]]]) -> dict[_Key, Signal]:
        best: dict[_Key, tuple[QueryVector, RowHit]] = {}
        for search, lists in found:
            for source, rows in zip(search.sources, lists, strict=True):
                if source is None:
                    continue
                for row in rows:
                    key = (source.part, source.modality, source.space, row.modality, row.item_id)
                    other = best.get(key)
                    if other is None or row.similarity > other[1].similarity:
                        best[key] = (source, row)
        score = self._calibration.score
        return {
            key: Signal(
                source.part,
                source.modality,
                row.modality,
                source.space,
                row.similarity,
                score(source.modality, row.modality, source.space, row.similarity),
                source.weight * source.trust,
                row,
            )
            for key, (source, row) in best.items()
        }

    def _candidates(
        self,
        signals: Iterable[Signal],
        found: Iterable[tuple[_Search, list[list[RowHit]]]],
        query: Composition,
    ) -> list[str]:
        """Items for the second pass, by turns: the best for the parts, the nearest to the composed vector."""
        positive = {part: weight for part, weight in query.weights.items() if weight > 0}
        by_parts = [candidate.item_id for candidate in fuse(signals, positive, learned=self._learned)]
        composed = [
            row
            for search, lists in found
            for source, rows in zip(search.sources, lists, strict=True)
            if source is None
            for row in rows
        ]
        # Cosines of one vector with rows of different modalities do not compare, but ranks do.
        by_target: dict[Modality, list[str]] = {}
        for row in composed:
            by_target.setdefault(row.modality, []).append(row.item_id)
        turns = itertools.zip_longest(by_parts, *by_target.values())
        order = dict.fromkeys(item for turn in turns for item in turn if item is not None)
        return list(itertools.islice(order, self._max_candidates))


def _plan(
    vectors: Sequence[QueryVector], recall: FloatArray | None, targets: Sequence[Modality]
) -> list[_Search]:
    """The searches for ``vectors``: those of one space and target share a call."""
    unified: list[QueryVector | None] = [v for v in vectors if v.space in ("unified", "transcript")]
    matrix = [v.vector for v in unified if v is not None]
    if recall is not None:
        unified.append(None)
        matrix.append(recall)
    searches = [_Search("unified", target, tuple(unified), np.stack(matrix)) for target in targets]
    for space, modality in _NATIVE.items():
        native = [v for v in vectors if v.space == space]
        if native and modality in targets:
            searches.append(_Search(space, modality, tuple(native), np.stack([v.vector for v in native])))
    return searches
