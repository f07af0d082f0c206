"""The best k of a stream of scores: what is kept is k wide, whatever comes by.

Order is by falling score, then rising candidate, so that equal scores always come out the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["NONE", "Best", "Ranking"]

NONE: Final = -1
"""Stands for a candidate where there are fewer than k."""


@dataclass(frozen=True, slots=True, eq=False)
class Best:
    """For each of b queries the best candidates, best first.

    ``scores`` [b, k] and ``candidates`` [b, k] int64; -inf and ``NONE`` behind the last that there is.
    """

    scores: NDArray[np.floating]
    candidates: NDArray[np.int64]


class Ranking:
    """The best ``k`` so far of each of ``queries``. Candidates come in rising order."""

    def __init__(self, queries: int, k: int, dtype: np.dtype) -> None:
        self._k = k
        self._scores = np.full((queries, k), -np.inf, dtype)
        self._candidates = np.full((queries, k), NONE, np.int64)

    def add(self, scores: NDArray[np.floating], candidates: NDArray[np.int64]) -> None:
        """``scores`` [queries, n] of ``candidates`` [n]."""
        # What only equals the last of the best came later, so it stays out.
        better = scores > self._scores[:, -1:]
        queries, new = np.flatnonzero(better.any(axis=1)), np.flatnonzero(better.any(axis=0))
        if queries.size:
            self._keep(queries, scores[np.ix_(queries, new)], np.tile(candidates[new], (queries.size, 1)))

    def join(self, other: Ranking) -> None:
        """And the best of another ranking of the same queries; candidates may come in any order."""
        everyone = np.arange(len(self._scores))
        self._keep(everyone, other._scores, other._candidates)

    def _keep(
        self, queries: NDArray[np.intp], scores: NDArray[np.floating], candidates: NDArray[np.int64]
    ) -> None:
        scores = np.concatenate([self._scores[queries], scores], axis=1)
        candidates = np.concatenate([self._candidates[queries], candidates], axis=1)
        order = np.lexsort((candidates, -scores), axis=1)[:, : self._k]
        self._scores[queries] = np.take_along_axis(scores, order, axis=1)
        self._candidates[queries] = np.take_along_axis(candidates, order, axis=1)

    def best(self, places: NDArray[np.intp], queries: int) -> Best:
        """Spread to ``queries`` queries, of which this ranking holds those at ``places``."""
        scores = np.full((queries, self._k), -np.inf, self._scores.dtype)
        candidates = np.full((queries, self._k), NONE, np.int64)
        scores[places], candidates[places] = self._scores, self._candidates
        return Best(scores, candidates)
