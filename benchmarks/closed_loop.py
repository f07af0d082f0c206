"""Whole searches from so many callers, each asking its next text when the last was answered.

A Python client is enough here: a search takes tens of milliseconds. h2load would ask one text for ever.
"""

from __future__ import annotations

import http.client
import itertools
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import grpc

from benchmarks.load import LoadError
from benchmarks.rounds import Burst
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

__all__ = ["Caller", "asking_naive", "asking_ours", "closed_loop", "endless"]

CALL_TIMEOUT_S = 30.0
HITS = 10
WARM_UP_S = 1.0

Caller = Callable[[str], bool]
"""Asks one text; False where the answer lacks something, as one that ran out of a stage's time does. Raises
LoadError where it found nothing.
"""


def asking_ours(target: str, modalities: Sequence[int]) -> Callable[[], Caller]:
    """Makes callers of our gRPC API that look in these modalities (none: all), answers worked out anew."""

    def caller() -> Caller:
        channel = grpc.insecure_channel(
            target, options=[("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        )
        stub = rpc.SensoriumStub(channel)  # type: ignore[no-untyped-call]

        def ask(text: str) -> bool:
            request = pb.SearchRequest(
                parts=[pb.QueryPart(text=text)],
                target_modalities=modalities,  # type: ignore[arg-type]
                limit=HITS,
                options=pb.SearchOptions(cache=False),
            )
            answer = stub.Search(request, timeout=CALL_TIMEOUT_S)
            if not answer.hits:
                raise LoadError("a search found nothing")
            return not answer.degraded

        return ask

    return caller


def asking_naive(port: int) -> Callable[[], Caller]:
    """Makes callers of the naive baseline's HTTP API on this loopback port, each with its own connection."""

    def caller() -> Caller:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_TIMEOUT_S)

        def ask(text: str) -> bool:
            body = json.dumps({"text": text, "limit": HITS})
            connection.request("POST", "/search", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise LoadError(f"the naive baseline answered {answer.status}")
            if not json.loads(content):
                raise LoadError("a search found nothing")
            return True

        return ask

    return caller


def closed_loop(make: Callable[[], Caller], texts: Iterator[str], concurrency: int, seconds: float) -> Burst:
    """Searches per second, their latencies, ms, and the share of degraded answers, over `seconds` after a
    warm-up. `texts` never ends.

    Raises LoadError: a search failed or found nothing.
    """
    lock, latencies, degraded = threading.Lock(), list[float](), list[bool]()
    failures: list[Exception] = []
    begin = time.perf_counter() + WARM_UP_S
    end = begin + seconds

    def work() -> None:
        try:
            ask = make()
            while (started := time.perf_counter()) < end and not failures:
                with lock:
                    text = next(texts)
                whole = ask(text)
                if begin <= (done := time.perf_counter()) < end:
                    latencies.append(1000 * (done - started))
                    degraded.append(not whole)
        except (LoadError, grpc.RpcError, OSError, ValueError, http.client.HTTPException) as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(concurrency)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if failures or not latencies:
        raise LoadError(f"searches failed: {failures[0] if failures else 'none was answered in time'}")
    cuts = (
        statistics.quantiles(latencies, n=100, method="inclusive") if len(latencies) > 1 else latencies * 99
    )
    return {
        "per_second": len(latencies) / seconds,
        "p50_ms": cuts[49],
        "p95_ms": cuts[94],
        "p99_ms": cuts[98],
        "degraded": sum(degraded) / len(degraded),
    }


def endless(texts: Sequence[str]) -> Iterator[str]:
    """The texts again and again, so that equal ones are never under way at once."""
    return itertools.cycle(texts)
