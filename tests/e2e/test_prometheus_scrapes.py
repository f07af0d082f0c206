"""A real Prometheus with deploy/'s configuration scrapes the running system and evaluates its rules."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fixtures_prometheus import expressions, metric_names
from fixtures_system import System

from scripts.prometheus import running_prometheus

WAIT_S = 90.0


@pytest.fixture(scope="module")
def prometheus(
    system: System, prometheus_bin: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """Its HTTP API. Milvus Lite has no metrics, so that job is left out."""
    rest = system.rest_url.removeprefix("http://")
    triton = f"127.0.0.1:{system.stack.environ['SENSORIUM_SERVING_METRICS_PORT']}"
    targets = {"orchestrator": rest, "triton": triton}
    with (
        running_prometheus(prometheus_bin, tmp_path_factory.mktemp("prometheus"), targets) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        yield client


def ask(prometheus: httpx.Client, query: str) -> list[dict[str, Any]]:
    answer = prometheus.get("/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", f"{query}: {answer}"
    result = answer["data"]["result"]
    assert isinstance(result, list)
    return result


def until(prometheus: httpx.Client, system: System, query: str) -> list[dict[str, Any]]:
    """The answer to a query once it has one; searches go on meanwhile."""
    deadline = time.monotonic() + WAIT_S
    number = 0
    while time.monotonic() < deadline:
        number += 1
        httpx.post(
            f"{system.rest_url}/v1/search", json={"parts": [{"text": f"a red cup {number}"}]}, timeout=30
        ).raise_for_status()
        if found := ask(prometheus, query):
            return found
        time.sleep(0.5)
    pytest.fail(f"nothing for {query}")


def test_both_are_scraped_and_no_dependency_alert_is_on(prometheus: httpx.Client, system: System) -> None:
    for job in ("orchestrator", "triton"):
        until(prometheus, system, f'up{{job="{job}"}} == 1')
    rules = prometheus.get("/api/v1/rules").json()["data"]["groups"]
    assert not [rule for group in rules for rule in group["rules"] if rule["health"] == "err"]
    assert not ask(prometheus, 'ALERTS{alertname=~"Sensorium(Orchestrator|Triton)Down"}')


def test_every_query_of_rules_and_dashboards_is_one(prometheus: httpx.Client) -> None:
    for query in expressions():
        ask(prometheus, query)


def test_searches_show_in_what_is_recorded(prometheus: httpx.Client, system: System) -> None:
    (text,) = until(prometheus, system, 'sensorium:search_seconds:p95_5m{modality="text"} > 0')
    assert float(text["value"][1]) < 15
    until(prometheus, system, 'sensorium:searches:rate5m{modality="text"} > 0')
    until(prometheus, system, 'sensorium:stage_seconds:p95_5m{stage="embed/triton",modality="text"} > 0')
    until(prometheus, system, 'sensorium:pair_score:mean30m{modality="text",target="text"} > 0')
    until(prometheus, system, 'triton:queue:ratio5m{model="embed_text"} >= 0')
    until(prometheus, system, 'triton:batch:mean5m{model="embed_text"} > 0')


def test_every_metric_that_is_named_is_there(prometheus: httpx.Client, system: System) -> None:
    until(prometheus, system, "nv_inference_count > 0")
    known = set(prometheus.get("/api/v1/label/__name__/values").json()["data"])
    triton = {name for name in metric_names() if name.startswith("nv_")}
    assert len(triton) >= 5
    assert triton <= known
    metadata = prometheus.get("/api/v1/metadata").json()["data"]
    suffixes = ("_total", "_bucket", "_sum", "_count")
    for name in metric_names() - triton:
        bases = {name, *(name.removesuffix(suffix) for suffix in suffixes)}
        assert bases & (set(metadata) | known), f"{name} is exported by nobody"


def test_a_reason_of_failure_is_a_label_of_triton(prometheus: httpx.Client, system: System) -> None:
    until(prometheus, system, "nv_inference_request_failure")
    assert ask(prometheus, 'nv_inference_request_failure{reason="CANCELED"}')
