"""Stage cross_attention: the vectors of the query attend to the rows of each of the best candidates.

The similarity of what they attend to (``kernels`` has the definition) is one number for all rows of an
item, where fusion has calibrated evidence per pair of modalities. It moves the log-odds of a candidate by
how far it lies from the mean of those that are looked at, so scores stay probabilities and ``min_score``
means what it did.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kernels import NONE, NotFiniteError, VectorSets, retrieve
from orchestrator.compose import Composition
from orchestrator.errors import ProtocolError
from orchestrator.query import Candidate
from orchestrator.row_vectors import RowVectors
from orchestrator.settings import CrossAttentionSettings
from orchestrator.trace import Trace
from orchestrator.types import UNIFIED_DIM, Modality, row_key

__all__ = ["CrossAttention"]

_WHY = "its rows as the query attends to them"
_SURE = 1e-6
"""Scores are kept so far from 0 and 1 that they have log-odds."""


class CrossAttention:
    """Moves the first ``settings.pool`` candidates; the others stay behind them as they stand."""

    def __init__(self, settings: CrossAttentionSettings) -> None:
        self._settings = settings

    def wanted(self, asked: bool | None, query: Composition) -> bool:
        """Whether to: asked for, or by default; and no part pushes away, which attention cannot say."""
        made_of = "+".join(sorted({vector.modality.value for vector in query.vectors}))
        on = made_of in self._settings.default_for if asked is None else asked
        return on and query.kind != "negative"

    async def attend(
        self,
        candidates: Sequence[Candidate],
        query: Composition,
        targets: Sequence[Modality],
        vectors: RowVectors,
        trace: Trace,
        budget_s: float,
    ) -> list[Candidate]:
        """Candidates in their new order. Only rows of ``targets`` are attended to.

        Raises:
            DependencyError: Milvus failed, or holds vectors that cannot be compared.
            TimeoutError: it took longer than ``budget_s``.
        """
        head = candidates[: self._settings.pool]
        keys = [_rows(candidate, targets) for candidate in head]
        found = await vectors.get([key for each in keys for key in each], trace, "cross_attention", budget_s)
        held = [[found[key] for key in each if key in found] for each in keys]
        tokens = [one.vector for one in query.vectors if one.space in ("unified", "transcript")]
        try:
            # Some hundred rows and a few tokens: a fraction of a millisecond, as for MMR.
            best = retrieve(_sets([tokens]), _sets(held), len(head), self._settings.temperature)
        except NotFiniteError as error:
            raise ProtocolError("milvus", f"a stored vector cannot be compared: {error}") from error
        there = best.candidates[0] != NONE
        if not there.any():
            return list(candidates)
        similarity = best.scores[0][there].astype(np.float64)
        moves = np.zeros(len(head))
        moves[best.candidates[0][there]] = self._settings.gain * (similarity - similarity.mean())
        scores = [_moved(candidate.score, move) for candidate, move in zip(head, moves, strict=True)]
        order = sorted(range(len(head)), key=lambda place: -scores[place])
        moved = [
            head[old].moved(scores[old], "cross_attention", _WHY, old, new) for new, old in enumerate(order)
        ]
        return [*moved, *candidates[len(head) :]]


def _sets(sets: Sequence[Sequence[np.ndarray]]) -> VectorSets:
    rows = [row for each in sets for row in each]
    values = np.stack(rows).astype(np.float32) if rows else np.zeros((0, UNIFIED_DIM), np.float32)
    return VectorSets.of(values, np.cumsum([0, *map(len, sets)]))


def _rows(candidate: Candidate, targets: Sequence[Modality]) -> list[str]:
    """Keys of the rows that it was found by, and of its own text where texts are looked in."""
    keys = dict.fromkeys(signal.row.key for signal in candidate.signals)
    if Modality.TEXT in targets:
        keys[row_key(candidate.item_id, Modality.TEXT, -1, 0)] = None
    return list(keys)


def _moved(score: float, by: float) -> float:
    likely = min(max(score, _SURE), 1.0 - _SURE)
    return float(1.0 / (1.0 + np.exp(-(np.log(likely / (1.0 - likely)) + by))))
