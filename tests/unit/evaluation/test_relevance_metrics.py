"""Metrics against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from evaluation.metrics import interval, interval_of_ratio, per_query, summary


def test_values_worked_out_by_hand() -> None:
    relevant = {"q": ["a", "b"], "r": ["c"]}
    ranked = {"q": ["x", "a", "y", "b", "z"], "r": ["c", "x"]}
    values = per_query(relevant, ranked)
    # gains at ranks 2 and 4, against the ideal ranks 1 and 2
    found = 1 / math.log2(3) + 1 / math.log2(5)
    ideal = 1 + 1 / math.log2(3)
    assert values["ndcg@10"]["q"] == pytest.approx(found / ideal)
    assert values["ndcg@5"]["q"] == pytest.approx(found / ideal)
    assert values["mrr"]["q"] == pytest.approx(1 / 2)
    assert values["p@1"] == {"q": 0.0, "r": 1.0}
    assert values["recall@100"]["q"] == 1.0
    assert values["ndcg@10"]["r"] == 1.0


def test_what_lies_below_the_cut_off_does_not_count() -> None:
    ranked = {"q": [f"x{number}" for number in range(10)] + ["a"]}
    values = per_query({"q": ["a"]}, ranked)
    assert values["ndcg@10"]["q"] == 0.0
    assert values["mrr"]["q"] == pytest.approx(1 / 11)
    assert values["recall@100"]["q"] == 1.0


def test_a_query_that_found_nothing_scores_zero() -> None:
    values = per_query({"q": ["a"], "r": ["b"]}, {"q": [], "r": ["b"]})
    assert values["ndcg@10"] == {"q": 0.0, "r": 1.0}
    assert summary(values)["ndcg@10"] == 0.5


def test_order_is_the_systems_and_not_the_names() -> None:
    ranked = {"q": ["b", "a"]}
    assert per_query({"q": ["a"]}, ranked)["p@1"]["q"] == 0.0
    assert per_query({"q": ["b"]}, ranked)["p@1"]["q"] == 1.0


@pytest.mark.parametrize(
    ("relevant", "ranked"), [({"q": []}, {"q": ["a"]}), ({"q": ["a"]}, {"q": ["a", "a"]})]
)
def test_what_cannot_be_measured_is_refused(
    relevant: dict[str, list[str]], ranked: dict[str, list[str]]
) -> None:
    with pytest.raises(ValueError, match="query q"):
        per_query(relevant, ranked)


def test_interval_holds_the_mean_and_narrows_with_more_queries() -> None:
    few, many = [0.0, 1.0] * 10, [0.0, 1.0] * 1000
    low, high = interval(few)
    assert low < 0.5 < high
    # the normal approximation: 1.96 * 0.5 / sqrt(20)
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(20), rel=0.15)
    assert interval(few) == interval(few)
    narrow_low, narrow_high = interval(many)
    assert narrow_high - narrow_low < (high - low) / 5
    assert interval([0.25] * 7) == (0.25, 0.25)


def test_interval_of_a_ratio_draws_pairs_together() -> None:
    below = [0.2, 0.4, 0.9, 0.1, 0.7]
    low, high = interval_of_ratio([value / 2 for value in below], below)
    assert low == pytest.approx(0.5)
    assert high == pytest.approx(0.5)
