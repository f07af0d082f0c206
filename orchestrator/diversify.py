"""Maximal marginal relevance: of what is relevant, first what is not yet there.

Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing
summaries", SIGIR 1998. One at a time, the candidate with the greatest

    lambda * relevance - (1 - lambda) * (greatest similarity to one already chosen)

follows. Relevance is the fused score (0..1) and similarity the cosine of unified vectors, negative ones taken
as 0, so that being opposed to a chosen item is no merit. The first candidate is the most relevant one,
whatever lambda is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orchestrator.types import FloatArray

__all__ = ["mmr_order"]


def mmr_order(relevance: Sequence[float], vectors: FloatArray, mmr_lambda: float) -> list[int]:
    """Indices of all n candidates in MMR order; ties keep the order given.

    ``vectors`` is float32 [n, dim] of unit rows. A row of zeros stands for a vector that is not known and is
    similar to nothing. Takes O(n^2) after one matrix product; the caller bounds n.
    """
    n = len(relevance)
    if not n:
        return []
    similarity = np.clip(vectors @ vectors.T, 0.0, 1.0)
    gain = mmr_lambda * np.asarray(relevance, np.float64)
    redundancy = np.zeros(n)
    left = np.ones(n, bool)
    chosen = int(np.argmax(relevance))
    order = [chosen]
    for _ in range(n - 1):
        left[chosen] = False
        np.maximum(redundancy, similarity[chosen], out=redundancy)
        value = np.where(left, gain - (1.0 - mmr_lambda) * redundancy, -np.inf)
        chosen = int(np.argmax(value))
        order.append(chosen)
    return order
