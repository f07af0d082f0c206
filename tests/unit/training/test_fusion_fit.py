"""Fusion weights: they are near the truth, never negative, stay finite, and are kept only where they help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.errors import InstallError
from export.fusion import calibration_hash, fusion_weights
from training.candidates import Candidates
from training.fusion import Examples, Floats, Weights, error, fit, noisy_or
from training.fusion_figures import compare, kept

PAIRS = ("text->text", "text->image", "text->video")


def drawn(weights: Weights, n: int = 6_000, seed: int = 0) -> Examples:
    """Candidates whose relevance is drawn from `weights`; a third of the evidence is missing."""
    random = np.random.default_rng(seed)
    odds = random.normal(-4, 3, (n, len(PAIRS)))
    odds[random.random(odds.shape) < 1 / 3] = np.nan
    blank = Examples(PAIRS, odds, np.where(np.isnan(odds), np.nan, 1.0), np.zeros(n, bool), np.arange(n))
    return Examples(PAIRS, odds, blank.trust, random.random(n) < weights(blank), blank.query)


TRUE = Weights(
    -6.0, {PAIRS[0]: 1.0, PAIRS[1]: 0.4, PAIRS[2]: 0.0}, {PAIRS[0]: -6.0, PAIRS[1]: -5.0, PAIRS[2]: -5.0}
)


def test_it_finds_the_weights_that_made_the_examples() -> None:
    found, other = fit(drawn(TRUE)), drawn(TRUE, seed=1)
    assert found.weight["text->text"] == pytest.approx(1.0, abs=0.15)
    assert found.weight["text->image"] == pytest.approx(0.4, abs=0.15)
    assert found.weight["text->video"] < 0.1
    assert error(found(other), other.relevant) < 0.02
    assert error(found(other), other.relevant) < error(noisy_or(other), other.relevant)


def test_no_weight_is_negative_even_against_the_data() -> None:
    examples = drawn(TRUE, 2_000)
    against = Examples(PAIRS, -8 - examples.odds, examples.trust, examples.relevant, examples.query)
    found = fit(against)
    assert min(found.weight.values()) >= 0
    assert np.isfinite(found(against)).all()


def test_a_pair_without_data_keeps_its_prior_and_separation_stays_finite() -> None:
    odds = np.array([[-9.0, np.nan, np.nan], [5.0, np.nan, np.nan]])
    separated = Examples(PAIRS, odds, np.ones((2, 3)), np.array([False, True]), np.zeros(2, np.int32))
    found = fit(separated)
    assert np.isfinite([found.bias, *found.weight.values(), *found.floor.values()]).all()
    assert found.weight["text->video"] == pytest.approx(0.5, rel=0.01)
    assert found.floor["text->video"] == pytest.approx(-5.0, rel=0.01)


def test_the_same_examples_give_the_same_weights() -> None:
    assert fit(drawn(TRUE, 500)) == fit(drawn(TRUE, 500))


def test_one_kind_of_example_alone_is_refused() -> None:
    examples = drawn(TRUE, 50)
    nothing = Examples(PAIRS, examples.odds, examples.trust, np.zeros(50, bool), examples.query)
    with pytest.raises(ValueError, match="relevant and irrelevant"):
        fit(nothing)


def test_two_spaces_of_one_pair_count_once_without_weights() -> None:
    pairs = ("audio->audio", "audio->audio/native")
    odds = np.array([[0.0, np.log(3.0)]])
    examples = Examples(pairs, odds, np.ones((1, 2)), np.array([True]), np.zeros(1, np.int32))
    assert noisy_or(examples)[0] == pytest.approx(0.75)


def found(queries: int = 20) -> Candidates:
    """Two candidates a query; the second one is what was asked for, and one more was not found."""
    count, nothing = 2 * queries, np.zeros(0)
    return Candidates(
        name=np.array([f"q{number}" for number in range(queries)]),
        kind=np.array(["paraphrase"] * queries),
        source=np.array(["a"] * queries),
        parts=np.ones(queries, np.int32),
        answers=np.full(queries, 2, np.int32),
        items=np.array(["a", "b"]),
        query=np.repeat(np.arange(queries), 2).astype(np.int32),
        item=np.tile([0, 1], queries).astype(np.int32),
        score=np.zeros(count, np.float32),
        relevant=np.tile([False, True], queries),
        candidate=nothing.astype(np.int32),
        part=nothing.astype(np.int32),
        pair=nothing.astype(np.int32),
        similarity=nothing.astype(np.float32),
        probability=nothing.astype(np.float32),
        weight=nothing.astype(np.float32),
    )


GOOD, BAD = np.tile([0.1, 0.9], 20), np.tile([0.9, 0.1], 20)


def judged(calibrated: Floats, learned: Floats) -> tuple[dict[str, Any], Floats]:
    every = np.ones(20, bool)
    return compare({"noisy-or": BAD, "calibrated": calibrated, "learned": learned}, found(), every)


def test_figures_against_hand_computed_ones() -> None:
    figures, change = judged(BAD, GOOD)
    assert figures["learned"]["ndcg@10"] == pytest.approx(1 / (1 + 1 / np.log2(3)))
    assert figures["noisy-or"]["ndcg@10"] == pytest.approx(1 / np.log2(3) / (1 + 1 / np.log2(3)))
    assert figures["learned"]["log_loss"] == pytest.approx(-2 * np.log(0.9))
    assert figures["learned"]["ece"] == pytest.approx(0.1)
    assert change == pytest.approx(np.full(20, -2 * np.log(9)))


def test_weights_are_kept_only_where_they_help() -> None:
    better, worse, same = judged(BAD, GOOD), judged(GOOD, BAD), judged(GOOD, GOOD)
    assert kept({"text": better[0]}, {"text": better[1]}) == ["text"]
    assert kept({"text": worse[0]}, {"text": worse[1]}) == []
    assert kept({"text": same[0]}, {"text": same[1]}) == []
    both = {"text": better[0], "image": worse[0]}
    assert kept(both, {"text": 3 * better[1], "image": worse[1]}) == ["text"]
    assert kept(both, {"text": better[1], "image": 3 * worse[1]}) == []


CALIBRATION = {"text->text": {"scale": 10.0, "bias": -4.0}}


def written(folder: Path, calibration: str) -> None:
    learned = {"text": {"bias": -6.0, "pairs": {"text->text": {"weight": 0.5, "floor": -5.0}}}}
    (folder / "fusion.json").write_text(json.dumps({"fusion": learned, "calibration": calibration}))


def test_weights_are_released_beside_their_own_calibration_only(tmp_path: Path) -> None:
    assert fusion_weights(tmp_path, CALIBRATION) is None
    written(tmp_path, calibration_hash(CALIBRATION))
    released = fusion_weights(tmp_path, CALIBRATION)
    assert released is not None
    assert released["text"]["bias"] == -6.0
    assert fusion_weights(tmp_path, {"text->text": {"scale": 10.5, "bias": -4.0}}) is None
    (tmp_path / "fusion.json").write_text("{")
    with pytest.raises(InstallError, match="make fusion"):
        fusion_weights(tmp_path, CALIBRATION)
