"""The CPU path against the definition in float64, and what every path refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import CASES, Case, check, expected, inputs

from kernels import (
    BoundError,
    DeviceError,
    KernelError,
    NotFiniteError,
    ShapeError,
    VectorSets,
    retrieve,
)
from kernels.best import Ranking

TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-6, torch.float16: 1e-6, torch.bfloat16: 1e-6}
"""Of scores of unit rows: float16 and bfloat16 rows are multiplied as float32."""


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_scores_are_those_of_the_definition(case: Case, dtype: torch.dtype) -> None:
    queries, candidates = inputs(case, dtype)
    best = retrieve(queries, candidates, case.k, case.temperature)
    assert best.scores.dtype == (np.float64 if dtype is torch.float64 else np.float32)
    truth = expected(queries, candidates, case.temperature)
    check(best.scores, best.candidates, truth, case.k, TOLERANCE[dtype])


@given(
    queries=st.lists(st.integers(0, 20), max_size=6),
    candidates=st.lists(st.integers(0, 40), max_size=30),
    dim=st.integers(1, 70),
    k=st.integers(1, 40),
    temperature=st.floats(1e-3, 1e3),
    threads=st.integers(1, 3),
)
def test_any_shape(
    queries: list[int], candidates: list[int], dim: int, k: int, temperature: float, threads: int
) -> None:
    case = Case("any", tuple(queries), tuple(candidates), dim, k, temperature)
    sets = inputs(case, torch.float32)
    best = retrieve(*sets, k, temperature, threads)
    check(best.scores, best.candidates, expected(*sets, temperature), k, 1e-6)


@pytest.mark.parametrize("length", [1e-6, 1e6, 0.0])
def test_long_and_short_rows(length: float) -> None:
    """Similarities far beyond what an exponential holds, and none at all."""
    case = CASES[1]
    sets = inputs(case, torch.float32, max(length, 1e-30))
    if not length:
        sets = tuple(VectorSets.of(each.rows * 0, each.offsets) for each in sets)
    best = retrieve(*sets, 3, 0.01)
    check(best.scores, best.candidates, expected(*sets, 0.01), 3, 1e-6 * max(length, 1e-30) ** 2)


def test_many_candidates_in_many_blocks_are_the_same_for_any_number_of_threads() -> None:
    random = np.random.default_rng(5)
    case = Case("many", (9,) * 40, tuple(random.integers(0, 6, 700).tolist()), 48, 50)
    sets = inputs(case, torch.float32)
    one, three = retrieve(*sets, 50, 0.1), retrieve(*sets, 50, 0.1, threads=3)
    check(one.scores, one.candidates, expected(*sets, 0.1), 50, 1e-6)
    np.testing.assert_array_equal(one.scores, three.scores)
    np.testing.assert_array_equal(one.candidates, three.candidates)


def test_what_is_masked_counts_for_nothing() -> None:
    random = np.random.default_rng(0)
    values = random.standard_normal((5, 4, 16)).astype(np.float32)
    mask = random.random((5, 4)) < 0.5
    mask[2] = False
    masked = values.copy()
    masked[~mask] = np.nan
    queries = VectorSets.of(random.standard_normal((3, 16)).astype(np.float32), [0, 3])
    found = retrieve(queries, VectorSets.from_padded(masked, mask), 5, 0.5)
    packed = VectorSets.of(values[mask], np.concatenate([[0], np.cumsum(mask.sum(1))]))
    np.testing.assert_array_equal(found.scores, retrieve(queries, packed, 5, 0.5).scores)
    assert 2 not in found.candidates
    as_tensors = VectorSets.from_padded(torch.from_numpy(masked), torch.from_numpy(mask))
    np.testing.assert_array_equal(found.scores, retrieve(queries, as_tensors, 5, 0.5).scores)


def test_equal_scores_come_by_rising_candidate() -> None:
    for blocks in ([[0, 1, 2, 3]], [[0, 1], [2, 3]], [[0], [1], [2], [3]]):
        ranking = Ranking(1, 3, np.dtype(np.float32))
        for block in blocks:
            ranking.add(
                np.array([[0.5, 1.0, 0.5, 0.5][block[0] : block[-1] + 1]], np.float32), np.array(block)
            )
        assert ranking.best(np.array([0]), 1).candidates.tolist() == [[1, 0, 2]]
    early, late = Ranking(1, 2, np.dtype(np.float32)), Ranking(1, 2, np.dtype(np.float32))
    late.add(np.array([[0.5]], np.float32), np.array([7]))
    early.add(np.array([[0.5, 0.5]], np.float32), np.array([3, 5]))
    late.join(early)
    assert late.best(np.array([0]), 1).candidates.tolist() == [[3, 5]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e20])
@pytest.mark.parametrize("tensor", [False, True])
def test_rows_that_cannot_be_compared_are_refused(bad: float, tensor: bool) -> None:
    rows = np.ones((4, 8), np.float32)
    rows[2, 3] = bad
    with pytest.raises(NotFiniteError, match="row 2"):
        VectorSets.of(torch.from_numpy(rows) if tensor else rows, [0, 4])


@pytest.mark.parametrize(
    ("rows", "offsets"),
    [
        (np.ones((4, 8)), [0, 3]),
        (np.ones((4, 8)), [1, 4]),
        (np.ones((4, 8)), [0, 3, 2, 4]),
        (np.ones((4, 8)), []),
        (np.ones((4, 8)), [0.0, 4.0]),
        (np.ones((4, 8)), [[0, 4]]),
        (np.ones((4, 0)), [0, 4]),
        (np.ones(4), [0, 4]),
        (np.ones((4, 8), np.int32), [0, 4]),
    ],
)
def test_sets_that_do_not_fit_are_refused(rows: np.ndarray, offsets: list[int]) -> None:
    with pytest.raises(ShapeError):
        VectorSets.of(rows, offsets)


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError):
        VectorSets.from_padded(np.ones((2, 3, 4)), np.ones((2, 2), bool))
    with pytest.raises(ShapeError):
        VectorSets.from_padded(np.ones((2, 3, 4)), np.ones((2, 3)))


def sets(dim: int = 8, device: str = "") -> VectorSets:
    if device:
        return VectorSets(torch.ones((2, dim), device=device), np.array([0, 2]))
    return VectorSets.of(np.ones((2, dim), np.float32), [0, 2])


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (BoundError, {"k": 0}),
        (BoundError, {"k": 257}),
        (BoundError, {"temperature": 0.0}),
        (BoundError, {"temperature": float("nan")}),
        (BoundError, {"temperature": 1e5}),
        (BoundError, {"threads": 0}),
        (BoundError, {"threads": 65}),
        (ShapeError, {"candidates": sets(dim=9)}),
        (ShapeError, {"candidates": sets(device="meta")}),
        (ShapeError, {"queries": VectorSets.of(np.ones((0, 8)), [0] * 65_537)}),
        (DeviceError, {"queries": sets(device="meta"), "candidates": sets(device="meta")}),
    ],
)
def test_what_is_out_of_bounds_is_refused(error: type[KernelError], arguments: dict[str, object]) -> None:
    with pytest.raises(error):
        retrieve(**{"queries": sets(), "candidates": sets(), "k": 1, "temperature": 0.1, **arguments})
