"""Spans at a real OTLP receiver: whose child they are, what they say, and what a lost collector costs."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr
from threading import Event

import grpc
import httpx
import pytest
import structlog
from fixtures_orchestrator import MakeWorld, Serving, World
from fixtures_triton import free_ports
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_rpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tritonclient.grpc import service_pb2, service_pb2_grpc

from orchestrator import spans
from orchestrator.access.caller import EVERYONE
from orchestrator.access.control import AccessControl
from orchestrator.clients.triton import TritonClient
from orchestrator.errors import ProtocolError
from orchestrator.service import Service
from orchestrator.settings import TracingSettings, TritonSettings
from orchestrator.spans import Origin, Tracing, called_by
from orchestrator.trace import Trace
from orchestrator.types import Modality
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

MARKER = "zyxomma"
PARENT = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{PARENT}-00f067aa0ba902b7-01"
NOT_SAMPLED = f"00-{PARENT}-00f067aa0ba902b7-00"
CALLER_ID = "6f1c6a52-2f0e-4d5c-9f57-3f6f9f0a7d11"


class Receiver(otlp_rpc.TraceServiceServicer):
    """Keeps the requests it got; answers once it is ``ready``."""

    def __init__(self) -> None:
        self.requests: list[otlp.ExportTraceServiceRequest] = []
        self.ready = Event()
        self.ready.set()

    def Export(  # noqa: N802
        self, request: otlp.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> otlp.ExportTraceServiceResponse:
        assert self.ready.wait(60)
        self.requests.append(request)
        return otlp.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def collector() -> Iterator[tuple[Receiver, str]]:
    server = grpc.server(ThreadPoolExecutor(2))
    receiver = Receiver()
    otlp_rpc.add_TraceServiceServicer_to_server(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield receiver, f"http://127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def traced(world: World, endpoint: str, ratio: float) -> Tracing:
    tracing = Tracing(TracingSettings(endpoint=endpoint, sample_ratio=ratio))
    access = AccessControl(world.settings.access)
    world.service.access.close()
    world.service = Service(world.common, world.served, world.writer, world.store, access, tracing)
    return tracing


def outcomes(world: World) -> dict[str, float]:
    value = world.service.metrics.registry.get_sample_value
    return {
        name: value("sensorium_trace_spans_total", {"outcome": name}) or 0 for name in spans.SPAN_OUTCOMES
    }


async def test_a_callers_trace_goes_through_and_carries_no_content(
    make_world: MakeWorld, serving: Serving
) -> None:
    world = make_world()
    await world.add("item-7", f"green {MARKER}")
    with collector() as (receiver, endpoint):
        tracing = traced(world, endpoint, 0.0)
        async with serving(world) as ports:
            request = pb.SearchRequest(parts=[pb.QueryPart(text=f"a {MARKER}")], user="someone-else")
            async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
                stub = rpc.SensoriumStub(channel)
                answer = await stub.Search(request, metadata=(("traceparent", SAMPLED),))
                await stub.Search(request, metadata=(("traceparent", NOT_SAMPLED),))
                await stub.Search(request, metadata=(("traceparent", "no such form"),))
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.http}") as rest:
                sent = {"traceparent": SAMPLED}
                body = {"parts": [{"text": f"another {MARKER}"}]}
                (await rest.post("/v1/search", json=body, headers=sent)).raise_for_status()
                await rest.get("/v1/items/nothing-here", headers=sent)
        await asyncio.to_thread(tracing.close)
    found = receiver.spans
    assert {span.trace_id.hex() for span in found} == {PARENT}
    roots = [span for span in found if span.parent_span_id.hex() == "00f067aa0ba902b7"]
    assert sorted(span.name for span in roots) == ["Get", "Search", "Search"]
    assert all(span.kind == Span.SPAN_KIND_SERVER for span in roots)
    by_id = {span.span_id: span for span in found}
    assert len(by_id) == len(found)
    waits = [span for span in found if "/" in span.name]
    assert {"embed/triton", "retrieve/milvus"} <= {span.name for span in waits}
    for span in waits:
        assert by_id[span.parent_span_id].name == span.name.split("/")[0]
        assert span.kind == Span.SPAN_KIND_CLIENT
    first = next(span for span in roots if answer.request_id in str(span.attributes))
    stages = {span.name for span in found if span.parent_span_id == first.span_id}
    assert {stage.stage for stage in answer.stages if "/" not in stage.stage} == stages
    everything = b"".join(request.SerializeToString() for request in receiver.requests)
    for secret in (MARKER, "item-7", "someone-else", "nothing-here"):
        assert secret.encode() not in everything
    assert outcomes(world) == {"exported": len(found), "failed": 0, "dropped": 0}


async def test_the_ratio_decides_where_no_caller_did(make_world: MakeWorld) -> None:
    for ratio, expected in ((0.0, 0), (1.0, 3)):
        world = make_world()
        with collector() as (receiver, endpoint):
            tracing = traced(world, endpoint, ratio)
            for _ in range(3):
                await world.service.search(
                    pb.SearchRequest(parts=[pb.QueryPart(text="a frog")]), caller=EVERYONE
                )
            await asyncio.to_thread(tracing.close)
        assert sum(span.name == "Search" for span in receiver.spans) == expected


async def test_a_collector_that_is_gone_costs_a_count(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "_EXPORT_S", 0.2)
    world = make_world()
    (port,) = free_ports(1)
    tracing = traced(world, f"http://127.0.0.1:{port}", 1.0)
    written = io.StringIO()
    with redirect_stderr(written):
        await search(world, 10)
        await asyncio.to_thread(tracing.close)
    counted = outcomes(world)
    assert counted["failed"] > 0
    assert counted["exported"] == counted["dropped"] == 0
    assert "Failed to export" not in written.getvalue()


async def test_what_finds_the_queue_full_is_dropped_and_counted(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "_QUEUE", 100)
    monkeypatch.setattr(spans, "_BATCH", 50)
    monkeypatch.setattr(spans, "_EXPORT_S", 60.0)
    world = make_world()
    with collector() as (receiver, endpoint):
        receiver.ready.clear()
        tracing = traced(world, endpoint, 1.0)
        await search(world, 60)
        dropped = outcomes(world)["dropped"]
        receiver.ready.set()
        await asyncio.to_thread(tracing.close)
    assert dropped > 0
    assert outcomes(world) == {"exported": 100, "failed": 0, "dropped": dropped}
    assert len(receiver.spans) == 100


async def search(world: World, times: int) -> None:
    """None is the worse for it."""
    for number in range(times):
        answer = await world.service.search(
            pb.SearchRequest(parts=[pb.QueryPart(text=f"frog {number}")]), caller=EVERYONE
        )
        assert not answer.degraded


class Models(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers nothing of use, and keeps the metadata."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, str | bytes]] = []

    async def ModelInfer(  # noqa: N802
        self, request: service_pb2.ModelInferRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.ModelInferResponse:
        self.metadata.append(dict(context.invocation_metadata() or ()))
        return service_pb2.ModelInferResponse()


@pytest.fixture
async def models() -> AsyncGenerator[tuple[Models, str]]:
    server, servicer = grpc.aio.server(), Models()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(0)


async def test_triton_is_told_the_span_that_waits_for_it(models: tuple[Models, str]) -> None:
    servicer, url = models
    with collector() as (receiver, endpoint):
        tracing = Tracing(TracingSettings(endpoint=endpoint, sample_ratio=0))
        async with TritonClient(TritonSettings(url=url)) as client:
            for traceparent in (SAMPLED, NOT_SAMPLED):
                called_by(Origin.of(traceparent, None))
                request = tracing.request("Search")
                with (
                    pytest.raises(ProtocolError),
                    Trace(tracing.stages()).waiting("embed", "triton"),
                ):
                    await client.embed(Modality.TEXT, "a frog", 5.0)
                request.end("ok", "-")
        await asyncio.to_thread(tracing.close)
    (wait,) = [span for span in receiver.spans if span.name == "embed/triton"]
    assert servicer.metadata[0]["traceparent"] == f"00-{PARENT}-{wait.span_id.hex()}-01"
    assert "traceparent" not in servicer.metadata[1]


async def test_the_log_has_the_ids_and_no_content(
    world: World, serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    await world.add("item-7", f"green {MARKER}")
    with structlog.testing.capture_logs() as lines:
        async with (
            serving(world) as ports,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.http}") as rest,
        ):
            for caller_id in (CALLER_ID, MARKER):
                sent = {"traceparent": SAMPLED, "x-request-id": caller_id}
                for body in (
                    {"parts": [{"text": f"a {MARKER}"}], "user": f"user-{MARKER}"},
                    {"parts": [{"text": f"a {MARKER}"}], "filter": {"categories": {MARKER: 1}}},
                    {"parts": [{"data": "AAAA"}], "user": MARKER},
                    {"parts": [{"text": MARKER}], MARKER: 1},
                ):
                    await rest.post("/v1/search", json=body, headers=sent)
                files = {"part": (f"{MARKER}.png", f"{MARKER}".encode(), "image/png")}
                await rest.post("/v1/search", files=files, headers=sent)
                await rest.get(f"/v1/items/{MARKER}", headers=sent)
    requests = [line for line in lines if line["event"] == "request"]
    assert len(requests) == 6
    assert {line["trace_id"] for line in requests} == {PARENT}
    assert {line.get("caller_request_id") for line in requests} == {CALLER_ID, None}
    assert len({line["request_id"] for line in requests}) == len(requests)
    assert {line["outcome"] for line in requests} >= {"ok", "item.not_found"}
    assert MARKER not in json.dumps(lines, default=str) + caplog.text
