"""A face with as many requests as it may have: who comes then is told to come back, and has room then."""

from __future__ import annotations

import asyncio

import grpc
import httpx
import pytest
from fixtures_orchestrator import MakeWorld, Serving
from grpc_health.v1 import health_pb2, health_pb2_grpc

from orchestrator.grpc_server import RETRY_AFTER_METADATA_KEY
from orchestrator.settings import ApiSettings
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

SLOW_S = 30.0
REFUSED = 'sensorium_requests_total{method="unknown",outcome="server.overloaded"} 1.0'


def text(words: str) -> pb.SearchRequest:
    return pb.SearchRequest(parts=[pb.QueryPart(text=words)])


async def test_grpc(make_world: MakeWorld, serving: Serving) -> None:
    world = make_world(api=ApiSettings(max_requests=2))
    async with serving(world) as ports, grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        api = rpc.SensoriumStub(channel)
        for _ in range(3):  # those that end in order, with an error, and before their message came
            await api.Search(text("frog"))
            with pytest.raises(grpc.aio.AioRpcError):
                await api.Get(pb.GetRequest(id="nothing"))
            upload = api.Upsert()
            await upload.wait_for_connection()
            upload.cancel()
            await asyncio.sleep(0.1)  # a caller has its answer a moment before the call has ended
        world.store.delay_s["search"] = SLOW_S
        slow = [api.Search(text(words)) for words in ("tree", "house")]
        await asyncio.sleep(0.2)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await api.Search(text("lamp"))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(refused.value.trailing_metadata() or ())[RETRY_AFTER_METADATA_KEY]) > 0
        assert await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert REFUSED in world.service.metrics.render().decode()
        for call in slow:
            call.cancel()
        await asyncio.sleep(0.2)
        world.store.delay_s.clear()
        assert (await api.Search(text("lamp"))).embedding_version


async def test_rest(make_world: MakeWorld, serving: Serving) -> None:
    world = make_world(api=ApiSettings(max_requests=2))
    async with (
        serving(world) as ports,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.http}", timeout=10) as client,
    ):

        def search(words: str) -> asyncio.Task[httpx.Response]:
            return asyncio.create_task(client.post("/v1/search", json={"parts": [{"text": words}]}))

        for _ in range(3):
            assert (await search("frog")).status_code == 200
            assert (await client.get("/v1/items/nothing")).status_code == 404
        world.store.delay_s["search"] = SLOW_S
        slow = [search("tree"), search("house")]
        await asyncio.sleep(0.2)
        refused = await search("lamp")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "server.overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await client.get("/healthz")).status_code == 200
        assert REFUSED in (await client.get("/metrics")).text
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        await asyncio.sleep(0.2)
        world.store.delay_s.clear()
        assert (await search("lamp")).status_code == 200


async def test_idle_connections_take_no_room(make_world: MakeWorld, serving: Serving) -> None:
    world = make_world(api=ApiSettings(max_requests=2))
    async with serving(world) as ports:
        clients = [httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.http}") for _ in range(6)]
        try:
            for client in clients:  # each keeps its connection
                assert (await client.get("/v1/status")).status_code == 200
        finally:
            for client in clients:
                await client.aclose()
