"""The way of a query, stage by stage.

    admit -> classify -> cache -> embed (and transcribe) -> compose -> retrieve -> fuse -> hop -> expand
    -> rerank -> personalise -> diversify -> answer -> record

Stage admit checks the numbers of a query at once; behind the cache it lets the query in, or not.
What fails is said in ``degraded`` when the rest still makes an answer; otherwise its error is the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeAlias

from media import Limits, Modality
from orchestrator.admit import check_query
from orchestrator.answer import build_hits
from orchestrator.answer_cache import AnswerCache
from orchestrator.attend import Attender, score_composed
from orchestrator.cache import EmbeddingCache, SharedStore
from orchestrator.cache_keys import setup_of
from orchestrator.calibrate import EmbeddingSet
from orchestrator.classify import ClassifiedPart, Classifier
from orchestrator.compose import Composition, EmbeddedPart, compose
from orchestrator.deadlines import Deadline, together
from orchestrator.embed import Cutter, Embedder
from orchestrator.errors import DeadlineError, DependencyError, SensoriumError
from orchestrator.expand import Expander
from orchestrator.feedback import FeedbackStore
from orchestrator.fusion import explain, fuse
from orchestrator.gate import Gate
from orchestrator.generations import Generations
from orchestrator.hop import Hopper
from orchestrator.personalise import Personaliser
from orchestrator.query import PartInfo, SearchQuery, SearchResult
from orchestrator.record import impression, record
from orchestrator.refine import Course, Refiner
from orchestrator.rerank import Reranker
from orchestrator.retrieve import Retriever
from orchestrator.row_vectors import RowVectors
from orchestrator.settings import Settings
from orchestrator.trace import Trace, reason
from orchestrator.transcribe import Heard, Transcriber
from orchestrator.types import Embedding, Encoder, ItemStore, VectorStore

__all__ = ["Pipeline"]

_Embedded: TypeAlias = tuple[Embedding, bool] | DependencyError | TimeoutError

# Shares of the time left, so that the stages behind still have some when one is cut short.
_EMBED_SHARE = 0.8
_TRANSCRIBE_SHARE = 0.6
_COMPOSE_SHARE = 0.3
_RETRIEVE_SHARE = 0.8

_THREADS = 4


class Pipeline:
    """Answers queries. One per process; ``close`` it when no search is under way any more."""

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        embedding_set: EmbeddingSet,
        encoder: Encoder,
        store: VectorStore,
        items: ItemStore,
        feedback: FeedbackStore,
        personaliser: Personaliser | None = None,
        shared: SharedStore | None = None,
    ) -> None:
        self.settings = settings
        self.embedding_set = embedding_set
        self.gate = Gate(settings.admission)
        self.cache = EmbeddingCache(settings.cache.max_bytes, settings.cache.ttl_s, shared)
        self.generations = Generations(shared)
        setup = setup_of(settings, embedding_set)
        self.answers = AnswerCache(settings.cache, setup, self.generations, shared)
        self._budget = settings.budget
        self._store = store
        self._items = items
        self._feedback = feedback
        self._executor = ThreadPoolExecutor(_THREADS, "media")
        self._classifier = Classifier(limits, self._executor)
        # A thread cannot be cancelled: what it cuts for a query that has given up must soon end by itself.
        cut_s = min(limits.segment_deadline_s, settings.budget.embed_s)
        cutter = Cutter(replace(limits, segment_deadline_s=cut_s), self._executor)
        self._embedder = Embedder(
            encoder,
            self.cache,
            cutter,
            embedding_set.version,
            flight_s=settings.budget.embed_s,
            max_segments=settings.retrieve.max_query_segments,
        )
        self._transcriber = Transcriber(encoder, items, self._embedder, cutter, settings.transcribe)
        self._attender = Attender(encoder, embedding_set.attend)
        self._learned = embedding_set.fusion if settings.fusion.learned else {}
        self._retriever = Retriever(
            store,
            embedding_set.calibration,
            embedding_set.version,
            rows_per_search=settings.retrieve.rows_per_search,
            max_candidates=settings.retrieve.max_mixed_candidates,
            learned=self._learned,
        )

        self._refiner = Refiner(
            settings,
            Hopper(store, self._retriever, embedding_set.version, settings.hop),
            Expander(
                store,
                items,
                self._embedder,
                self._retriever,
                self._executor,
                embedding_set.version,
                settings.expand,
                vocabulary_size=settings.transcribe.vocabulary_size,
            ),
            Reranker(encoder, embedding_set.rerank_for, settings.rerank.pool),
            personaliser,
        )

    async def search(self, query: SearchQuery, trace: Trace, timeout_s: float | None = None) -> SearchResult:
        """The answer to ``query`` within ``timeout_s`` seconds, at most the server's own bound.

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
                return await self._search(query, trace, deadline)
        except TimeoutError as error:
            raise DeadlineError("the time for this query is over") from error

    async def _search(self, query: SearchQuery, trace: Trace, deadline: Deadline) -> SearchResult:
        if query.mmr_lambda is None:
            query = replace(query, mmr_lambda=self.settings.diversify.mmr_lambda)
        with trace.stage("admit"):
            check_query(query, self.settings.admission)
        with self.gate.classifying():
            parts = await self._classify(query, trace, deadline)
        return await self.answers.get(
            query, parts, trace, lambda: self._answer(query, parts, trace, deadline)
        )

    async def _answer(
        self, query: SearchQuery, parts: list[ClassifiedPart], trace: Trace, deadline: Deadline
    ) -> SearchResult:
        asked_s = time.time()
        kinds = [part.modality for part in parts]
        async with self.gate.enter(kinds, query.user, query.priority, trace, deadline):
            embedded, infos = await self._embed(parts, trace, deadline)
            with trace.stage("compose"):
                composition = await self._compose(embedded, query, trace, deadline)
            with trace.stage("retrieve"):
                retrieved = await self._retriever.retrieve(
                    composition,
                    query.targets,
                    query.expression,
                    trace,
                    deadline.budget_s(self._budget.retrieve_s, _RETRIEVE_SHARE),
                )
            with trace.stage("fuse"):
                candidates = fuse(retrieved.signals, composition.weights, self._learned)
                if composition.attended is not None and retrieved.cosines:
                    candidates = score_composed(candidates, composition.attended, retrieved.cosines)
            vectors = RowVectors(self._store, self.embedding_set.version)
            course = Course(query, parts, composition, vectors, trace, deadline)
            candidates = await self._refiner.hop(candidates, course)
            candidates = await self._refiner.expand(candidates, course)
            candidates = await self._refiner.rerank(candidates, course)
            candidates = [candidate for candidate in candidates if candidate.score >= query.min_score]
            candidates, standings = await self._refiner.personalise(candidates, course)
            ordered = await self._refiner.diversify(candidates, course)
            with trace.stage("answer"):
                page = ordered[query.offset : query.offset + query.limit]
                explained = explain(page, self._learned)
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
            embedding_version=self.embedding_set.version,
        )

    async def _compose(
        self, parts: Sequence[EmbeddedPart], query: SearchQuery, trace: Trace, deadline: Deadline
    ) -> Composition:
        """By attention where it is trained and wanted; when it fails the weighted sum stands."""
        composition = compose(parts)
        score = self._attender.wanted(query.options, parts, query.targets, trace)
        if score is None:
            return composition
        try:
            budget_s = deadline.budget_s(self._budget.compose_s, _COMPOSE_SHARE)
            return await self._attender.attend(composition, parts, score, trace, budget_s)
        except (DependencyError, TimeoutError) as error:
            trace.degrade("compose", reason(error))
            return composition

    async def _classify(self, query: SearchQuery, trace: Trace, deadline: Deadline) -> list[ClassifiedPart]:
        with trace.stage("classify"):
            async with asyncio.timeout(deadline.budget_s(self._budget.classify_s)):
                return await self._classifier.classify(query.parts)

    async def _embed(
        self, parts: Sequence[ClassifiedPart], trace: Trace, deadline: Deadline
    ) -> tuple[list[EmbeddedPart], tuple[PartInfo, ...]]:
        """Vectors of every part that could be embedded, among them a positive one, and what each part was."""
        if len(parts) == 1 and parts[0].modality is not Modality.AUDIO:
            # The common case needs no tasks.
            embeddings = [await self._embed_one(parts[0], trace, deadline)]
            heard: list[Heard | None] = [None]
        else:
            embeddings, heard = await self._embed_all(parts, trace, deadline)
        embedded, infos, failures = [], [], []
        for part, result, speech in zip(parts, embeddings, heard, strict=True):
            transcript = speech.text if speech else ""
            embedding, cached = None, False
            if isinstance(result, BaseException):
                trace.degrade("embed", f"part {part.index}: {reason(result)}")
                failures.append(result)
            else:
                embedding, cached = result
                if shortened := self._embedder.unsearched(part):
                    trace.degrade("embed", shortened)
            if embedding is not None or speech is not None:  # of a sound, its words may be what is left
                said = (speech.embedding, speech.confidence) if speech else (None, 0.0)
                embedded.append(EmbeddedPart(part.index, part.modality, part.weight, embedding, *said))
            infos.append(PartInfo(part.modality, part.kind.format, transcript, cached))
        if not any(part.weight > 0 for part in embedded):
            raise failures[0]
        return embedded, tuple(infos)

    async def _embed_all(
        self, parts: Sequence[ClassifiedPart], trace: Trace, deadline: Deadline
    ) -> tuple[list[_Embedded], list[Heard | None]]:
        """All parts at once, and the speech in sounds beside them."""
        embeddings: list[_Embedded] = []
        heard: list[Heard | None] = []

        async def embed() -> None:
            embeddings.extend(await together(self._embed_one(part, trace, deadline) for part in parts))

        async def listen() -> None:
            heard.extend(await together(self._hear(part, trace, deadline) for part in parts))

        await together([embed(), listen()])
        return embeddings, heard

    async def _embed_one(self, part: ClassifiedPart, trace: Trace, deadline: Deadline) -> _Embedded:
        """A failure of Triton is returned: other parts may still make an answer. Bad content is raised."""
        with trace.stage("embed"):
            try:
                budget_s = deadline.budget_s(self._budget.embed_s, _EMBED_SHARE)
                return await self._embedder.embed(part, trace, budget_s)
            except (DependencyError, TimeoutError) as error:
                return error

    async def _hear(self, part: ClassifiedPart, trace: Trace, deadline: Deadline) -> Heard | None:
        if part.modality is not Modality.AUDIO:
            return None
        with trace.stage("transcribe"):
            try:
                budget_s = deadline.budget_s(self._budget.transcribe_s, _TRANSCRIBE_SHARE)
                return await self._transcriber.transcribe(part, trace, budget_s)
            except (SensoriumError, TimeoutError) as error:
                trace.degrade("transcribe", reason(error))
                return None

    async def close(self) -> None:
        """Ends what is in the background."""
        await self.cache.close()
        await self.generations.close()
        # A decoder that hangs ends by its own clock; waiting for it here would hold up the stop.
        self._executor.shutdown(wait=False, cancel_futures=True)
