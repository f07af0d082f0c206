"""Arrivals: Poisson, Zipf, the mix, and the same again for the same seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from loadtests.arrivals import MIX, Phase, Traffic, zipf_shares
from loadtests.errors import SettingsError

POOLS = {"text": 50, "image": 40, "audio": 30, "video": 20}
LONG = [Phase("only", 100.0, 200.0)]


def test_arrivals_are_poisson_of_the_rate() -> None:
    gaps = np.diff([each.due_s for each in Traffic(POOLS, seed=3).plan("a", LONG)])
    assert abs(len(gaps) - 20_000) < 4 * np.sqrt(20_000)
    assert gaps.min() >= 0
    # exponential: deviation equals mean, and a share of 1/e is longer than the mean
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert (gaps > gaps.mean()).mean() == pytest.approx(np.exp(-1), abs=0.015)
    counts = np.bincount(np.cumsum(gaps).astype(int))[:-1]
    assert counts.var() == pytest.approx(counts.mean(), rel=0.35)


def test_the_same_seed_gives_the_same_arrivals_and_another_does_not() -> None:
    first, again = Traffic(POOLS, seed=1).plan("a", LONG), Traffic(POOLS, seed=1).plan("a", LONG)
    assert first == again
    assert first != Traffic(POOLS, seed=2).plan("a", LONG)
    assert first != Traffic(POOLS, seed=1).plan("b", LONG)


def test_the_mix_and_the_protocols_have_their_shares() -> None:
    plan = Traffic(POOLS, rest_share=0.25).plan("a", LONG)
    kinds = Counter(each.modality for each in plan)
    assert MIX == {"text": 0.45, "image": 0.35, "audio": 0.12, "video": 0.08}
    for modality, share in MIX.items():
        assert kinds[modality] / len(plan) == pytest.approx(share, abs=0.015)
    assert Counter(each.protocol for each in plan)["rest"] / len(plan) == pytest.approx(0.25, abs=0.015)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5])
def test_queries_follow_zipf(exponent: float) -> None:
    plan = Traffic(POOLS, zipf=exponent).plan("a", LONG)
    asked = [each.query for each in plan if each.modality == "text"]
    shares = np.sort(np.bincount(asked, minlength=50))[::-1] / len(asked)
    expected = np.arange(1, 51) ** -exponent
    assert shares == pytest.approx(expected / expected.sum(), abs=0.02)
    assert zipf_shares(50, exponent) == pytest.approx(expected / expected.sum())


def test_all_scenarios_of_a_seed_share_what_is_popular() -> None:
    traffic = Traffic(POOLS, seed=5, zipf=1.5)
    favourites = [
        Counter(each.query for each in traffic.plan(label, LONG) if each.modality == "image").most_common(1)
        for label in ("steps", "soak")
    ]
    assert favourites[0][0][0] == favourites[1][0][0]
    others = Traffic(POOLS, seed=6, zipf=1.5).plan("soak", LONG)
    assert Counter(each.query for each in others if each.modality == "image").most_common(1) != favourites[1]


def test_phases_follow_each_other() -> None:
    plan = Traffic(POOLS).plan("spike", [Phase("low", 10, 20), Phase("high", 100, 5), Phase("after", 10, 20)])
    assert [each.due_s for each in plan] == sorted(each.due_s for each in plan)
    spans = {"low": (0, 20), "high": (20, 25), "after": (25, 45)}
    assert all(spans[each.phase][0] <= each.due_s < spans[each.phase][1] for each in plan)
    counts = Counter(each.phase for each in plan)
    assert counts["high"] == pytest.approx(500, abs=100)


def test_a_modality_without_queries_is_refused() -> None:
    with pytest.raises(SettingsError, match="no queries of video"):
        Traffic({"text": 1, "image": 1, "audio": 1, "video": 0})


@pytest.mark.parametrize(("rate", "duration_s"), [(0, 1), (1, 0), (float("nan"), 1)])
def test_a_phase_without_extent_is_refused(rate: float, duration_s: float) -> None:
    with pytest.raises(SettingsError, match="more than 0"):
        Traffic(POOLS).plan("a", [Phase("none", rate, duration_s)])
