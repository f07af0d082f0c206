"""Whole searches through the public API, and what of their time is neither Triton's nor Milvus's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from benchmarks.load import Sample, run_load
from sensorium import connect
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

__all__ = ["alone", "burst", "freed_after", "own_share", "search_request"]

SEARCH = "/sensorium.v1.Sensorium/Search"
CALL_TIMEOUT_S = 30.0
LEAD_S = 0.03
"""By which the caller who waits comes before the other leaves."""


def search_request(modality: str, payload: bytes) -> pb.SearchRequest:
    """Ten hits for one part, worked out anew each time."""
    part = pb.QueryPart(text=payload.decode()) if modality == "text" else pb.QueryPart(data=payload)
    return pb.SearchRequest(parts=[part], limit=10, options=pb.SearchOptions(cache=False))


def burst(target: str, modality: str, payload: bytes, concurrency: int, seconds: int) -> Sample:
    """The same search again and again: the system must run without its embedding cache. Raises LoadError."""
    return run_load(target, SEARCH, search_request(modality, payload), concurrency, seconds)


def own_share(target: str, texts: Sequence[str]) -> dict[str, float]:
    """``alone`` of one search per text, with what is neither Triton's nor Milvus's as ``own_ms``."""
    return alone(target, "text", [text.encode() for text in texts])


def alone(target: str, modality: str, payloads: Sequence[bytes]) -> dict[str, float]:
    """Medians over one search per payload, one at a time: milliseconds in all, waiting for others, ours.

    Stages named "stage/server" in an answer are the share of the stage spent waiting for that server.
    """
    rows: list[tuple[float, float]] = []
    stages: dict[str, list[float]] = {}
    with connect.channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = rpc.SensoriumStub(channel)  # type: ignore[no-untyped-call]
        for payload in payloads:
            answer = stub.Search(search_request(modality, payload), timeout=CALL_TIMEOUT_S)
            waited = sum(stage.ms for stage in answer.stages if "/" in stage.stage)
            rows.append((answer.total_ms, waited))
            for stage in answer.stages:
                stages.setdefault(stage.stage, []).append(stage.ms)
    return {
        "total_ms": statistics.median(total for total, _ in rows),
        "waiting_ms": statistics.median(waited for _, waited in rows),
        "own_ms": statistics.median(total - waited for total, waited in rows),
        "searches": float(len(rows)),
        **{f"stage {name}": statistics.median(values) for name, values in stages.items()},
    }


def freed_after(target: str, modality: str, payload: bytes, after_s: Sequence[float]) -> list[float]:
    """Milliseconds from when a caller leaves a search until the one who waits for its place has it.

    The system must have one place. A search is left so many seconds after it was sent, for each of
    ``after_s``; those that had been answered by then are left out. Both ways of the waiting request over the
    network count, so this is the most that it can have been.
    """
    freed: list[float] = []
    with connect.channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = rpc.SensoriumStub(channel)  # type: ignore[no-untyped-call]
        for seconds in after_s:
            leaving = stub.Search.future(search_request(modality, payload), timeout=CALL_TIMEOUT_S)
            time.sleep(max(seconds - LEAD_S, 0.0))
            waiting = stub.Search.future(search_request("text", b"a frog"), timeout=CALL_TIMEOUT_S)
            time.sleep(LEAD_S)
            left_s = time.perf_counter()
            is_under_way = leaving.cancel()
            answer = waiting.result()
            took_ms = (time.perf_counter() - left_s) * 1000
            if is_under_way:
                admitted_ms = next(stage.ms for stage in answer.stages if stage.stage == "admit")
                freed.append(took_ms - (answer.total_ms - admitted_ms))
    return freed
