"""What the re-ranker is timed with: a query of one vector and 50 candidates that have a text and a picture
each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["CANDIDATES", "candidates"]

CANDIDATES = 50


def candidates(queries: int) -> dict[str, NDArray[np.generic]]:
    """Inputs of Triton's `rerank` by name for so many queries, numbers by chance, the same each time."""
    random = np.random.default_rng(0)

    def unit(*sizes: int) -> NDArray[np.float32]:
        vectors = random.standard_normal((*sizes, 1024)).astype(np.float32)
        found: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
        return found

    rows = np.zeros((queries, CANDIDATES, 4, 1024), np.float32)
    rows[:, :, :2] = unit(queries, CANDIDATES, 2)
    evidence = np.zeros((queries, CANDIDATES, 1, 4), np.float32)
    evidence[..., :2] = random.random((queries, CANDIDATES, 1, 2))
    return {
        "query": unit(queries, 1),
        "query_kind": np.ones((queries, 1), np.int64),
        "query_weight": np.ones((queries, 1), np.float32),
        "rows": rows,
        "evidence": evidence,
        "fused": evidence.max(axis=(2, 3)),
    }
