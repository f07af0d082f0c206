"""Stage expand: other words for a query that found little, asked in one more round.

Pseudo relevance feedback: the descriptions of the first round's best items stand for what was meant, and the
query is moved towards them, q + 0.75 * their mean (Rocchio, "Relevance feedback in information retrieval",
1971, with the weights of SMART). A short query is also asked as the catalogue's phrases that are spelt like
it. Only typed texts are expanded, and only where descriptions are looked for: for photographs, for what was
heard in sounds, and with pictures alone to choose from it did not help (docs/relevance.md).

The round is one search per target modality, whatever the number of alternatives. What it finds counts for
``trust`` of its score and stops at the threshold that let the stage run, so it never outranks confidence.
"""

from __future__ import annotations

import asyncio
import difflib
import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from media import Kind, Modality
from orchestrator.classify import ClassifiedPart
from orchestrator.compose import Composition, QueryVector
from orchestrator.deadlines import Deadline
from orchestrator.embed import Embedder
from orchestrator.fusion import fuse
from orchestrator.late import LateEvidence, join
from orchestrator.ports import ItemStore, VectorStore
from orchestrator.query import Candidate
from orchestrator.retrieve import Retriever
from orchestrator.settings import ExpandSettings
from orchestrator.trace import Trace
from orchestrator.types import FloatArray, row_key

__all__ = ["Expander"]

_FEEDBACK_WEIGHT = 0.75
_SPELT_LIKE = 0.75
"""The share of letters in common (difflib's ratio) from which on a phrase counts as spelt alike."""
_MAX_PHRASES = 2
_MAX_SPELT_CHARS = 64
_OWN_TEXT = -1
"""The media index of an item's own text."""
_TEXT = Kind(Modality.TEXT, "text", "text/plain")


@dataclass(frozen=True, slots=True)
class _Alternatives:
    vectors: tuple[FloatArray, ...]
    detail: str


class Expander:
    """A second round for queries of one text."""

    def __init__(
        self,
        store: VectorStore,
        items: ItemStore,
        embedder: Embedder,
        retriever: Retriever,
        executor: Executor,
        embedding_version: str,
        settings: ExpandSettings,
        *,
        vocabulary_size: int,
    ) -> None:
        self._store = store
        self._items = items
        self._embedder = embedder
        self._retriever = retriever
        self._executor = executor
        self._version = embedding_version
        self._settings = settings
        self._vocabulary_size = vocabulary_size

    def wanted(
        self,
        asked: bool | None,
        query: Composition,
        targets: Sequence[Modality],
        candidates: Sequence[Candidate],
    ) -> bool:
        """Whether there is a round to run: asked for, in words, something found, nothing with confidence."""
        on = self._settings.enabled if asked is None else asked
        able = not query.mixed and Modality.TEXT in targets and _words(query) is not None
        return on and able and bool(candidates) and candidates[0].score < self._settings.below

    async def expand(
        self,
        query: Composition,
        words: str,
        targets: Sequence[Modality],
        expression: str,
        candidates: Sequence[Candidate],
        trace: Trace,
        budget_s: float,
    ) -> list[Candidate]:
        """``candidates`` with what the alternatives of the text ``words`` found.

        Raises:
            SensoriumError, TimeoutError: the round failed; ``candidates`` stand.
        """
        deadline = Deadline(budget_s)
        async with asyncio.timeout(budget_s):
            found = await self._alternatives(query, words, candidates, trace, deadline)
            if not found.vectors:
                return list(candidates)
            trust = self._settings.trust
            (part,) = query.weights
            vectors = tuple(
                QueryVector(part, Modality.TEXT, "unified", vector, 1.0, trust) for vector in found.vectors
            )
            again = Composition(vectors, {part: 1.0}, None)
            retrieved = await self._retriever.retrieve(
                again, targets, expression, trace, deadline.remaining_s, "expand"
            )
        evidence = {
            candidate.item_id: LateEvidence(candidate.score, found.detail, candidate.signals)
            for candidate in fuse(retrieved.signals, again.weights)
        }
        return join(candidates, evidence, "expand", self._settings.below)

    async def _alternatives(
        self,
        query: Composition,
        words: str,
        candidates: Sequence[Candidate],
        trace: Trace,
        deadline: Deadline,
    ) -> _Alternatives:
        vectors: list[FloatArray] = []
        details: list[str] = []
        best = candidates[: self._settings.feedback_items]
        feedback = await self._feedback(query, best, trace, deadline)
        if feedback is not None:
            vectors.append(feedback)
            details.append("the descriptions of " + ", ".join(candidate.item_id for candidate in best))
        for phrase in await self._spelt_like(words):
            text = ClassifiedPart(0, _TEXT, 1.0, phrase, hashlib.sha256(phrase.encode()).digest())
            embedding, _ = await self._embedder.embed(text, trace, deadline.remaining_s, "expand")
            vectors.append(embedding.unified)
            details.append(f'"{phrase}"')
        return _Alternatives(tuple(vectors), "near " + " and ".join(details) if details else "")

    async def _feedback(
        self, query: Composition, best: Sequence[Candidate], trace: Trace, deadline: Deadline
    ) -> FloatArray | None:
        """The query's vector [1024] moved towards the best items' descriptions; None if they have none."""
        keys = [row_key(candidate.item_id, Modality.TEXT, _OWN_TEXT, 0) for candidate in best]
        with trace.waiting("expand", "milvus"):
            rows = await self._store.vectors(keys, self._version, deadline.remaining_s)
        known = [
            (candidate.score, rows[key]) for candidate, key in zip(best, keys, strict=True) if key in rows
        ]
        total = sum(score for score, _ in known)
        if total <= 0.0:
            return None
        mean = np.sum([np.float32(score / total) * vector for score, vector in known], axis=0)
        own = _words(query)
        if own is None:
            return None
        moved = own + np.float32(_FEEDBACK_WEIGHT) * mean
        norm = float(np.linalg.norm(moved))
        # Descriptions that cancel out point nowhere.
        return (moved / norm).astype(np.float32) if norm > 1e-6 else None

    async def _spelt_like(self, words: str) -> list[str]:
        if not 0 < len(words) <= _MAX_SPELT_CHARS:
            return []
        phrases = await self._items.vocabulary(self._vocabulary_size)
        spelt = {phrase.casefold(): phrase for phrase in phrases}
        asked = words.casefold().strip(" .!?")

        def compare() -> list[str]:
            return difflib.get_close_matches(asked, spelt, _MAX_PHRASES + 1, _SPELT_LIKE)

        near = await asyncio.get_running_loop().run_in_executor(self._executor, compare)
        return [spelt[phrase] for phrase in near if phrase != asked][:_MAX_PHRASES]


def _words(query: Composition) -> FloatArray | None:
    """The vector of the query's text, if it is one."""
    return next((vector.vector for vector in query.vectors if vector.modality is Modality.TEXT), None)
