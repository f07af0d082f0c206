"""What a watcher of releases needs: what answered, how, and what is in its way.

Labels are roles, never names: current, canary, or other (a release that a request named). Which releases
these are, ``sensorium_release_info`` says of the moment.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from orchestrator.query import ReleaseRole, SearchResult

__all__ = ["ReleaseMetrics"]

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SCORES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


class ReleaseMetrics:
    """Part of ``Metrics``; registers in its registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "sensorium_release_requests",
            "Searches by role of the release that took them and outcome: ok, degraded, failed, or refused",
            ["release", "modality", "outcome"],
            registry=registry,
        )
        self.seconds = Histogram(
            "sensorium_release_seconds",
            "Time of searches that were worked out, by the role of the release",
            ["release", "modality"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self.score = Histogram(
            "sensorium_release_best_score",
            "Score of the best hit of searches that were worked out, by the role of the release",
            ["release", "modality"],
            buckets=_SCORES,
            registry=registry,
        )
        self.info = Gauge(
            "sensorium_release_info",
            "Always 1; the releases that answer now and their embedding versions",
            ["release", "name", "version"],
            registry=registry,
        )
        self.percent = Gauge(
            "sensorium_canary_percent",
            "Of the requests, the canary's share; 0 without one",
            registry=registry,
        )
        self.waiting = Gauge(
            "sensorium_releases_waiting",
            "Releases that should answer and do not: not built, not loaded, or being filled",
            registry=registry,
        )
        self.failures = Counter(
            "sensorium_release_failures", "Attempts to make a release ready that failed", registry=registry
        )
        self.rollbacks = Counter(
            "sensorium_canary_rollbacks", "Canaries ended because they passed a bound", registry=registry
        )
        self.backfill = Gauge(
            "sensorium_backfill_items",
            "Items that embedding versions lack which are written to",
            registry=registry,
        )

    def show(self, releases: Mapping[str, tuple[ReleaseRole, str]], percent: float, waiting: int) -> None:
        """What is in force now: role and embedding version by name, the canary's share, how many wait."""
        self.info.clear()
        for name, (role, version) in releases.items():
            self.info.labels(role, name, version).set(1)
        self.percent.set(percent)
        self.waiting.set(waiting)

    def answered(self, role: ReleaseRole, modality: str, result: SearchResult) -> None:
        """Counts one answer."""
        self.requests.labels(role, modality, "degraded" if result.degraded else "ok").inc()
        if not result.cached:
            self.seconds.labels(role, modality).observe(result.total_ms / 1000)
            if result.hits:
                self.score.labels(role, modality).observe(result.hits[0].score)

    def failed(self, role: ReleaseRole, modality: str, outcome: str) -> None:
        """Counts one search without an answer; ``outcome`` is failed or refused."""
        self.requests.labels(role, modality, outcome).inc()
