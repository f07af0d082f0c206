"""Stage hop: from a text to pictures, from those to clips, from those clips to whatever is like them.

Each step goes on only from rows that the one before found with a calibrated score of at least its threshold;
thresholds fall, because every step adds what the steps before were sure of. It stops early where nothing is
sure enough. An item at the end of a path is as probable as the product of the path's scores, times ``trust``.

    text --(>= 0.65)--> image --(>= 0.55)--> video --(>= 0.45)--> any target

At most ``width`` rows are followed from each step, so there are at most 2 + 2 * targets searches.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.compose import Composition, QueryVector
from orchestrator.deadlines import Deadline
from orchestrator.late import LateEvidence, join
from orchestrator.ports import VectorStore
from orchestrator.query import Candidate, Signal
from orchestrator.retrieve import Retriever
from orchestrator.settings import HopSettings
from orchestrator.trace import Trace
from orchestrator.types import Modality

__all__ = ["Hopper"]

_CHAIN = (Modality.IMAGE, Modality.VIDEO)
"""What is followed from step to step, behind the text."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A row that was reached, how probable the path to it is, and the path in words."""

    signal: Signal
    score: float
    path: str


class Hopper:
    """Multi-hop retrieval for queries of one text."""

    def __init__(
        self, store: VectorStore, retriever: Retriever, embedding_version: str, settings: HopSettings
    ) -> None:
        self._store = store
        self._retriever = retriever
        self._version = embedding_version
        self._settings = settings

    def wanted(self, asked: bool | None, query: Composition) -> bool:
        """Whether to try: asked for, and a single text."""
        on = self._settings.enabled if asked is None else asked
        return on and not query.mixed and all(vector.modality is Modality.TEXT for vector in query.vectors)

    async def hop(
        self,
        query: Composition,
        targets: Sequence[Modality],
        expression: str,
        candidates: Sequence[Candidate],
        trace: Trace,
        budget_s: float,
    ) -> list[Candidate]:
        """``candidates`` with what was reached through pictures and clips.

        Raises:
            SensoriumError, TimeoutError: a step failed; ``candidates`` stand.
        """
        deadline = Deadline(budget_s)
        thresholds = self._settings.thresholds
        reached: dict[str, _Step] = {}
        async with asyncio.timeout(budget_s):
            steps = await self._pictures(query, targets, expression, candidates, trace, deadline)
            for modality, (least, next_least) in zip(_CHAIN, itertools.pairwise(thresholds), strict=True):
                steps = self._sure(steps, least)
                if not steps:
                    break
                ahead = dict.fromkeys((*targets, *_CHAIN[_CHAIN.index(modality) + 1 :]))
                found = await self._follow(steps, modality, tuple(ahead), expression, trace, deadline)
                for step in found:
                    item = step.signal.row.item_id
                    useful = step.signal.item_modality in targets and step.signal.score >= next_least
                    if useful and (item not in reached or step.score > reached[item].score):
                        reached[item] = step
                steps = [step for step in found if step.signal.item_modality in _CHAIN[1:]]
        trust = self._settings.trust
        # Rows that are followed are parts of another search; here they speak for the query's one part.
        (part,) = query.weights
        evidence = {
            item: LateEvidence(trust * step.score, step.path, (replace(step.signal, part=part),))
            for item, step in reached.items()
        }
        return join(candidates, evidence, "hop", thresholds[0])

    async def _pictures(
        self,
        query: Composition,
        targets: Sequence[Modality],
        expression: str,
        candidates: Sequence[Candidate],
        trace: Trace,
        deadline: Deadline,
    ) -> list[_Step]:
        """Pictures that the text finds, from the first pass if that looked for pictures."""
        if Modality.IMAGE in targets:
            signals = [signal for candidate in candidates for signal in candidate.signals]
        else:
            retrieved = await self._retriever.retrieve(
                query, (Modality.IMAGE,), expression, trace, deadline.remaining_s, "hop"
            )
            signals = retrieved.signals
        return [
            _Step(signal, signal.score, f"picture of {signal.row.item_id}")
            for signal in signals
            if signal.item_modality is Modality.IMAGE
        ]

    def _sure(self, steps: Sequence[_Step], least: float) -> list[_Step]:
        sure = [step for step in steps if step.signal.score >= least]
        sure.sort(key=lambda step: (-step.score, step.signal.row.key))
        return sure[: self._settings.width]

    async def _follow(
        self,
        steps: Sequence[_Step],
        modality: Modality,
        targets: Sequence[Modality],
        expression: str,
        trace: Trace,
        deadline: Deadline,
    ) -> list[_Step]:
        """One step on from rows of ``modality``: all of them in one search per target."""
        with trace.waiting("hop", "milvus"):
            vectors = await self._store.vectors(
                [step.signal.row.key for step in steps], self._version, deadline.remaining_s
            )
        followed = [step for step in steps if step.signal.row.key in vectors]
        if not followed:
            return []
        # Each row is a part of its own, so that what it finds can be told from what the others find.
        composition = Composition(
            tuple(
                QueryVector(place, modality, "unified", vectors[step.signal.row.key], 1.0, 1.0)
                for place, step in enumerate(followed)
            ),
            {0: 1.0},
            None,
        )
        retrieved = await self._retriever.retrieve(
            composition, targets, expression, trace, deadline.remaining_s, "hop"
        )
        return [
            replace(
                source,
                signal=signal,
                score=source.score * signal.score,
                path=f"{source.path} -> {signal.item_modality.value} of {signal.row.item_id}",
            )
            for signal in retrieved.signals
            for source in [followed[signal.part]]
            if signal.row.item_id != source.signal.row.item_id or source.signal.item_modality not in targets
        ]
