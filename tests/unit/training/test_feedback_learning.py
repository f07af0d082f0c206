"""Learning from clicks, on simulated logs of which the truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from training.errors import DataError
from training.feedback_log import FEATURES, Answer, read_log, sessions
from training.propensity import PLACES, estimate_examination
from training.retrain import MIN_SESSIONS, judge, read_weights, retrain
from training.standing import Standing, read_standing
from training.strengths import Weights, fit_weights, likings, scores

PAIRS = ("text->image", "text->text")
START = Weights({"taste": 0.5, "category": 0.5, "tags": 0.5, "modality": 0.5}, {})
LOOKS = np.array([place**-0.9 for place in range(1, PLACES + 1)])


def simulated(
    count: int, truth: Weights, seed: int, looks: np.ndarray = LOOKS, size: int = 10, per_session: int = 3
) -> list[Answer]:
    """Answers in the order of a noisy `base`, clicked by place and by a logistic attraction."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        base = random.normal(-1.0, 1.0, size)
        features = random.normal(0, 1.0, (size, len(FEATURES)))
        shares = random.dirichlet([1.0] * len(PAIRS), size)
        order = np.argsort(-(base + random.normal(0, 1.0, size)))
        base, features, shares = base[order], features[order], shares[order]
        features = features - features.mean(axis=0)
        shares = shares - shares.mean(axis=0)
        answer = Answer(
            user=f"u{number // (4 * per_session)}",
            at_s=10_000.0 * (number // per_session),
            base=base,
            features=features,
            pairs=shares,
            position=np.arange(1, size + 1),
            clicked=np.zeros(size, bool),
            liked=np.zeros(size, bool),
        )
        attraction = 1 / (1 + np.exp(-scores(answer, truth, PAIRS)))
        clicked = random.random(size) < looks[:size] * attraction
        answer.clicked[:] = clicked
        answer.liked[:] = clicked
        made.append(answer)
    return made


TRUTH = Weights({"taste": 1.0, "category": 0.05, "tags": 0.6, "modality": 0.05}, {"text->image": 0.0})


def test_the_examination_of_places_is_found() -> None:
    found = estimate_examination(simulated(1500, TRUTH, 1))
    assert found[0] == 1
    assert list(found) == sorted(found, reverse=True)
    assert found == pytest.approx(LOOKS, abs=0.1)
    flat = estimate_examination(simulated(1000, TRUTH, 2, np.ones(PLACES)))
    assert flat.min() > 0.7


def test_without_clicks_there_is_nothing_to_learn() -> None:
    silent = simulated(20, TRUTH, 1, np.zeros(PLACES))
    with pytest.raises(ValueError, match="clicks"):
        estimate_examination(silent)
    with pytest.raises(ValueError, match="liked"):
        fit_weights(silent, PAIRS, LOOKS, START)


def test_the_strengths_of_the_truth_are_told_from_those_that_are_none() -> None:
    learned = fit_weights(simulated(1500, TRUTH, 3), PAIRS, LOOKS, START)
    assert learned.features["taste"] > 0.7
    assert 0.35 < learned.features["tags"] < 0.9
    assert learned.features["category"] < 0.2
    assert learned.features["modality"] < 0.2


def test_ignoring_the_position_bias_learns_it() -> None:
    """A feature that speaks for the upper places only: naive clicks praise it, weighted ones do not."""
    answers = []
    for answer in simulated(1500, Weights(dict.fromkeys(FEATURES, 0.0), {}), 4):
        answer.base[:] = 0.0
        answer.features[:, 0] = -np.log(answer.position)
        answer.features[:, 0] -= answer.features[:, 0].mean()
        random = np.random.default_rng(int(answer.at_s) + len(answers))
        answer.clicked[:] = random.random(len(LOOKS)) < LOOKS * 0.3
        answer.liked[:] = answer.clicked
        answers.append(answer)
    naive = fit_weights(answers, PAIRS, np.ones(PLACES), START)
    weighted = fit_weights(answers, PAIRS, LOOKS, START)
    assert naive.features["taste"] > 0.5
    assert weighted.features["taste"] < 0.5 * START.features["taste"]


def test_the_weight_of_a_liking_is_bounded() -> None:
    (answer,) = simulated(1, TRUTH, 5)
    answer.liked[:] = True
    assert likings(answer, np.full(PLACES, 0.001)).max() == pytest.approx(10)


def test_few_clicks_move_little() -> None:
    learned = fit_weights(simulated(5, TRUTH, 6), PAIRS, LOOKS, START)
    for name in FEATURES:
        assert learned.features[name] == pytest.approx(START.features[name], abs=0.25)


STANDING = [
    Standing(f"q{n}", ("a",), (("a", 0.6, {"text->image": 1.0}), ("b", 0.5, {"text->text": 1.0})))
    for n in range(30)
]


def test_the_gate_promotes_what_is_better() -> None:
    verdict = judge(simulated(900, TRUTH, 7), PAIRS, START, STANDING)
    assert verdict.promoted, verdict.why
    assert verdict.gain_ci95[0] > 0
    assert verdict == judge(simulated(900, TRUTH, 7), PAIRS, START, STANDING)


def test_the_gate_keeps_what_is_as_good() -> None:
    verdict = judge(simulated(900, TRUTH, 8), PAIRS, TRUTH, STANDING)
    assert not verdict.promoted
    assert "may be nothing" in verdict.why


def test_the_gate_wants_enough_sessions() -> None:
    verdict = judge(simulated(3 * MIN_SESSIONS, TRUTH, 9), PAIRS, START, STANDING)
    assert not verdict.promoted
    assert "are needed" in verdict.why


def test_the_gate_keeps_plain_relevance() -> None:
    """Users who click texts for no good reason: their pairs' weights would turn the standing queries."""
    truth = Weights(TRUTH.features, {"text->text": 1.5, "text->image": -1.5})
    verdict = judge(simulated(1500, truth, 10), PAIRS, START, STANDING)
    assert not verdict.promoted
    assert "standing queries may lose" in verdict.why
    without = judge(simulated(900, TRUTH, 7), PAIRS, START, [])
    assert not without.promoted
    assert "no standing queries" in without.why


def test_sessions_end_with_a_pause() -> None:
    answers = simulated(9, TRUTH, 1)
    assert sessions(answers) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_nothing_is_written_unless_promoted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no feedback"):
        read_log(tmp_path / "none.sqlite")
    (tmp_path / "junk.sqlite").write_bytes(b"x" * 2000)
    with pytest.raises(DataError):
        retrain(tmp_path / "junk.sqlite", tmp_path / "none.json", [], tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()
    with pytest.raises(DataError):
        read_weights(tmp_path / "none.json")
    with pytest.raises(DataError):
        read_standing(tmp_path / "none.json")


def test_standing_queries_are_read_and_ranked(tmp_path: Path) -> None:
    found = [
        {"id": "a", "score": 0.5, "evidence": {"text->image": 1.0}},
        {"id": "b", "score": 0.4, "evidence": {"text->text": 1.0}},
    ]
    path = tmp_path / "standing.json"
    path.write_text(json.dumps({"queries": [{"name": "q", "relevant": ["a"], "found": found}]}))
    (query,) = read_standing(path)
    assert query.ranked({}) == ["a", "b"]
    assert query.ranked({"text->text": 2.0}) == ["b", "a"]
    # However strong: within the bound of the server.
    far = Standing("q", ("a",), (("a", 0.95, {"x": 1.0}), ("b", 0.4, {"y": 1.0})))
    assert far.ranked({"y": 1e9}) == ["a", "b"]
