"""Stage retrieve: one vector search per space and target modality, all at once, filters pushed down.

A query of several parts takes two passes. The first finds candidates with every positive part and the
composed vector; the second, restricted to those candidates, measures them against every part, negative ones
included, so that a candidate which one part found is not taken to lack what it was never asked for.

A query of one part may be routed (ADR 24): the rows of its own modality are searched first, and where their
best is sure enough the others are left out.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.calibrate import Calibration
from orchestrator.compose import Composition, QueryVector
from orchestrator.deadlines import Deadline, together
from orchestrator.errors import SensoriumError
from orchestrator.filters import restrict_to_items
from orchestrator.fusion import Learned, fuse
from orchestrator.ports import VectorStore
from orchestrator.query import Signal, SignalSpace
from orchestrator.searches import ItemSearcher, Search, plan
from orchestrator.trace import Trace, reason
from orchestrator.types import Modality, RowHit

__all__ = ["Retrieved", "Retriever"]

_ITEMS_SHARE = 0.5
"""Of its rows, how many items a search of the first pass is to yield at least, if there are so many."""

_ROWS_PER_CANDIDATE = 4
"""Rows of one modality that the second pass asks for; where long media have more it asks again."""

_FIRST_PASS_SHARE = 0.6
"""Of the stage's budget, when a second pass follows."""

_ROUTE_SHARE = 0.5
"""Of the stage's budget, for the first search of a query that may be routed."""

_Key = tuple[int, Modality, SignalSpace, Modality, str]
_Found = tuple[Search, list[list[RowHit]]]


@dataclass(frozen=True, slots=True)
class Retrieved:
    """``signals``: the best per (query vector, item modality, item).

    ``cosines``: by item and modality, that of its best row with the vector that attention fusion made.
    """

    signals: list[Signal]
    cosines: dict[str, dict[Modality, float]]


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
        route_at: float = 1.0,
    ) -> None:
        self._searcher = ItemSearcher(store, embedding_version)
        self._calibration = calibration
        self._rows_per_search = rows_per_search
        self._max_candidates = max_candidates
        self._learned = learned
        self._route_at = route_at

    async def retrieve(
        self,
        query: Composition,
        targets: Sequence[Modality],
        expression: str,
        trace: Trace,
        budget_s: float,
        stage: str = "retrieve",
    ) -> Retrieved:
        """What is found with ``query``.

        A search that fails is noted in ``trace`` as one of ``stage``; the others stand.

        Raises:
            SensoriumError, TimeoutError: every search of the first pass failed.
        """
        deadline = Deadline(budget_s)
        positive = [vector for vector in query.vectors if vector.weight > 0]
        first = plan(positive, query.composed, targets)
        share = _FIRST_PASS_SHARE if query.mixed else 1.0
        enough = math.ceil(self._rows_per_search * _ITEMS_SHARE)
        near = self._near(first, query)
        rows, budget_s = self._rows_per_search, deadline.budget_s(budget_s, share)
        began_s = time.perf_counter()
        found, failed = await self._run(
            near or first, rows, enough, expression, trace, budget_s * (_ROUTE_SHARE if near else 1.0), stage
        )
        if near:
            signals = list(self._best(found).values())
            if self._sure(signals, query):
                trace.took("route", time.perf_counter() - began_s)
                return Retrieved(signals, {})
            others = [search for search in first if search not in near]
            more, error = await self._run(
                others, rows, enough, expression, trace, deadline.remaining_s, stage
            )
            found, failed = found + more, failed or error
        if failed is not None and not found:
            raise failed
        best = self._best(found)
        if not query.mixed:
            return Retrieved(list(best.values()), {})
        candidates = self._candidates(best.values(), found, query)
        if not candidates:
            return Retrieved([], {})
        attended = query.attended is not None
        second = plan(query.vectors, query.composed if attended else lambda _: None, targets)
        rows = _ROWS_PER_CANDIDATE * len(candidates)
        among = restrict_to_items(expression, candidates)
        more, failed = await self._run(
            second, rows, len(candidates), among, trace, deadline.remaining_s, stage
        )
        if failed is not None and not more:
            trace.degrade(stage, f"parts were not weighed against each other: {reason(failed)}")
        found += more
        chosen = set(candidates)
        signals = [signal for signal in self._best(found).values() if signal.row.item_id in chosen]
        return Retrieved(signals, _nearness(found) if attended else {})

    async def _run(
        self,
        searches: Sequence[Search],
        rows: int,
        wanted: int,
        expression: str,
        trace: Trace,
        budget_s: float,
        stage: str,
    ) -> tuple[list[_Found], Exception | None]:
        """What each search found that did not fail, and the first failure; all are noted."""

        async def one(search: Search) -> list[list[RowHit]] | Exception:
            try:
                return await self._searcher.search(search, rows, wanted, expression, trace, budget_s, stage)
            except (SensoriumError, TimeoutError) as error:
                return error

        answers = await together(one(search) for search in searches)
        done = []
        failed: Exception | None = None
        for search, answer in zip(searches, answers, strict=True):
            if isinstance(answer, Exception):
                failed = failed or answer
                trace.degrade(stage, f"{search.name}: {reason(answer)}")
            else:
                done.append((search, answer))
        return done, failed

    def _near(self, searches: Sequence[Search], query: Composition) -> list[Search]:
        """Those to begin with: of the rows of the query's own modality. Empty where all are made at once."""
        if self._route_at >= 1.0 or len(query.weights) > 1:
            return []
        # A transcript is of two modalities: there is no one index that should know.
        if any(vector.space == "transcript" for vector in query.vectors):
            return []
        near = [search for search in searches if search.target is query.vectors[0].modality]
        return near if len(near) < len(searches) else []

    def _sure(self, signals: Sequence[Signal], query: Composition) -> bool:
        """Whether the best of them is sure enough to do without the others."""
        best = fuse(signals, query.weights, self._learned)
        return bool(best) and best[0].score >= self._route_at

    def _best(self, found: Iterable[_Found]) -> dict[_Key, Signal]:
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
        found: Iterable[_Found],
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


def _nearness(found: Iterable[_Found]) -> dict[str, dict[Modality, float]]:
    cosines: dict[str, dict[Modality, float]] = {}
    for search, lists in found:
        for source, rows in zip(search.sources, lists, strict=True):
            if source is None:
                for row in rows:
                    best = cosines.setdefault(row.item_id, {})
                    best[row.modality] = max(best.get(row.modality, -1.0), row.similarity)
    return cosines
