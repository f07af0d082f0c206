"""`sensorium status`: what it makes of the metrics of the code itself."""

from __future__ import annotations

import io
import math
import os

import pytest
from rich.console import Console

from cli.glance import Samples, glance_table, quantile, scrape
from cli.processes import resident_bytes
from orchestrator.metrics import Metrics


def rendered(metrics: Metrics, at_s: float) -> Samples:
    return Samples.parse(metrics.render().decode(), at_s)


def shown(first: Samples, last: Samples, triton: Samples | None = None) -> str:
    out = io.StringIO()
    Console(width=120, file=out).print(glance_table(first, last, triton, {"triton": 300 * 2**20}))
    return out.getvalue()


def row(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if name in line]
    return line.replace("│", " ").replace("┃", " ").split()


def test_what_the_orchestrator_counts_is_shown() -> None:
    metrics = Metrics()
    first = rendered(metrics, 10.0)
    for _ in range(8):
        metrics.request_seconds.labels("Search", "text").observe(0.007)
        metrics.requests.labels("Search", "ok").inc()
    metrics.requests.labels("Search", "internal").inc()
    metrics.requests.labels("Search", "media.invalid").inc()
    metrics.answers.labels("text", "cache").inc(2)
    metrics.quality.degraded.labels("text").inc(4)
    metrics.embeddings.labels("text", "cache").inc(1)
    metrics.embeddings.labels("text", "triton").inc(3)
    metrics.waiting.labels("text").set(5)
    text = shown(first, rendered(metrics, 12.0))
    assert row(text, "text ") == ["text", "8", "4.0", "7.5", "9.8", "25.0%", "50.0%", "5"]
    assert row(text, "video")[1:5] == ["0", "0.0", "-", "-"]
    assert "10.0% (internal 1)" in text
    assert row(text, "embeddings from cache")[-1] == "25.0%"
    assert "do not answer" in text
    assert row(text, "memory of triton")[-2:] == ["300", "MiB"]


def test_tritons_own_metrics_are_summed() -> None:
    lines = [
        "# TYPE nv_inference_request_success counter",
        'nv_inference_request_success{model="embed_text",version="1"} 30',
        'nv_inference_request_success{model="embed_image",version="1"} 12',
        "# TYPE nv_inference_request_duration_us counter",
        'nv_inference_request_duration_us{model="embed_text",version="1"} 1000',
        'nv_inference_queue_duration_us{model="embed_text",version="1"} 250',
    ]
    empty = rendered(Metrics(), 0.0)
    text = shown(empty, empty, Samples.parse("\n".join(lines) + "\n", 0.0))
    assert row(text, "requests")[-3:] == ["42,", "0", "failed"]
    assert row(text, "in a queue")[-1] == "25.0%"


@pytest.mark.parametrize(
    ("share", "counts", "value"),
    [
        (0.5, [(0.1, 5.0), (0.2, 10.0), (math.inf, 10.0)], 0.1),
        (0.95, [(0.1, 0.0), (0.2, 10.0), (math.inf, 10.0)], 0.195),
        (0.95, [(0.1, 0.0), (0.2, 1.0), (math.inf, 10.0)], 0.2),
    ],
)
def test_a_quantile_is_prometheus_own(share: float, counts: list[tuple[float, float]], value: float) -> None:
    assert quantile(share, counts) == pytest.approx(value)


def test_there_is_no_quantile_of_nothing() -> None:
    assert math.isnan(quantile(0.5, []))
    assert math.isnan(quantile(0.5, [(math.inf, 0.0)]))


def test_nothing_that_answers_is_no_error() -> None:
    assert scrape("http://127.0.0.1:9/metrics") is None


def test_memory_is_that_of_a_process_that_runs() -> None:
    assert resident_bytes(os.getpid()) > 2**20
