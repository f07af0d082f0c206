"""The canary beside the current release: what both did with the requests of the same minutes, by modality.

Three comparisons, each with a bound on the size of a difference and a test that it is no accident, so that a
handful of requests condemns nobody:

- latency: the canary's 95th percentile, against so many times the current one's; and the shares of requests
  slower than that, by the two-proportion z test;
- errors: the shares of requests that failed or were degraded, by the same test;
- scores: the distributions of the best hit's score, by the two-sample Kolmogorov-Smirnov distance. A drift
  either way counts: a canary that is surer than its weights were calibrated for is as wrong as an unsure one.

Answers from the cache and requests that name a release do not count: neither says anything of the canary.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.query import SearchResult
from releases.state import Bounds

__all__ = ["CanaryWatch", "Comparison", "Figures"]

_KEPT = 4000
"""Requests of one release and modality that are kept at most."""
_Z = 3.0
"""A one-sided chance of one in 700 or so, at every look; a breach must hold for a while besides."""
_KS = 1.95
"""The Kolmogorov-Smirnov factor for a chance of one in a thousand (Smirnov, 1948)."""


@dataclass(frozen=True, slots=True)
class _Request:
    at_s: float
    ms: float
    failed: bool
    score: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What one release did with the requests of one modality. Times and scores are 0 without any."""

    requests: int = 0
    error_rate: float = 0.0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    median_score: float = 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """``breaches`` names the bounds that the canary is beyond: "latency", "errors", "scores"."""

    modality: str
    current: Figures
    canary: Figures
    breaches: tuple[str, ...]


class CanaryWatch:
    """Compares one canary with the current release, over the last ``bounds.window_s`` seconds."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float] = time.monotonic) -> None:
        self._bounds = bounds
        self._clock = clock
        self._requests: dict[tuple[str, bool], deque[_Request]] = {}
        self._beyond_since_s: dict[tuple[str, str], float] = {}

    def observe(self, canary: bool, modality: str, result: SearchResult | None, ms: float) -> None:
        """Counts one request; ``result`` is None where it failed for a reason of the server's."""
        if result is not None and result.cached:
            return
        score = result.hits[0].score if result is not None and result.hits else None
        requests = self._requests.setdefault((modality, canary), deque(maxlen=_KEPT))
        requests.append(_Request(self._clock(), ms, result is None or bool(result.degraded), score))

    def compare(self) -> list[Comparison]:
        """The two, by modality."""
        for requests in self._requests.values():
            while requests and requests[0].at_s < self._clock() - self._bounds.window_s:
                requests.popleft()
        modalities = sorted({modality for modality, _ in self._requests})
        return [self._compared(modality) for modality in modalities]

    def verdict(self) -> str | None:
        """Why the canary is to be rolled back, None while it is not: a bound was passed for long enough."""
        now_s = self._clock()
        beyond: dict[tuple[str, str], float] = {}
        why = None
        for comparison in self.compare():
            for breach in comparison.breaches:
                key = comparison.modality, breach
                beyond[key] = self._beyond_since_s.get(key, now_s)
                if now_s - beyond[key] >= self._bounds.for_s:
                    why = why or _reason(comparison, breach)
        self._beyond_since_s = beyond
        return why

    def _compared(self, modality: str) -> Comparison:
        current = list(self._requests.get((modality, False), ()))
        canary = list(self._requests.get((modality, True), ()))
        breaches: list[str] = []
        if min(len(current), len(canary)) >= self._bounds.min_requests:
            if self._slower(current, canary):
                breaches.append("latency")
            if self._failing(current, canary):
                breaches.append("errors")
            if self._drifted(current, canary):
                breaches.append("scores")
        return Comparison(modality, _figures(current), _figures(canary), tuple(breaches))

    def _slower(self, current: Sequence[_Request], canary: Sequence[_Request]) -> bool:
        before, after = _times(current), _times(canary)
        if not len(before) or not len(after):
            return False
        limit = self._bounds.latency_ratio * np.percentile(before, 95)
        counts = [int((times > limit).sum()) for times in (before, after)]
        return (
            bool(np.percentile(after, 95) > limit) and _z(counts[0], len(before), counts[1], len(after)) > _Z
        )

    def _failing(self, current: Sequence[_Request], canary: Sequence[_Request]) -> bool:
        before, after = (sum(request.failed for request in each) for each in (current, canary))
        more = after / len(canary) - before / len(current)
        return more > self._bounds.error_rate and _z(before, len(current), after, len(canary)) > _Z

    def _drifted(self, current: Sequence[_Request], canary: Sequence[_Request]) -> bool:
        before, after = _scores(current), _scores(canary)
        if min(len(before), len(after)) < self._bounds.min_requests:
            return False
        places = np.concatenate([before, after])
        below = [np.searchsorted(np.sort(each), places, side="right") / len(each) for each in (before, after)]
        distance = float(np.abs(below[0] - below[1]).max())
        chance = _KS * math.sqrt((len(before) + len(after)) / (len(before) * len(after)))
        return distance > max(self._bounds.score_drift, chance)


def _z(before: int, before_of: int, after: int, after_of: int) -> float:
    """The statistic of the two-proportion test: positive where the second share is greater."""
    share = (before + after) / (before_of + after_of)
    deviation = math.sqrt(share * (1.0 - share) * (1.0 / before_of + 1.0 / after_of))
    return (after / after_of - before / before_of) / deviation if deviation else 0.0


def _times(requests: Sequence[_Request]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([request.ms for request in requests if not request.failed])


def _scores(requests: Sequence[_Request]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([request.score for request in requests if request.score is not None])


def _figures(requests: Sequence[_Request]) -> Figures:
    if not requests:
        return Figures()
    times, scores = _times(requests), _scores(requests)
    p50, p95 = np.percentile(times, [50, 95]) if len(times) else (0.0, 0.0)
    return Figures(
        requests=len(requests),
        error_rate=sum(request.failed for request in requests) / len(requests),
        p50_ms=float(p50),
        p95_ms=float(p95),
        median_score=float(np.median(scores)) if len(scores) else 0.0,
    )


def _reason(comparison: Comparison, breach: str) -> str:
    before, after = comparison.current, comparison.canary
    said = {
        "latency": f"p95 {after.p95_ms:.0f} ms instead of {before.p95_ms:.0f} ms",
        "errors": f"{after.error_rate:.1%} failed or degraded instead of {before.error_rate:.1%}",
        "scores": f"median score {after.median_score:.3f} instead of {before.median_score:.3f}",
    }
    return f"{comparison.modality}: {breach}: {said[breach]} ({after.requests} requests)"
