"""What a watcher of quality needs of each search, by pairs of modalities: what was found, and how sure.

Only searches that were worked out count: an answer from the cache says nothing new.

A pair is the modality of the query ("mixed" if it has several) and a modality that was searched. Only a first
page counts: a later one is empty when the list is over.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from orchestrator.query import SearchQuery, SearchResult
from orchestrator.types import Modality

__all__ = ["MIXED", "QualityMetrics", "modality_of"]

MIXED = "mixed"
"""The label of a query whose parts have several modalities."""

_SCORES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def modality_of(kinds: Iterable[Modality]) -> str:
    """The label of a query with parts of ``kinds``."""
    found = set(kinds)
    return found.pop().value if len(found) == 1 else MIXED


class QualityMetrics:
    """Part of ``Metrics``; registers in its registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answers = Counter(
            "sensorium_answers",
            "First pages worked out, without answers from the cache, by modality of the query",
            ["modality"],
            registry=registry,
        )
        self.empty = Counter(
            "sensorium_empty_answers", "First pages without any hit", ["modality"], registry=registry
        )
        self.degraded = Counter(
            "sensorium_degraded_answers",
            "Answers, of any page, that had to do without something",
            ["modality"],
            registry=registry,
        )
        self.searched = Counter(
            "sensorium_pair_searches",
            "First pages for which a modality was searched",
            ["modality", "target"],
            registry=registry,
        )
        self.pair_empty = Counter(
            "sensorium_pair_empty",
            "First pages on which no hit was found through a modality that was searched",
            ["modality", "target"],
            registry=registry,
        )
        self.score = Histogram(
            "sensorium_pair_score",
            "Best calibrated score of a first page's signals from a modality, where there is one",
            ["modality", "target"],
            buckets=_SCORES,
            registry=registry,
        )
        # A series that began with its first count would hide that count from every rate.
        targets = [modality.value for modality in Modality]
        for modality in (*targets, MIXED):
            for counter in (self.answers, self.empty, self.degraded):
                counter.labels(modality)
            for target in targets:
                for pair in (self.searched, self.pair_empty, self.score):
                    pair.labels(modality, target)
        self.embedding_set = Gauge(
            "sensorium_embedding_set_info",
            "Always 1; the profile and the embedding version that are served",
            ["profile", "version"],
            registry=registry,
        )

    def observe(self, modality: str, query: SearchQuery, result: SearchResult) -> None:
        """Counts one search that was worked out; ``modality`` is the query's label."""
        if result.degraded:
            self.degraded.labels(modality).inc()
        if query.offset:
            return
        self.answers.labels(modality).inc()
        if not result.hits:
            self.empty.labels(modality).inc()
        best = _best_scores(result)
        for target in query.targets:
            self.searched.labels(modality, target.value).inc()
            if target in best:
                self.score.labels(modality, target.value).observe(best[target])
            else:
                self.pair_empty.labels(modality, target.value).inc()


def _best_scores(result: SearchResult) -> dict[Modality, float]:
    """The best score of a positive signal from each modality of the page."""
    best: dict[Modality, float] = {}
    for hit in result.hits:
        for signal in hit.signals:
            if signal.weight > 0:
                best[signal.item_modality] = max(best.get(signal.item_modality, 0.0), signal.score)
    return best
