"""Prometheus metrics of the query path. Labels come from closed sets only: no content, no user, no item."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from orchestrator.quality import QualityMetrics, modality_of
from orchestrator.query import SearchQuery, SearchResult
from orchestrator.release_metrics import ReleaseMetrics
from orchestrator.spans import SPAN_OUTCOMES, SpanOutcome

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """One registry per server, so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "sensorium_requests",
            "Requests by method and outcome: ok, or the code of the error",
            ["method", "outcome"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "sensorium_request_seconds",
            "Time of a request that was answered",
            ["method", "modality"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "sensorium_stage_seconds",
            "Time per stage of a search; a stage with a slash is its wait for that server",
            ["stage", "modality"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self.degraded = Counter(
            "sensorium_degraded", "Notes in degraded answers", ["stage"], registry=self.registry
        )
        self.embeddings = Counter(
            "sensorium_embeddings",
            "Query parts answered, by where the embedding came from; those of kept answers count as cache",
            ["modality", "source"],
            registry=self.registry,
        )
        self.upserted = Counter(
            "sensorium_upserted_items", "Items upserted, by outcome", ["outcome"], registry=self.registry
        )
        self.waiting = Gauge(
            "sensorium_admission_waiting",
            "Searches that wait for a place, by their dearest modality",
            ["modality"],
            registry=self.registry,
        )
        self.wait_seconds = Histogram(
            "sensorium_admission_wait_seconds",
            "Wait of a search for its place, by how it ended: entered, left, or why it was refused",
            ["modality", "outcome"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self.rejected = Counter(
            "sensorium_admission_rejections",
            "Searches turned away, by modality (unknown before it is classified) and reason",
            ["modality", "reason"],
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "sensorium_in_flight", "Requests under way", ["method"], registry=self.registry
        )
        self.answers = Counter(
            "sensorium_answer_sources",
            "Searches answered, by where the answer came from: cache or pipeline",
            ["modality", "source"],
            registry=self.registry,
        )
        self.answer_cache_bytes = Gauge(
            "sensorium_answer_cache_bytes",
            "Bytes held in this process by the cache of answers",
            registry=self.registry,
        )
        self.cache_store_failures = Gauge(
            "sensorium_cache_store_failures",
            "Calls of the shared cache store that failed; after each it is left alone for seconds",
            registry=self.registry,
        )
        self.breaker_state = Gauge(
            "sensorium_breaker_state",
            "Whether calls of a server go through: 0 all (closed), 1 a probe (half-open), 2 none (open)",
            ["dependency", "call"],
            registry=self.registry,
        )
        self.breaker_openings = Counter(
            "sensorium_breaker_openings",
            "How often calls of a server were stopped because it failed",
            ["dependency", "call"],
            registry=self.registry,
        )
        self.retries = Counter(
            "sensorium_retries",
            "Failed reads of a server by what became of them: again, or not for want of time or budget",
            ["dependency", "outcome"],
            registry=self.registry,
        )
        self.cache_bytes = Gauge(
            "sensorium_embedding_cache_bytes", "Bytes held by the embedding cache", registry=self.registry
        )
        self.spans = Counter(
            "sensorium_trace_spans",
            "Spans of sampled requests, by outcome: exported, failed (the collector), dropped (the queue)",
            ["outcome"],
            registry=self.registry,
        )
        for each in SPAN_OUTCOMES:
            self.spans.labels(each)
        self.quality = QualityMetrics(self.registry)
        self.releases = ReleaseMetrics(self.registry)

    def observe_search(self, query: SearchQuery, result: SearchResult) -> None:
        """Counts one answered search."""
        modality = modality_of(part.modality for part in result.parts)
        self.answers.labels(modality, "cache" if result.cached else "pipeline").inc()
        self.request_seconds.labels("Search", modality).observe(result.total_ms / 1000)
        for stage in result.stages:
            self.stage_seconds.labels(stage.stage, modality).observe(stage.ms / 1000)
        for note in result.degraded:
            self.degraded.labels(note.partition(":")[0]).inc()
        for part in result.parts:
            self.embeddings.labels(part.modality.value, "cache" if part.cached else "triton").inc()
        if not result.cached:
            self.quality.observe(modality, query, result)

    def observe_spans(self, outcome: SpanOutcome, spans: int) -> None:
        """Counts what became of finished spans."""
        self.spans.labels(outcome).inc(spans)

    def observe_admission(self, modality: str, waited_s: float, outcome: str) -> None:
        """Counts what became of one search at the gate; ``outcome`` is one of ``gate.Outcome``."""
        self.wait_seconds.labels(modality, outcome).observe(waited_s)
        if outcome not in ("entered", "left"):
            self.rejected.labels(modality, outcome).inc()

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)
