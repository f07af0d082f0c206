"""Later evidence joins scores that stand: never lower, never past confidence, always told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.late import LateEvidence, join
from orchestrator.query import Candidate

SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1), max_size=8)


def candidates(scores: dict[str, float]) -> list[Candidate]:
    ordered = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return [Candidate(item, score, ()) for item, score in ordered]


def evidence(scores: dict[str, float]) -> dict[str, LateEvidence]:
    return {item: LateEvidence(score, "why", ()) for item, score in scores.items()}


def test_by_hand() -> None:
    joined = join(candidates({"a": 0.4, "b": 0.3}), evidence({"b": 0.5, "c": 0.2, "d": 0.0}), "hop", 0.9)
    assert [(c.item_id, pytest.approx(c.score)) for c in joined] == [
        ("b", 0.65),
        ("a", 0.4),
        ("c", 0.2),
        ("d", 0.0),
    ]
    (influence,) = joined[0].influences
    assert (influence.stage, influence.detail, influence.change) == ("hop", "why", pytest.approx(0.35))
    assert joined[1].influences == joined[3].influences == ()


@given(SCORES, SCORES, st.floats(0, 1))
def test_against_brute_force(scores: dict[str, float], later: dict[str, float], ceiling: float) -> None:
    before = candidates(scores)
    joined = join(before, evidence(later), "expand", ceiling)
    assert {c.item_id for c in joined} == scores.keys() | later.keys()
    place = {c.item_id: n for n, c in enumerate(joined)}
    for candidate in joined:
        old, new = scores.get(candidate.item_id, 0.0), later.get(candidate.item_id, 0.0)
        assert candidate.score == pytest.approx(max(old, min(1 - (1 - old) * (1 - new), ceiling)))
        assert candidate.score - old == pytest.approx(sum(i.change for i in candidate.influences))
    sure = [c.item_id for c in before if c.score >= ceiling]
    assert sorted(sure, key=place.__getitem__) == sure
    if sure:
        # what the query found with confidence stands where it stood
        assert [c.item_id for c in joined[: len(sure)]] == sure
    assert [c.score for c in joined] == sorted((c.score for c in joined), reverse=True)
