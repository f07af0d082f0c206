"""What the metrics of a running system say at a glance: those of the orchestrator, and of Triton."""

from __future__ import annotations

import math
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Group, RenderableType
from rich.table import Table

__all__ = ["Samples", "glance_table", "quantile", "scrape"]

_TIMEOUT_S = 3.0
_MAX_BYTES = 16 * 1024 * 1024
_BLAMED = ("internal", "request.deadline", "dependency.")
"""Outcomes that are the server's fault, as the rule `sensorium:search_errors:ratio5m` has them."""
_MODALITIES = ("text", "image", "audio", "video", "mixed")


@dataclass(frozen=True, slots=True)
class Samples:
    """One scrape: (name, labels, value) of every sample, and when it was made (monotonic seconds)."""

    at_s: float
    samples: tuple[tuple[str, dict[str, str], float], ...]

    @classmethod
    def parse(cls, text: str, at_s: float) -> Samples:
        """Raises: ValueError, when it is not the text exposition format."""
        families = text_string_to_metric_families(text)
        return cls(at_s, tuple((s.name, dict(s.labels), s.value) for f in families for s in f.samples))

    def sum(self, metric: str, **labels: str) -> float:
        """The sum over all samples of ``metric`` with these labels; 0 without any."""
        return sum(value for _, value in self._of(metric, labels))

    def buckets(self, metric: str, **labels: str) -> list[tuple[float, float]]:
        """(upper bound, count up to it) of a histogram, summed over its other labels, in order."""
        counts: dict[float, float] = {}
        for found, value in self._of(f"{metric}_bucket", labels):
            bound = float(found["le"])
            counts[bound] = counts.get(bound, 0.0) + value
        return sorted(counts.items())

    def by(self, metric: str, label: str, **labels: str) -> dict[str, float]:
        """The sums of ``metric`` by the values of ``label``."""
        sums: dict[str, float] = {}
        for found, value in self._of(metric, labels):
            sums[found[label]] = sums.get(found[label], 0.0) + value
        return sums

    def _of(self, metric: str, labels: dict[str, str]) -> Iterable[tuple[dict[str, str], float]]:
        # The parser gives every counter the suffix, also those of Triton, which have none.
        plain = metric.removesuffix("_total")
        for name, found, value in self.samples:
            if name.removesuffix("_total") == plain and all(
                found.get(key) == wanted for key, wanted in labels.items()
            ):
                yield found, value


def scrape(url: str) -> Samples | None:
    """The metrics at ``url``; None when nothing answers there, or something else than metrics."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_TIMEOUT_S) as answer:
            text = answer.read(_MAX_BYTES).decode()
        return Samples.parse(text, time.monotonic())
    except (OSError, ValueError, urllib.error.URLError):
        return None


def quantile(share: float, buckets: list[tuple[float, float]]) -> float:
    """As Prometheus' ``histogram_quantile``: linear within a bucket; NaN without observations."""
    if not buckets or buckets[-1][1] == 0:
        return math.nan
    wanted = share * buckets[-1][1]
    low, before = 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted:
            if math.isinf(bound):
                return low
            return low + (bound - low) * ((wanted - before) / (count - before) if count > before else 1.0)
        low, before = bound, count
    return low


def glance_table(
    first: Samples, last: Samples, triton: Samples | None, memory_bytes: dict[str, int]
) -> RenderableType:
    """Searches per modality, the whole, and memory. Rates are of the time between the scrapes; shares and
    quantiles of all the time since the orchestrator's start."""
    searches = Table(title="searches since the start", title_justify="left")
    searches.add_column("")
    for name in ("count", "now/s", "p50 ms", "p95 ms", "from cache", "degraded", "waiting"):
        searches.add_column(name, justify="right")
    elapsed_s = max(last.at_s - first.at_s, 1e-9)
    for modality in _MODALITIES:
        name = "sensorium_request_seconds"
        count = last.sum(f"{name}_count", method="Search", modality=modality)
        now = count - first.sum(f"{name}_count", method="Search", modality=modality)
        buckets = last.buckets(name, method="Search", modality=modality)
        cached = last.sum("sensorium_answer_sources_total", modality=modality, source="cache")
        degraded = last.sum("sensorium_degraded_answers_total", modality=modality)
        waiting = last.sum("sensorium_admission_waiting", modality=modality)
        searches.add_row(
            modality,
            f"{count:,.0f}",
            f"{now / elapsed_s:.1f}",
            _ms(quantile(0.5, buckets)),
            _ms(quantile(0.95, buckets)),
            _share(cached, count),
            _share(degraded, count),
            "-" if modality == "mixed" else f"{waiting:.0f}",  # it waits in the queue of its dearest part
        )
    return Group(searches, _whole(last, triton, memory_bytes))


def _whole(last: Samples, triton: Samples | None, memory_bytes: dict[str, int]) -> Table:
    table = Table(show_header=False, box=None)
    outcomes = last.by("sensorium_requests_total", "outcome", method="Search")
    total = sum(outcomes.values())
    blamed = {code: n for code, n in outcomes.items() if code.startswith(_BLAMED) and n}
    table.add_row("failed by our own fault", _named(blamed, total))
    refused = last.by("sensorium_admission_rejections_total", "reason")
    table.add_row("turned away", _named({reason: n for reason, n in refused.items() if n}, total))
    sources = last.by("sensorium_embeddings_total", "source")
    table.add_row("embeddings from cache", _share(sources.get("cache", 0.0), sum(sources.values())))
    if triton is None:
        table.add_row("Triton's metrics", "do not answer")
    else:
        done, failed = triton.sum("nv_inference_request_success"), triton.sum("nv_inference_request_failure")
        table.add_row("Triton's requests", f"{done:,.0f}, {failed:,.0f} failed")
        busy, queued = (triton.sum(f"nv_inference_{kind}_duration_us") for kind in ("request", "queue"))
        table.add_row("  of their time in a queue", _share(queued, busy))
    for name, size in sorted(memory_bytes.items()):
        table.add_row(f"memory of {name}", f"{size / 2**20:,.0f} MiB")
    return table


def _ms(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{seconds * 1000:.1f}"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _named(counts: dict[str, float], total: float) -> str:
    """The share of ``total`` and the counts that make it."""
    share = _share(sum(counts.values()), total)
    names = ", ".join(f"{name} {count:,.0f}" for name, count in sorted(counts.items()))
    return f"{share} ({names})" if names else share
