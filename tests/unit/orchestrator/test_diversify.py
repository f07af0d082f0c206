"""MMR against its definition, computed the slow way."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from orchestrator.diversify import mmr_order
from orchestrator.types import FloatArray


def slow_mmr(relevance: list[float], vectors: FloatArray, mmr_lambda: float) -> list[int]:
    """The definition, with no state kept between steps."""
    chosen: list[int] = []
    while len(chosen) < len(relevance):
        best, best_value = -1, -np.inf
        for i in range(len(relevance)):
            if i in chosen:
                continue
            similar = max((min(1.0, max(0.0, float(vectors[i] @ vectors[j]))) for j in chosen), default=0.0)
            value = mmr_lambda * relevance[i] - (1 - mmr_lambda) * similar if chosen else relevance[i]
            if value > best_value + 1e-9:
                best, best_value = i, value
        chosen.append(best)
    return chosen


def unit(rows: FloatArray) -> FloatArray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(norms == 0, 1, norms)).astype(np.float32)


@settings(deadline=None)
@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(
            st.lists(st.integers(0, 1000), min_size=n, max_size=n, unique=True),
            hnp.arrays(np.float32, (n, 5), elements=st.floats(-1, 1, width=32)),
        )
    ),
    st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]),
)
def test_it_agrees_with_the_definition(drawn: tuple[list[int], FloatArray], mmr_lambda: float) -> None:
    relevance = [value / 1000 for value in drawn[0]]
    vectors = unit(drawn[1])
    order = mmr_order(relevance, vectors, mmr_lambda)
    assert sorted(order) == list(range(len(relevance)))
    expected = slow_mmr(relevance, vectors, mmr_lambda)
    # Values that are equal but for rounding may change places: compare what was gained, not who gained it.
    assert np.allclose(
        gains(order, relevance, vectors, mmr_lambda),
        gains(expected, relevance, vectors, mmr_lambda),
        atol=1e-5,
    )


def gains(order: list[int], relevance: list[float], vectors: FloatArray, mmr_lambda: float) -> list[float]:
    found = [relevance[i] for i in order[:1]]
    if len(order) > 1:
        i, first = order[1], order[0]
        found.append(
            mmr_lambda * relevance[i] - (1 - mmr_lambda) * max(0.0, float(vectors[i] @ vectors[first]))
        )
    return found


def test_lambda_1_is_relevance_alone() -> None:
    vectors = np.ones((4, 1), np.float32)
    assert mmr_order([0.1, 0.4, 0.2, 0.3], vectors, 1.0) == [1, 3, 2, 0]


def test_a_twin_goes_behind_something_new() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert mmr_order([0.9, 0.8, 0.6], vectors, 0.5) == [0, 2, 1]


def test_being_opposed_is_no_merit() -> None:
    vectors = np.array([[1, 0], [-1, 0], [0, 1]], np.float32)
    assert mmr_order([0.9, 0.5, 0.6], vectors, 0.5) == [0, 2, 1]


def test_ties_keep_the_order_given() -> None:
    assert mmr_order([0.5, 0.5, 0.5], np.zeros((3, 2), np.float32), 0.5) == [0, 1, 2]


def test_nothing_gives_nothing() -> None:
    assert mmr_order([], np.zeros((0, 2), np.float32), 0.5) == []
