"""Alignment, baselines, diversity and comparisons against values worked out by hand or by brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from catalogue.manifest import ManifestItem
from evaluation.alignment import nearest_share
from evaluation.attributes import COMPOSITIONS, WORDS, _worded
from evaluation.baselines import Lexical, early, fused_ranks
from evaluation.client import Answer
from evaluation.compare import compare, comparison_table
from evaluation.diversity import alpha_ndcg, intra_list_distance
from evaluation.judgements import Query


def item(name: str, description: str, category: str = "", tags: tuple[str, ...] = ()) -> ManifestItem:
    return ManifestItem(id=name, title=description, description=description, category=category, tags=tags)


def answer(cosines: dict[str, dict[str, float]]) -> Answer:
    return Answer(tuple(cosines), cosines, {}, 1.0, 1.0, (), "", cached=False)


def test_nearest_share_is_the_mean_over_all_draws() -> None:
    others = [f"o{number}" for number in range(101)]
    ranked = ["o5", "x", "p", "o7"]  # x has not the modality or the same meaning: no candidate
    # one of 101 stands above: a draw of 99 leaves it out in 2 of 101 cases
    assert nearest_share("p", others, ranked) == pytest.approx(2 / 101)
    draws = list(itertools.combinations(others, 99))
    assert np.mean(["o5" not in draw for draw in draws]) == pytest.approx(2 / 101)


def test_nearest_share_at_the_ends() -> None:
    others = [f"o{number}" for number in range(300)]
    assert nearest_share("p", others, ["p", *others[:50]]) == 1.0
    assert nearest_share("p", others, others[:100]) == 0.0
    # fewer than 99 others: all are candidates
    assert nearest_share("p", others[:20], ["p"]) == 1.0
    assert nearest_share("p", others[:20], ["o3", "p"]) == 0.0


def test_bm25_ranks_by_words_and_leaves_out_what_shares_none() -> None:
    items = [item("a", "A green frog"), item("b", "A frog, a frog"), item("c", "A red truck")]
    lexical = Lexical(items)
    assert lexical.ranked("frog") == ["b", "a"]
    assert lexical.ranked("green frogs and a frog")[0] == "a"
    assert lexical.ranked("zebra") == []
    assert lexical.ranked("") == []


def test_reciprocal_ranks_add_up() -> None:
    assert fused_ranks(["a", "b", "c"], ["c", "b"]) == ["c", "b", "a"]
    assert 1 / 61 + 1 / 63 > 2 / 62
    assert fused_ranks(["a", "b"], []) == ["a", "b"]


def test_early_fusion_is_the_cosine_of_the_concatenation() -> None:
    rng = np.random.default_rng(0)
    query = rng.normal(size=8)
    query /= np.linalg.norm(query)
    rows = {name: rng.normal(size=(2, 8)) for name in "abc"}
    rows = {name: row / np.linalg.norm(row, axis=1, keepdims=True) for name, row in rows.items()}
    cosines = {
        name: {"text": float(row[0] @ query), "image": float(row[1] @ query)} for name, row in rows.items()
    }
    whole = {
        name: float(np.concatenate([query, query]) @ row.ravel()) / (math.sqrt(2) * math.sqrt(2))
        for name, row in rows.items()
    }
    items = {name: item(name, name) for name in rows}
    assert early(answer(cosines), items) == sorted(whole, key=lambda name: -whole[name])


def test_what_early_fusion_is_not_told_counts_as_the_lowest() -> None:
    found = answer({"a": {"text": 0.5, "image": 0.1}, "b": {"text": 0.55}, "c": {"text": 0.2, "image": 0.6}})
    items = {name: item(name, name) for name in "abc"}
    assert early(found, items) == ["c", "b", "a"]


def test_intra_list_distance_is_the_mean_jaccard_distance() -> None:
    a, b, c = item("a", "red frog", "x"), item("b", "red frog", "x"), item("c", "truck", "y")
    assert intra_list_distance([a, b]) == 0.0
    assert intra_list_distance([a, c]) == 1.0
    assert intra_list_distance([a, b, c]) == pytest.approx(2 / 3)
    assert intra_list_distance([a]) == 0.0


def test_alpha_ndcg_pays_half_for_what_was_there_before() -> None:
    items = [item("a", "a", "x", ("t",)), item("b", "b", "x", ("t",)), item("c", "c", "z", ("u",))]
    asked = [Query("q", items[0], ("a",))]
    both = alpha_ndcg(asked, {"q": ["a", "b"]}, items)["q"]
    apart = alpha_ndcg(asked, {"q": ["c", "a"]}, items)["q"]
    ideal = 2 + 2 * 0.5 / math.log2(3)
    assert both == pytest.approx(1.0, abs=1e-4)
    assert apart == pytest.approx(2 / math.log2(3) / ideal, abs=1e-4)


def report(values: dict[str, float]) -> dict[str, object]:
    return {
        "headline": {"paraphrase": {"per_query": {query: {"ndcg@10": v} for query, v in values.items()}}},
        "options": {"rerank": True},
    }


def test_comparison_pairs_queries_by_name() -> None:
    rng = np.random.default_rng(1)
    before = {f"q{number}": float(value) for number, value in enumerate(rng.uniform(0, 0.8, 60))}
    better = {query: value + 0.1 for query, value in before.items()}
    found = compare(report(before), report(better | {"only here": 1.0}))["headline / paraphrase"]["ndcg@10"]
    assert found["queries"] == 60
    assert found["difference"] == pytest.approx(0.1)
    assert found["difference_ci95"] == pytest.approx([0.1, 0.1])
    assert found["excludes_zero"]
    noisy = {query: value + float(rng.normal(0, 0.2)) for query, value in before.items()}
    unsure = compare(report(before), report(noisy))["headline / paraphrase"]["ndcg@10"]
    low, high = unsure["difference_ci95"]
    assert low < unsure["difference"] < high
    # the normal approximation of a paired difference
    assert high - low == pytest.approx(2 * 1.96 * 0.2 / math.sqrt(60), rel=0.35)
    same = compare(report(before), report(before))
    assert not same["headline / paraphrase"]["ndcg@10"]["excludes_zero"]
    assert "| headline / paraphrase | ndcg@10 | 60 |" in comparison_table(same)


def test_worded_attributes_are_true_of_their_item_and_say_other_words() -> None:
    attributes = {"shape": "mug", "colour": "red", "material": "metal", "pattern": "plain", "size": "small"}
    items = [
        ManifestItem(id=f"p{number}", description="x", attributes=attributes | {"family": number})
        for number in range(20)
    ]
    asked = list(_worded(items, 12))
    assert len(asked) == 12
    for query in asked:
        assert all(each.holds(items[0]) for each in query.conditions)
        assert str(query.parts[0]).endswith(WORDS["mug"])
        assert "plain" not in str(query.parts[0])
    assert [query.name for query in asked] == [query.name for query in _worded(items, 12)]
    assert len(COMPOSITIONS) == 3
