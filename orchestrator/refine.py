"""The stages between fusion and the answer: each takes candidates in their order and gives them in its own.

A stage that is not wanted, has no trained weights or fails leaves the candidates as they came; a failure is
said in the trace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.classify import ClassifiedPart
from orchestrator.compose import Composition
from orchestrator.cross_attention import CrossAttention
from orchestrator.deadlines import Deadline
from orchestrator.diversify import mmr_order
from orchestrator.errors import SensoriumError
from orchestrator.expand import Expander
from orchestrator.hop import Hopper
from orchestrator.personalise import Personaliser, Standing
from orchestrator.query import Candidate, SearchQuery
from orchestrator.rerank import Reranker
from orchestrator.row_vectors import RowVectors
from orchestrator.settings import Settings
from orchestrator.trace import Trace, reason
from orchestrator.types import UNIFIED_DIM

__all__ = ["Course", "Refiner"]

# Shares of the time left, so that the stages behind still have some when one is cut short.
_LATER_SHARE = 0.5
_RERANK_SHARE = 0.5
_PERSONALISE_SHARE = 0.4
_DIVERSIFY_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Course:
    """What the stages of one request share."""

    query: SearchQuery
    parts: Sequence[ClassifiedPart]
    composition: Composition
    vectors: RowVectors
    trace: Trace
    deadline: Deadline


class Refiner:
    """One method per stage, in the order of the pipeline. ``personaliser`` is None where nothing is kept."""

    def __init__(
        self,
        settings: Settings,
        hopper: Hopper,
        expander: Expander,
        cross_attention: CrossAttention,
        reranker: Reranker,
        personaliser: Personaliser | None,
    ) -> None:
        self._budget = settings.budget
        self._settings = settings.diversify
        self._hopper = hopper
        self._expander = expander
        self._cross_attention = cross_attention
        self._reranker = reranker
        self._personaliser = personaliser

    async def hop(self, candidates: list[Candidate], course: Course) -> list[Candidate]:
        """And what the best of them lead to, from picture to clip."""
        query, trace = course.query, course.trace
        if not self._hopper.wanted(query.options.multi_hop, course.composition):
            return candidates
        with trace.stage("hop"):
            budget_s = course.deadline.budget_s(self._budget.hop_s, _LATER_SHARE)
            try:
                return await self._hopper.hop(
                    course.composition, query.targets, query.expression, candidates, trace, budget_s
                )
            except (SensoriumError, TimeoutError) as error:
                trace.degrade("hop", reason(error))
                return candidates

    async def expand(self, candidates: list[Candidate], course: Course) -> list[Candidate]:
        """And what other words find, where the query found little."""
        query, trace = course.query, course.trace
        if not self._expander.wanted(query.options.expand, course.composition, query.targets, candidates):
            return candidates
        with trace.stage("expand"):
            budget_s = course.deadline.budget_s(self._budget.expand_s, _LATER_SHARE)
            try:
                return await self._expander.expand(
                    course.composition,
                    str(course.parts[0].data),
                    query.targets,
                    query.expression,
                    candidates,
                    trace,
                    budget_s,
                )
            except (SensoriumError, TimeoutError) as error:
                trace.degrade("expand", reason(error))
                return candidates

    async def cross_attend(self, candidates: list[Candidate], course: Course) -> list[Candidate]:
        """The first of them by what the query attends to in their rows, too."""
        query, trace = course.query, course.trace
        wanted = self._cross_attention.wanted(query.options.cross_attention, course.composition)
        if len(candidates) < 2 or not wanted:
            return candidates
        with trace.stage("cross_attention"):
            budget_s = course.deadline.budget_s(self._budget.cross_attention_s, _LATER_SHARE)
            try:
                return await self._cross_attention.attend(
                    candidates, course.composition, query.targets, course.vectors, trace, budget_s
                )
            except (SensoriumError, TimeoutError) as error:
                trace.degrade("cross_attention", reason(error))
                return candidates

    async def rerank(self, candidates: list[Candidate], course: Course) -> list[Candidate]:
        """The first of them as the re-ranker sees them; in fused order when it has nothing to say in time."""
        trace, kind = course.trace, course.composition.kind
        if len(candidates) < 2 or not self._reranker.wanted(course.query.options, kind, trace):
            return candidates
        with trace.stage("rerank"):
            budget_s = course.deadline.budget_s(self._budget.rerank_s, _RERANK_SHARE)
            try:
                return await self._reranker.rerank(
                    candidates, course.composition, course.query.targets, course.vectors, trace, budget_s
                )
            except (SensoriumError, TimeoutError) as error:
                trace.degrade("rerank", reason(error))
                return candidates

    async def personalise(
        self, candidates: list[Candidate], course: Course
    ) -> tuple[list[Candidate], Mapping[str, Standing]]:
        """In the user's order, unless nobody asks or the request forgoes it; and how each stood before."""
        query = course.query
        if self._personaliser is None or not query.user or query.options.personalise is False:
            return candidates, {}
        with course.trace.stage("personalise"):
            budget_s = course.deadline.budget_s(self._budget.personalise_s, _PERSONALISE_SHARE)
            return await self._personaliser.personalise(candidates, query, course.trace, budget_s)

    async def diversify(self, candidates: list[Candidate], course: Course) -> list[Candidate]:
        """The first candidates in MMR order, the others behind them as they stand.

        How many are diversified does not depend on limit and offset, so that pages never overlap.
        """
        wanted = course.query.mmr_lambda
        mmr_lambda = self._settings.mmr_lambda if wanted is None else wanted
        with course.trace.stage("diversify"):
            head = self._comparable(candidates)
            if mmr_lambda == 1 or len(head) < 2:
                return candidates
            # The row that speaks most for an item stands for it.
            keys = [candidate.signals[0].row.key for candidate in head]
            budget_s = course.deadline.budget_s(self._budget.diversify_s, _DIVERSIFY_SHARE)
            try:
                found = await course.vectors.get(keys, course.trace, "diversify", budget_s)
            except (SensoriumError, TimeoutError) as error:
                course.trace.degrade("diversify", reason(error))
                return candidates
            rows = np.zeros((len(head), UNIFIED_DIM), np.float32)
            for place, key in enumerate(keys):
                if key in found:
                    rows[place] = found[key]
            order = mmr_order([candidate.score for candidate in head], rows, mmr_lambda)
        return [head[place] for place in order] + candidates[len(head) :]

    def _comparable(self, candidates: list[Candidate]) -> list[Candidate]:
        """The candidates that may change places for diversity's sake."""
        head = candidates[: self._settings.pool]
        least = self._settings.min_share * head[0].score if head else 0.0
        return [candidate for candidate in head if candidate.score >= least]
