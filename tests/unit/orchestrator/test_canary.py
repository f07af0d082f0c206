"""When a canary is condemned, and when not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from media import Modality
from orchestrator.canary import CanaryWatch
from orchestrator.query import Hit, SearchResult
from orchestrator.types import CatalogueItem
from releases.state import Bounds

BOUNDS = Bounds(
    latency_ratio=1.5, error_rate=0.02, score_drift=0.2, min_requests=50, window_s=60.0, for_s=10.0
)
RANDOM = np.random.default_rng(11)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def result(score: float, *degraded: str, cached: bool = False) -> SearchResult:
    hits = (Hit(CatalogueItem("a"), score, (), None),)
    return SearchResult(hits, 1, (), (), 1.0, degraded, "v", "r", cached=cached)


Feed = Callable[[bool], tuple[SearchResult | None, float]]


def plain(_: bool) -> tuple[SearchResult | None, float]:
    """A long-tailed time, and scores of a beta distribution, whoever answers."""
    return result(float(RANDOM.beta(4, 3))), float(20 * RANDOM.lognormal(0, 0.5))


def watched(
    feed: Feed, seconds: int = 60, rate: int = 8, share: float = 0.2, modality: str = "text"
) -> tuple[CanaryWatch, list[tuple[float, str]]]:
    """A watch after ``seconds`` of ``rate`` requests each, and when it would have rolled back."""
    clock = Clock()
    watch = CanaryWatch(BOUNDS, clock)
    verdicts = []
    for _ in range(seconds):
        clock.now_s += 1
        for _ in range(rate):
            canary = bool(RANDOM.random() < share)
            watch.observe(canary, modality, *feed(canary))
        if why := watch.verdict():
            verdicts.append((clock.now_s, why))
    return watch, verdicts


def test_two_that_are_the_same_are_left_alone() -> None:
    for _ in range(12):
        _, verdicts = watched(plain, seconds=120)
        assert not verdicts


def slow(canary: bool) -> tuple[SearchResult | None, float]:
    found, ms = plain(canary)
    return found, ms * (2.2 if canary else 1.0)


def slow_tail(canary: bool) -> tuple[SearchResult | None, float]:
    found, ms = plain(canary)
    return found, 400.0 if canary and RANDOM.random() < 0.2 else ms


def failing(canary: bool) -> tuple[SearchResult | None, float]:
    found, ms = plain(canary)
    return (None if canary and RANDOM.random() < 0.25 else found), ms


def degraded(canary: bool) -> tuple[SearchResult | None, float]:
    if canary and RANDOM.random() < 0.3:
        return result(0.5, "rerank: deadline"), 10.0
    return plain(canary)


def surer(canary: bool) -> tuple[SearchResult | None, float]:
    return (result(float(RANDOM.beta(9, 2))), 20.0) if canary else plain(canary)


def less_sure(canary: bool) -> tuple[SearchResult | None, float]:
    return (result(float(RANDOM.beta(2, 5))), 20.0) if canary else plain(canary)


@pytest.mark.parametrize(
    ("feed", "breach"),
    [
        (slow, "latency"),
        (slow_tail, "latency"),
        (failing, "errors"),
        (degraded, "errors"),
        (surer, "scores"),
        (less_sure, "scores"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_what_is_beyond_a_bound_for_long_enough_is_named(feed: Feed, breach: str) -> None:
    watch, verdicts = watched(feed, seconds=90)
    assert verdicts
    # 50 requests of the canary take some 31 s at 1.6 a second; the breach must then hold for 10 s.
    assert verdicts[0][0] > 35
    assert f"text: {breach}: " in verdicts[0][1]
    (comparison,) = watch.compare()
    assert breach in comparison.breaches
    assert comparison.canary.requests > 50


def test_a_spell_is_no_verdict() -> None:
    clock = Clock()
    watch = CanaryWatch(BOUNDS, clock)
    for second in range(200):
        clock.now_s += 1
        # Both are slow together for half a minute, and the canary alone for six seconds.
        for canary in (False, True):
            for _ in range(4):
                found, ms = plain(canary)
                spell = 60 < second < 90 or (canary and 120 < second < 124)
                watch.observe(canary, "text", found, ms * (3 if spell else 1))
        assert watch.verdict() is None


def test_what_is_slow_alike_is_not_the_canarys_fault() -> None:
    _, verdicts = watched(lambda canary: (plain(canary)[0], 5000.0))
    assert not verdicts


def test_modalities_are_compared_apart() -> None:
    """Sounds take ten times as long as texts: a canary that happens to get more of them is not slow."""
    clock = Clock()
    watch = CanaryWatch(BOUNDS, clock)
    for _ in range(60):
        clock.now_s += 1
        for canary in (False, True):
            for number in range(10):
                sound = number < (7 if canary else 2)
                found, ms = plain(canary)
                modality = Modality.AUDIO.value if sound else Modality.TEXT.value
                watch.observe(canary, modality, found, ms * (10 if sound else 1))
        assert watch.verdict() is None
    assert [comparison.modality for comparison in watch.compare()] == ["audio", "text"]


def test_few_requests_condemn_nobody() -> None:
    clock = Clock()
    watch = CanaryWatch(BOUNDS, clock)
    for _ in range(100):
        clock.now_s += 2
        watch.observe(False, "text", *plain(False))
        watch.observe(True, "text", None, 1.0)
        assert watch.verdict() is None


def test_kept_answers_say_nothing() -> None:
    watch = CanaryWatch(BOUNDS)
    for _ in range(100):
        watch.observe(True, "text", result(0.5, cached=True), 1.0)
    assert watch.compare() == []


def test_what_is_old_is_forgotten() -> None:
    clock = Clock()
    watch = CanaryWatch(BOUNDS, clock)
    for canary in (False, True):
        for _ in range(100):
            watch.observe(canary, "text", None if canary else result(0.5), 1.0)
    assert watch.compare()[0].breaches == ("errors",)
    clock.now_s += 61
    (comparison,) = watch.compare()
    assert (comparison.current.requests, comparison.canary.requests, comparison.breaches) == (0, 0, ())
