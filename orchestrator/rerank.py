"""Stage rerank: a cross-modal transformer reads the query's vectors beside those of the best candidates.

Fusion knows one similarity per signal; the re-ranker (``export/reranker.py``) sees the vectors, all signals
and the other candidates at once. What it gives is a probability again, so ``min_score`` means what it did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.compose import Composition, QueryVector
from orchestrator.deadlines import Deadline
from orchestrator.ports import Encoder
from orchestrator.query import Candidate, SearchOptions
from orchestrator.row_vectors import RowVectors
from orchestrator.trace import Trace
from orchestrator.types import RERANK_KINDS, UNIFIED_DIM, FloatArray, Modality, RerankInputs, row_key

__all__ = ["Reranker", "rerank_inputs"]

_VECTORS_SHARE = 0.6
"""Of the stage's budget, for the candidates' vectors."""

_WHY = "read beside the query and the other candidates"
_PLACE = {modality: place for place, modality in enumerate(Modality)}


class Reranker:
    """``default_for``: see ``EmbeddingSet.rerank_for``; ``pool``: how many candidates are read."""

    def __init__(self, encoder: Encoder, default_for: frozenset[str] | None, pool: int) -> None:
        self._encoder = encoder
        self._default_for = default_for
        self._pool = pool

    def wanted(self, options: SearchOptions, kind: str, trace: Trace) -> bool:
        """Whether a query of ``kind`` (see ``Composition``) is re-ranked; asking in vain is noted."""
        if self._default_for is None:
            if options.rerank:
                trace.degrade("rerank", "no trained model")
            return False
        return kind in self._default_for if options.rerank is None else options.rerank

    async def rerank(
        self,
        candidates: Sequence[Candidate],
        query: Composition,
        targets: Sequence[Modality],
        vectors: RowVectors,
        trace: Trace,
        budget_s: float,
    ) -> list[Candidate]:
        """The first candidates by what the re-ranker makes of them, the others behind as they stand.

        Only rows of ``targets`` are read: a search among pictures is not decided by their items' texts.

        Raises:
            DependencyError: Milvus or Triton failed.
            TimeoutError: it took longer than ``budget_s``.
        """
        deadline = Deadline(budget_s)
        head = candidates[: self._pool]
        keys = [key for candidate in head for key in _rows(candidate, targets).values()]
        found = await vectors.get(keys, trace, "rerank", deadline.budget_s(budget_s, _VECTORS_SHARE))
        inputs = rerank_inputs(head, query, targets, found)
        left_s = deadline.remaining_s
        with trace.waiting("rerank", "triton"):
            async with asyncio.timeout(left_s):
                scores = await self._encoder.rerank(inputs, left_s)
        order = sorted(range(len(head)), key=lambda place: -scores[place])
        moved = [
            head[old].moved(float(scores[old]), "rerank", _WHY, old, new) for new, old in enumerate(order)
        ]
        return [*moved, *candidates[len(head) :]]


def rerank_inputs(
    candidates: Sequence[Candidate],
    query: Composition,
    targets: Sequence[Modality],
    found: Mapping[str, FloatArray],
) -> RerankInputs:
    """The tensors for ``candidates`` of a search among ``targets``, row vectors ``found`` by key."""
    asked = [vector for vector in query.vectors if vector.space in ("unified", "transcript")]
    places = {(vector.part, vector.space == "transcript"): place for place, vector in enumerate(asked)}
    rows = np.zeros((len(candidates), len(_PLACE), UNIFIED_DIM), np.float32)
    evidence = np.zeros((len(candidates), len(asked), len(_PLACE)), np.float32)
    for number, candidate in enumerate(candidates):
        for modality, key in _rows(candidate, targets).items():
            if key in found:
                rows[number, _PLACE[modality]] = found[key]
        for signal in candidate.signals:
            # Spaces of one pair of modalities look at the same row, so the better one counts, as in fusion.
            place = places[signal.part, signal.space == "transcript"], _PLACE[signal.item_modality]
            evidence[number][place] = max(evidence[number][place], signal.score)
    return RerankInputs(
        query=np.stack([vector.vector for vector in asked]).astype(np.float32),
        query_kind=np.array([RERANK_KINDS[_kind(vector)] for vector in asked], np.int64),
        query_weight=np.array([vector.weight for vector in asked], np.float32),
        rows=rows,
        evidence=evidence,
        fused=np.array([candidate.score for candidate in candidates], np.float32),
    )


def _kind(vector: QueryVector) -> str:
    return "transcript" if vector.space == "transcript" else vector.modality.value


def _rows(candidate: Candidate, targets: Sequence[Modality]) -> dict[Modality, str]:
    """The key of one row per modality: the best segment found, and the item's own text where texts are
    looked in."""
    own = row_key(candidate.item_id, Modality.TEXT, -1, 0)
    keys = {Modality.TEXT: own} if Modality.TEXT in targets else {}
    for signal in reversed(candidate.signals):
        keys[signal.item_modality] = signal.row.key
    return keys
