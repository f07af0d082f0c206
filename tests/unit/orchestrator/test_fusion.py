"""Fusion: what a score must and must not do."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media import Modality
from orchestrator.fusion import FLOOR, fuse
from orchestrator.query import Signal, SignalSpace
from orchestrator.types import RowHit

TEXT, IMAGE, AUDIO = Modality.TEXT, Modality.IMAGE, Modality.AUDIO


def signal(
    item: str,
    score: float,
    *,
    part: int = 0,
    query: Modality = TEXT,
    kind: Modality = IMAGE,
    space: SignalSpace = "unified",
    weight: float = 1.0,
) -> Signal:
    row = RowHit(item, kind, 0, 0, 0.0, 0.0, 0.5)
    return Signal(part, query, kind, space, 0.5, score, weight, row)


def scores(signals: list[Signal], weights: dict[int, float]) -> dict[str, float]:
    return {candidate.item_id: candidate.score for candidate in fuse(signals, weights)}


def test_one_signal_is_the_score() -> None:
    assert scores([signal("a", 0.7)], {0: 1.0}) == {"a": pytest.approx(0.7)}


def test_modalities_of_an_item_are_separate_evidence() -> None:
    found = scores([signal("a", 0.5), signal("a", 0.5, kind=TEXT)], {0: 1.0})
    assert found["a"] == pytest.approx(0.75)


def test_two_spaces_of_one_pair_count_once() -> None:
    both = [
        signal("a", 0.5, query=AUDIO, kind=AUDIO),
        signal("a", 0.6, query=AUDIO, kind=AUDIO, space="audio"),
    ]
    assert scores(both, {0: 1.0})["a"] == pytest.approx(0.6)


def test_a_transcript_counts_as_far_as_it_is_trusted() -> None:
    heard = signal("a", 0.8, query=AUDIO, space="transcript", weight=0.5)
    assert scores([heard], {0: 1.0})["a"] == pytest.approx(0.4)
    with_sound = [heard, signal("a", 0.5, query=AUDIO)]
    assert scores(with_sound, {0: 1.0})["a"] == pytest.approx(1 - 0.6 * 0.5)


def test_every_part_counts() -> None:
    signals = [
        signal("both", 0.6, part=0),
        signal("both", 0.6, part=1, query=IMAGE),
        signal("one", 0.9, part=0),
        signal("one", 0.05, part=1, query=IMAGE),
    ]
    found = scores(signals, {0: 1.0, 1: 1.0})
    assert found["both"] == pytest.approx(0.6)
    assert found["one"] == pytest.approx(math.sqrt(0.9 * 0.05))
    assert found["both"] > found["one"]


def test_weights_shift_the_balance() -> None:
    signals = [
        signal("a", 0.9, part=0),
        signal("a", 0.2, part=1),
        signal("b", 0.2, part=0),
        signal("b", 0.9, part=1),
    ]
    weighted = [*fuse(signals, {0: 3.0, 1: 1.0})]
    assert [candidate.item_id for candidate in weighted] == ["a", "b"]
    weighted = [*fuse(signals, {0: 1.0, 1: 3.0})]
    assert [candidate.item_id for candidate in weighted] == ["b", "a"]


def test_a_negative_part_pushes_away_and_never_up() -> None:
    signals = [
        signal("liked", 0.8, part=0),
        signal("liked", 0.1, part=1, weight=-1.0),
        signal("disliked", 0.8, part=0),
        signal("disliked", 0.9, part=1, weight=-1.0),
        signal("unknown", 0.8, part=0),
    ]
    found = scores(signals, {0: 1.0, 1: -1.0})
    assert found["liked"] == pytest.approx(0.8 * 0.9)
    assert found["disliked"] == pytest.approx(0.8 * 0.1)
    assert found["unknown"] == pytest.approx(0.8)


def test_the_weight_of_a_negative_part_counts() -> None:
    signals = [signal("a", 0.8, part=0), signal("a", 0.5, part=1, weight=-0.5)]
    assert scores(signals, {0: 1.0, 1: -0.5})["a"] == pytest.approx(0.8 * math.sqrt(0.5))


def test_no_evidence_for_a_part_is_little_but_not_nothing() -> None:
    found = scores([signal("a", 1.0, part=0)], {0: 1.0, 1: 1.0})
    assert found["a"] == pytest.approx(math.sqrt(FLOOR))


def test_equal_scores_are_ordered_by_id() -> None:
    signals = [signal(item, 0.5) for item in "cab"]
    assert [candidate.item_id for candidate in fuse(signals, {0: 1.0})] == ["a", "b", "c"]


def test_every_signal_is_kept_the_strongest_first() -> None:
    signals = [signal("a", 0.2), signal("a", 0.9, kind=TEXT), signal("a", 0.5, kind=AUDIO)]
    (candidate,) = fuse(signals, {0: 1.0})
    assert [s.score for s in candidate.signals] == [0.9, 0.5, 0.2]


PROBABILITY = st.floats(0, 1)
WEIGHTS = st.lists(st.floats(0.1, 10), min_size=1, max_size=4)


@given(st.lists(PROBABILITY, min_size=4, max_size=4), WEIGHTS, st.lists(st.floats(-10, -0.1), max_size=2))
def test_scores_are_probabilities_and_scaling_all_weights_changes_nothing(
    beliefs: list[float], positive: list[float], negative: list[float]
) -> None:
    weights = dict(enumerate(positive + negative))
    signals = [signal("a", beliefs[part % 4], part=part, weight=weight) for part, weight in weights.items()]
    score = scores(signals, weights)["a"]
    assert 0 <= score <= 1
    doubled = {part: 2 * weight for part, weight in weights.items()}
    again = [signal("a", beliefs[part % 4], part=part, weight=weight) for part, weight in doubled.items()]
    assert scores(again, doubled)["a"] == pytest.approx(score, abs=1e-9)


@given(PROBABILITY, PROBABILITY, PROBABILITY)
def test_more_evidence_never_hurts(p: float, q: float, r: float) -> None:
    less = scores([signal("a", p), signal("a", q, kind=TEXT)], {0: 1.0})["a"]
    more = scores([signal("a", p), signal("a", q, kind=TEXT), signal("a", r, kind=AUDIO)], {0: 1.0})["a"]
    assert more >= less - 1e-12
