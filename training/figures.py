"""NDCG@10 of one modality's queries against another's gallery, by the metrics that `evaluation` reports."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evaluation.metrics import per_query

__all__ = ["ndcg"]

DEPTH = 10


def ndcg(
    queries: npt.NDArray[np.float32],
    asked: Sequence[str],
    gallery: npt.NDArray[np.float32],
    meanings: Sequence[str],
    skip: npt.NDArray[np.intp] | None = None,
) -> npt.NDArray[np.float64]:
    """NDCG@10 of each query, best cosine first: float64 [q].

    Args:
        queries: [q, d] unit norm; `asked` are their meanings.
        gallery: [n, d] unit norm; `meanings` are its meanings: equal meaning is relevance.
        skip: [q] row of the gallery that is the query itself and is left out.
    """
    scores = queries @ gallery.T
    if skip is not None:
        scores[np.arange(len(asked)), skip] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
    rows_of: dict[str, list[int]] = {}
    for row, meaning in enumerate(meanings):
        rows_of.setdefault(meaning, []).append(row)
    relevant = {
        str(query): [str(row) for row in rows_of[meaning] if skip is None or row != skip[query]]
        for query, meaning in enumerate(asked)
    }
    ranked = {str(query): [str(row) for row in order[query]] for query in range(len(asked))}
    values = per_query(relevant, ranked)["ndcg@10"]
    return np.array([values[str(query)] for query in range(len(asked))])
