"""The CPU path: NumPy and its BLAS, in blocks of candidates whose scores stay in a core's cache.

A block of segments is multiplied with all tokens, exponentials are summed by candidate, and what is better
than the best so far joins it. Sums by candidate and means over tokens are products with small matrices of
zeros and weights: BLAS does them in a third of the time that ``reduceat`` takes over such short runs.
Nothing larger than a block is ever written. Blocks are the same for any number of threads, so scores are,
too.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from kernels.best import Best, Ranking
from kernels.sets import VectorSets

__all__ = ["retrieve"]

_CELLS: Final = 1 << 17
"""Scores of a block, about; they and their exponentials fit a core's L2 cache."""
_ROWS: Final = (32, 512)
"""Rows of a block at least, for BLAS, and at most: sums by candidate grow with the square."""
_SAFE: Final = 60.0
"""As long as no logit is further from 0, exponentials need no shift: no sum or ratio leaves float32."""


def retrieve(queries: VectorSets, candidates: VectorSets, k: int, temperature: float, threads: int) -> Best:
    """See ``kernels.retrieve``, which checks. Scores are float64 if rows are, else float32.

    BLAS is held to one thread in the whole process for as long as it takes; the threads are ours.
    """
    asked, held = np.flatnonzero(queries.counts), np.flatnonzero(candidates.counts)
    work = _Work(queries, asked, candidates, temperature)
    blocks = _blocks(candidates.counts[held], held, len(queries.rows)) if len(asked) else []
    with _blas().limit(limits=1):
        if threads == 1 or len(blocks) < 2:
            return work.rank(blocks, k).best(asked, len(queries))
        with ThreadPoolExecutor(threads) as pool:
            ranking, *others = pool.map(lambda at: work.rank(blocks[at::threads], k), range(threads))
    for other in others:
        ranking.join(other)
    return ranking.best(asked, len(queries))


@functools.cache
def _blas() -> ThreadpoolController:
    """Looking for the libraries takes milliseconds, so it is done once."""
    return ThreadpoolController().select(user_api="blas")


def _blocks(counts: NDArray[np.int64], held: NDArray[np.intp], tokens: int) -> list[NDArray[np.intp]]:
    """``held``, of ``counts`` rows each, cut where so many rows are full; longer candidates stand alone."""
    rows = min(max(_CELLS // tokens, _ROWS[0]), _ROWS[1])
    ends = np.cumsum(counts)
    cuts, start = [], 0
    while start < len(held):
        before = int(ends[start - 1]) if start else 0
        start = max(int(np.searchsorted(ends, before + rows, side="right")), start + 1)
        cuts.append(start)
    return np.split(held, cuts)[:-1]


class _Work:
    """What all blocks share. ``asked`` are the queries that have tokens."""

    def __init__(
        self, queries: VectorSets, asked: NDArray[np.intp], candidates: VectorSets, temperature: float
    ) -> None:
        self._dtype = np.result_type(queries.rows, candidates.rows, np.float32)
        self._candidates = candidates
        self._temperature = self._dtype.type(temperature)
        self._tokens = (queries.rows.astype(self._dtype) / self._temperature).T
        counts = queries.counts[asked]
        self._mean = _belonging(counts, self._dtype).T / counts.astype(self._dtype)

    def rank(self, blocks: Iterable[NDArray[np.intp]], k: int) -> Ranking:
        """The best of ``blocks``, each candidates with segments, in rising order."""
        ranking = Ranking(self._mean.shape[1], k, self._dtype)
        for block in blocks:
            ranking.add(self._scores(block), block)
        return ranking

    def _scores(self, block: NDArray[np.intp]) -> NDArray[np.floating]:
        """[asked queries, candidates of the block]."""
        offsets, counts = self._candidates.offsets, self._candidates.counts[block]
        rows = self._candidates.rows[offsets[block[0]] : offsets[block[-1] + 1]]
        logits = rows.astype(self._dtype, copy=False) @ self._tokens
        shift = None
        if max(logits.max(), -logits.min()) > _SAFE:
            highest = np.maximum.reduceat(logits, np.cumsum(counts) - counts)
            shift = np.repeat(highest, counts, axis=0)
        weights = np.exp(logits if shift is None else logits - shift)
        belonging = _belonging(counts, self._dtype)
        total = belonging @ weights
        weights *= logits
        attended = belonging @ weights
        attended /= total
        scores: NDArray[np.floating] = (attended @ self._mean).T * self._temperature
        return scores


def _belonging(counts: NDArray[np.int64], dtype: np.dtype) -> NDArray[np.floating]:
    """[sets, rows]: 1 where a row belongs to a set, else 0."""
    matrix = np.zeros((len(counts), int(counts.sum())), dtype)
    matrix[np.repeat(np.arange(len(counts)), counts), np.arange(matrix.shape[1])] = 1
    return matrix
