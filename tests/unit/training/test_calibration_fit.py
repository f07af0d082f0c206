"""The logistic of a pair: it rises, it is near the truth, it stays finite, and borrowing is told."""

from __future__ import annotations

import numpy as np
import pytest

from training.calibration import DEPTH, Examples, Logistic, calibrate, expected_error, fit_logistic, nearest


def drawn(scale: float, bias: float, n: int = 20_000) -> Examples:
    rng = np.random.default_rng(0)
    similarity = rng.uniform(-0.2, 0.9, n)
    return Examples(similarity, rng.random(n) < Logistic(scale, bias)(similarity))


def test_it_finds_the_logistic_that_made_the_examples() -> None:
    found = fit_logistic(drawn(14.0, -6.0))
    assert found.scale == pytest.approx(14.0, rel=0.05)
    assert found.bias == pytest.approx(-6.0, rel=0.05)
    assert expected_error(drawn(14.0, -6.0), found) < 0.01


def test_probabilities_rise_with_similarity_even_against_the_data() -> None:
    against = Examples(np.linspace(0, 1, 200), np.arange(200) < 100)
    found = fit_logistic(against)
    assert found.scale > 0
    p = found(np.linspace(-1, 1, 50))
    assert (np.diff(p) >= 0).all()


def test_perfect_separation_stays_finite() -> None:
    found = fit_logistic(Examples(np.array([0.1, 0.2, 0.9, 1.0]), np.array([False, False, True, True])))
    assert np.isfinite([found.scale, found.bias]).all()
    assert found.scale < 1_000


def test_one_kind_of_example_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="relevant and irrelevant"):
        fit_logistic(Examples(np.array([0.1, 0.2]), np.array([False, False])))


def test_only_the_nearest_candidates_are_examples() -> None:
    similarity = np.tile(np.linspace(0, 1, 3 * DEPTH), (2, 1))
    found = nearest(similarity, similarity > 0.5)
    assert found.similarity.size == 2 * DEPTH
    assert found.relevant.all()


def test_a_pair_without_data_borrows_and_says_so() -> None:
    examples = {
        "image->image": drawn(14.0, -6.0),
        "image->video": Examples(np.array([0.1]), np.array([True])),
        "video->video": Examples(np.zeros(0), np.zeros(0, np.bool_)),
    }
    found = calibrate(examples, ["image->image", "image->video", "video->video"])
    assert [source for _, source in found.values()] == ["image->image"] * 3
    assert found["image->video"][0] == found["image->image"][0]
    with pytest.raises(ValueError, match="nothing to borrow"):
        calibrate({}, ["text->image"])
