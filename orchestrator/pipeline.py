"""The way of a query, stage by stage.

    admit -> classify -> cache -> embed (and transcribe) -> compose -> retrieve -> fuse -> hop -> expand
    -> cross_attention -> rerank -> personalise -> diversify -> answer -> record

Stage admit checks the numbers of a query at once; behind the cache it lets the query in, or not.
What fails is said in ``degraded`` when the rest still makes an answer; otherwise its error is the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from media import Modality
from orchestrator.admit import check_query
from orchestrator.answer import build_hits
from orchestrator.attend import score_composed
from orchestrator.classify import ClassifiedPart
from orchestrator.common import Common
from orchestrator.compose import Composition, EmbeddedPart, compose
from orchestrator.deadlines import Deadline, together
from orchestrator.errors import DeadlineError, DependencyError, SensoriumError
from orchestrator.fusion import explain, fuse
from orchestrator.quality import modality_of
from orchestrator.query import PartInfo, SearchQuery, SearchResult
from orchestrator.record import impression, record
from orchestrator.refine import Course
from orchestrator.runtime import Runtime
from orchestrator.trace import Trace, reason
from orchestrator.transcribe import Heard
from orchestrator.types import Embedding

__all__ = ["Pipeline"]

_Embedded: TypeAlias = tuple[Embedding, bool] | DependencyError | TimeoutError

# Shares of the time left, so that the stages behind still have some when one is cut short.
_EMBED_SHARE = 0.8
_TRANSCRIBE_SHARE = 0.6
_COMPOSE_SHARE = 0.3
_RETRIEVE_SHARE = 0.8


class Pipeline:
    """Answers queries, each by the release that it is given. One per process."""

    def __init__(self, common: Common) -> None:
        self.gate = common.gate
        self.answers = common.answers
        self._settings = common.settings
        self._budget = common.settings.budget
        self._classifier = common.classifier
        self._items = common.items
        self._feedback = common.feedback

    async def search(
        self, query: SearchQuery, runtime: Runtime, trace: Trace, timeout_s: float | None = None
    ) -> SearchResult:
        """The answer of ``runtime`` within ``timeout_s`` seconds, at most the server's own bound.

        Raises:
            RequestError: the query, or the content of one of its parts, cannot be answered.
            OverloadedError: too many queries at once.
            DeadlineError: the time is over.
            DependencyError: Triton or Milvus failed in a way that leaves nothing to answer with.
        """
        longest_s = self._budget.request_s
        deadline = Deadline(longest_s if timeout_s is None else min(timeout_s, longest_s))
        try:
            async with asyncio.timeout_at(deadline.at_s):
                return await self._search(query, runtime, trace, deadline)
        except TimeoutError as error:
            raise DeadlineError("the time for this query is over") from error

    async def _search(
        self, query: SearchQuery, runtime: Runtime, trace: Trace, deadline: Deadline
    ) -> SearchResult:
        if query.mmr_lambda is None:
            query = replace(query, mmr_lambda=self._settings.diversify.mmr_lambda)
        with trace.stage("admit"):
            check_query(query, self._settings.admission)
        with self.gate.classifying():
            parts = await self._classify(query, trace, deadline)
        trace.modality = modality_of(part.modality for part in parts)
        return await self.answers.get(
            query, parts, runtime.setup, trace, lambda: self._answer(query, parts, runtime, trace, deadline)
        )

    async def _answer(
        self,
        query: SearchQuery,
        parts: list[ClassifiedPart],
        runtime: Runtime,
        trace: Trace,
        deadline: Deadline,
    ) -> SearchResult:
        asked_s = time.time()
        kinds = [part.modality for part in parts]
        user = query.user or query.caller
        # Credentials with one filter are one tenant, which cannot have more turns by naming more users.
        async with self.gate.enter(kinds, user, query.priority, trace, deadline, query.permission):
            embedded, infos = await self._embed(parts, runtime, trace, deadline)
            with trace.stage("compose"):
                composition = await self._compose(embedded, query, runtime, trace, deadline)
            with trace.stage("retrieve"):
                retrieved = await runtime.retriever.retrieve(
                    composition,
                    query.targets,
                    query.expression,
                    trace,
                    deadline.budget_s(self._budget.retrieve_s, _RETRIEVE_SHARE),
                )
            with trace.stage("fuse"):
                candidates = fuse(retrieved.signals, composition.weights, runtime.learned)
                if composition.attended is not None and retrieved.cosines:
                    candidates = score_composed(candidates, composition.attended, retrieved.cosines)
            course = Course(query, parts, composition, runtime.row_vectors(), trace, deadline)
            candidates = await runtime.refiner.hop(candidates, course)
            candidates = await runtime.refiner.expand(candidates, course)
            candidates = await runtime.refiner.cross_attend(candidates, course)
            candidates = await runtime.refiner.rerank(candidates, course)
            candidates = [candidate for candidate in candidates if candidate.score >= query.min_score]
            candidates, standings = await runtime.refiner.personalise(candidates, course)
            ordered = await runtime.refiner.diversify(candidates, course)
            with trace.stage("answer"):
                page = ordered[query.offset : query.offset + query.limit]
                explained = explain(page, runtime.learned)
                budget_s = deadline.budget_s(self._budget.answer_s)
                hits = await build_hits(explained, self._items, trace, budget_s)
            if query.user and query.request_id and page:
                with trace.stage("record"):
                    # The page as `personalise` saw it: what feedback teaches must fit what is done with it.
                    shown = impression(query, composition, page, standings, asked_s)
                    await record(self._feedback, shown, trace, deadline.budget_s(self._budget.record_s))
        return SearchResult(
            hits=hits,
            candidates=len(candidates),
            parts=infos,
            stages=trace.stages(),
            total_ms=trace.total_ms,
            degraded=tuple(trace.degraded),
            embedding_version=runtime.embedding_set.version,
            release=runtime.release,
        )

    async def _compose(
        self,
        parts: Sequence[EmbeddedPart],
        query: SearchQuery,
        runtime: Runtime,
        trace: Trace,
        deadline: Deadline,
    ) -> Composition:
        """By attention where it is trained and wanted; when it fails the weighted sum stands."""
        composition = compose(parts)
        score = runtime.attender.wanted(query.options, parts, query.targets, trace)
        if score is None:
            return composition
        try:
            budget_s = deadline.budget_s(self._budget.compose_s, _COMPOSE_SHARE)
            return await runtime.attender.attend(composition, parts, score, trace, budget_s)
        except (DependencyError, TimeoutError) as error:
            trace.degrade("compose", reason(error))
            return composition

    async def _classify(self, query: SearchQuery, trace: Trace, deadline: Deadline) -> list[ClassifiedPart]:
        with trace.stage("classify"):
            async with asyncio.timeout(deadline.budget_s(self._budget.classify_s)):
                return await self._classifier.classify(query.parts)

    async def _embed(
        self, parts: Sequence[ClassifiedPart], runtime: Runtime, trace: Trace, deadline: Deadline
    ) -> tuple[list[EmbeddedPart], tuple[PartInfo, ...]]:
        """Vectors of every part that could be embedded, among them a positive one, and what each part was."""
        if len(parts) == 1 and parts[0].modality is not Modality.AUDIO:
            # The common case needs no tasks.
            embeddings = [await self._embed_one(parts[0], runtime, trace, deadline)]
            heard: list[Heard | None] = [None]
        else:
            embeddings, heard = await self._embed_all(parts, runtime, trace, deadline)
        embedded, infos, failures = [], [], []
        for part, result, speech in zip(parts, embeddings, heard, strict=True):
            transcript = speech.text if speech else ""
            embedding, cached = None, False
            if isinstance(result, BaseException):
                trace.degrade("embed", f"part {part.index}: {reason(result)}")
                failures.append(result)
            else:
                embedding, cached = result
                if shortened := runtime.embedder.unsearched(part):
                    trace.degrade("embed", shortened)
            if embedding is not None or speech is not None:  # of a sound, its words may be what is left
                said = (speech.embedding, speech.confidence) if speech else (None, 0.0)
                embedded.append(EmbeddedPart(part.index, part.modality, part.weight, embedding, *said))
            infos.append(PartInfo(part.modality, part.kind.format, transcript, cached))
        if not any(part.weight > 0 for part in embedded):
            raise failures[0]
        return embedded, tuple(infos)

    async def _embed_all(
        self, parts: Sequence[ClassifiedPart], runtime: Runtime, trace: Trace, deadline: Deadline
    ) -> tuple[list[_Embedded], list[Heard | None]]:
        """All parts at once, and the speech in sounds beside them."""
        embeddings: list[_Embedded] = []
        heard: list[Heard | None] = []

        async def embed() -> None:
            embeddings.extend(
                await together(self._embed_one(part, runtime, trace, deadline) for part in parts)
            )

        async def listen() -> None:
            heard.extend(await together(self._hear(part, runtime, trace, deadline) for part in parts))

        await together([embed(), listen()])
        return embeddings, heard

    async def _embed_one(
        self, part: ClassifiedPart, runtime: Runtime, trace: Trace, deadline: Deadline
    ) -> _Embedded:
        """A failure of Triton is returned: other parts may still make an answer. Bad content is raised."""
        with trace.stage("embed"):
            try:
                budget_s = deadline.budget_s(self._budget.embed_s, _EMBED_SHARE)
                return await runtime.embedder.embed(part, trace, budget_s)
            except (DependencyError, TimeoutError) as error:
                return error

    async def _hear(
        self, part: ClassifiedPart, runtime: Runtime, trace: Trace, deadline: Deadline
    ) -> Heard | None:
        if part.modality is not Modality.AUDIO:
            return None
        with trace.stage("transcribe"):
            try:
                budget_s = deadline.budget_s(self._budget.transcribe_s, _TRANSCRIBE_SHARE)
                return await runtime.transcriber.transcribe(part, trace, budget_s)
            except (SensoriumError, TimeoutError) as error:
                trace.degrade("transcribe", reason(error))
                return None
