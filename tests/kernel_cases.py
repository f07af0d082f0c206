"""Inputs for the kernels, what they must give in float64, and how an answer is held against that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from kernels import NONE, VectorSets
from kernels.reference import scores


@dataclass(frozen=True)
class Case:
    """``queries`` and ``candidates`` are the lengths of their sets; ``repeat`` makes sets equal."""

    name: str
    queries: tuple[int, ...]
    candidates: tuple[int, ...]
    dim: int
    k: int
    temperature: float = 0.1
    repeat: bool = False

    def __str__(self) -> str:
        return self.name


CASES = (
    Case("one of each", (1,), (1,), 8, 1),
    Case("odd everything", (3, 1, 5), (2, 7, 1, 3, 11, 1, 1), 37, 3),
    Case("empty sets on both sides", (0, 2, 0, 4), (0, 3, 0, 0, 1, 2, 0), 24, 5),
    Case("nothing to find", (2, 1), (0, 0, 0), 16, 2),
    Case("nobody asks", (0, 0), (1, 2), 16, 2),
    Case("no candidates", (2,), (), 16, 3),
    Case("no queries", (), (2, 1), 16, 3),
    Case("fewer candidates than k", (2, 3), (1, 4, 2), 16, 20),
    Case("more tokens than a tile", (17, 9), (3, 1, 9, 10), 40, 2),
    Case("more candidates than a tile", (2,), tuple(1 + i % 4 for i in range(53)), 20, 7),
    Case("k beyond a tile", (1, 2), tuple(1 + i % 3 for i in range(45)), 12, 33),
    Case("ties", (2, 2), (2,) * 21, 16, 9, repeat=True),
    Case("nearly the maximum", (2, 3), (4, 1, 6, 2), 64, 3, temperature=1e-3),
    Case("nearly the mean", (2, 3), (4, 1, 6, 2), 64, 3, temperature=50.0),
    Case("1,024 dimensions", (4, 2), (3, 5, 1, 2), 1024, 2, temperature=0.05),
)


def inputs(case: Case, dtype: torch.dtype, length: float = 1.0) -> tuple[VectorSets, VectorSets]:
    """Sets of rows of norm ``length`` (before rounding to ``dtype``), torch tensors, from the case's name."""
    random = np.random.default_rng(list(case.name.encode()))

    def sets(counts: tuple[int, ...]) -> VectorSets:
        rows = random.standard_normal((sum(counts), case.dim))
        if case.repeat:
            rows[:] = np.tile(rows[: counts[0]], (len(counts), 1))
        rows *= length / np.linalg.norm(rows, axis=1, keepdims=True)
        offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        return VectorSets.of(torch.from_numpy(rows).to(dtype), offsets)

    return sets(case.queries), sets(case.candidates)


def expected(queries: VectorSets, candidates: VectorSets, temperature: float) -> np.ndarray:
    """Scores [b, n] in float64 by the reference."""
    b, n = len(queries), len(candidates)
    if not b or not n:
        return np.zeros((b, n))
    return scores(*padded(queries), *padded(candidates), temperature).numpy()


def padded(sets: VectorSets) -> tuple[torch.Tensor, torch.Tensor]:
    """Values [n, s, d] in float64, with zeros where the mask [n, s] is false."""
    mask = torch.arange(max(int(sets.counts.max(initial=0)), 1)) < torch.from_numpy(sets.counts)[:, None]
    values = torch.zeros((*mask.shape, sets.dim), dtype=torch.float64)
    values[mask] = torch.as_tensor(sets.rows).double()
    return values, mask


def check(found: np.ndarray, candidates: np.ndarray, truth: np.ndarray, k: int, tolerance: float) -> None:
    """``found`` and ``candidates`` [b, k] are the best k by ``truth`` [b, n], up to ``tolerance``."""
    assert found.shape == candidates.shape == (len(truth), k)
    for scored, ids, true in zip(found.astype(np.float64), candidates, truth, strict=True):
        there = min(k, int(np.isfinite(true).sum()))
        assert (ids[there:] == NONE).all()
        assert (scored[there:] == -np.inf).all()
        scored, ids = scored[:there], ids[:there]
        assert len(set(ids.tolist())) == there
        np.testing.assert_allclose(scored, true[ids], rtol=0, atol=tolerance)
        order = sorted(range(there), key=lambda place: (-scored[place], ids[place]))
        assert order == list(range(there)), "falling scores, equal ones by rising candidate"
        if there:
            assert np.sort(true)[::-1][there - 1] <= true[ids].min() + 2 * tolerance, "none that is better"
