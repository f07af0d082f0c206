"""The gRPC face on a free port, over fakes: calls, typed errors, health, cancellation, stopping."""

import asyncio
from collections.abc import AsyncGenerator

import grpc
import pytest
from fakes import VERSION
from fixtures_orchestrator import MakeWorld, Serving, World
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from orchestrator.errors import UnavailableError
from orchestrator.grpc_server import ERROR_METADATA_KEY, RELEASE_METADATA_KEY, RETRY_AFTER_METADATA_KEY
from orchestrator.server import Ports
from orchestrator.settings import AdmissionSettings, ApiSettings
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

Api = rpc.SensoriumStub


def text(words: str, **fields: object) -> pb.SearchRequest:
    return pb.SearchRequest(parts=[pb.QueryPart(text=words)], **fields)


def typed(error: grpc.aio.AioRpcError) -> pb.Error:
    values = [value for key, value in error.trailing_metadata() or () if key == ERROR_METADATA_KEY]
    assert len(values) == 1
    return pb.Error.FromString(values[0])


@pytest.fixture
async def served(world: World, serving: Serving) -> AsyncGenerator[tuple[World, Api, Ports]]:
    await world.add("frog", "green frog")
    await world.add("car", "red car")
    async with serving(world) as ports, grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        yield world, rpc.SensoriumStub(channel), ports


Served = tuple[World, Api, Ports]


async def test_search(served: Served) -> None:
    answer = await served[1].Search(text("green frog"))
    assert answer.hits[0].item.id == "frog"
    assert answer.request_id
    assert answer.stages[0].stage == "admit"


async def test_a_request_may_name_the_release_that_answers(served: Served) -> None:
    answer = await served[1].Search(text("green frog"), metadata=((RELEASE_METADATA_KEY, VERSION),))
    assert answer.release == VERSION
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served[1].Search(text("green frog"), metadata=((RELEASE_METADATA_KEY, "no-such"),))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = await served[1].GetStatus(pb.GetStatusRequest())
    assert (status.release, status.releases[VERSION].state) == (VERSION, "ready")


async def test_each_item_is_answered_in_the_order_sent(served: Served) -> None:
    async def items() -> AsyncGenerator[pb.Item]:
        yield pb.Item(id="a", title="a tree")
        yield pb.Item(id="not an id", title="x")
        yield pb.Item(id="b", title="a bush", media=[pb.Media(data=b"words in a file")])

    results = [result async for result in served[1].Upsert(items())]
    assert [(r.id, r.outcome) for r in results] == [
        ("a", pb.UpsertResult.INDEXED),
        ("not an id", pb.UpsertResult.REFUSED),
        ("b", pb.UpsertResult.INDEXED),
    ]
    assert results[1].error.code == "item.invalid"
    assert (await served[1].Search(text("bush"))).hits[0].item.id == "b"


async def test_a_result_comes_before_the_next_item_is_sent(served: Served) -> None:
    call = served[1].Upsert()
    for number in range(3):
        await call.write(pb.Item(id=f"i{number}", title="x"))
        assert (await call.read()).id == f"i{number}"
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_a_sender_feels_back_pressure(served: Served) -> None:
    world, api, _ = served
    world.writer.delay_s["upsert"] = 30.0
    world.writer.taken = sent = 0

    async def items() -> AsyncGenerator[pb.Item]:
        nonlocal sent
        for number in range(1000):
            yield pb.Item(id=f"i{number}", title="x", media=[pb.Media(data=bytes(100_000))])
            sent += 1

    call = api.Upsert(items())
    await asyncio.sleep(1.0)
    assert world.writer.taken == 1
    assert sent < 100
    call.cancel()


async def test_delete_and_get(served: Served) -> None:
    api = served[1]
    assert (await api.Get(pb.GetRequest(id="frog"))).title == "green frog"
    deleted = await api.Delete(pb.DeleteRequest(ids=["frog", "ghost", "frog"]))
    assert (deleted.deleted, deleted.unknown) == (1, 1)
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await api.Get(pb.GetRequest(id="frog"))
    assert missing.value.code() is grpc.StatusCode.NOT_FOUND
    assert typed(missing.value).code == "item.not_found"


async def test_status(served: Served) -> None:
    world, api, _ = served
    status = await api.GetStatus(pb.GetStatusRequest())
    assert (status.items, status.rows["text"], status.rows["image"]) == (2, 2, 0)
    assert dict(status.dependencies) == {"triton": "ready", "milvus": "ready", "items": "ready"}
    assert status.models["encode_text"] == "1 fp32"
    for fake in (world.store, world.encoder):
        fake.fail["ready"] = fake.fail["counts"] = fake.fail["models"] = UnavailableError("x", "down")
    status = await api.GetStatus(pb.GetStatusRequest())
    assert status.dependencies["milvus"] == status.dependencies["triton"] == "unavailable"


@pytest.mark.parametrize(
    ("request_", "code", "part"),
    [
        (pb.SearchRequest(), "request.invalid", None),
        (pb.SearchRequest(parts=[pb.QueryPart(text="a"), pb.QueryPart(text=" ")]), "media.empty", 1),
        (text("a", filter=pb.Filter()), "filter.invalid", None),
        (text("a", limit=1000), "request.invalid", None),
    ],
)
async def test_bad_input_gets_a_typed_error(
    served: Served, request_: pb.SearchRequest, code: str, part: int | None
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served[1].Search(request_)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    error = typed(refused.value)
    assert error.code == code
    assert (error.part if error.HasField("part") else None) == part
    assert (await served[1].Search(text("frog"))).hits


async def test_a_defect_shows_the_caller_nothing_but_a_number(served: Served) -> None:
    world, api, _ = served
    world.items.fail["get_many"] = KeyError("secret")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await api.Search(text("frog"))
    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert typed(failed.value).code == "internal"
    assert "secret" not in str(failed.value)


async def test_the_callers_deadline_ends_the_work(served: Served) -> None:
    world, api, _ = served
    world.encoder.delay_s["embed"] = 30.0
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await api.Search(text("slow"), timeout=0.2)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.sleep(0.2)
    assert world.encoder.running["embed"] == 0
    assert world.common.gate.active == 0


async def test_a_cancelled_call_ends_the_work(served: Served) -> None:
    world, api, _ = served
    world.store.delay_s["search"] = 30.0
    call = api.Search(text("slow"))
    await asyncio.sleep(0.2)
    assert world.store.running["search"] == 4
    call.cancel()
    await asyncio.sleep(0.2)
    assert world.store.running["search"] == 0


async def test_who_finds_it_full_is_told_when_to_come_back(make_world: MakeWorld, serving: Serving) -> None:
    world = make_world(admission=AdmissionSettings(max_concurrent=1, max_waiting=1, max_wait_s=30))
    world.store.delay_s["search"] = 0.5
    async with serving(world) as ports, grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        api = rpc.SensoriumStub(channel)
        calls = [asyncio.ensure_future(api.Search(text(f"frog {number}"))) for number in range(4)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert len(refused) == 2
        for error in refused:
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert (typed(error).code, typed(error).kind) == ("server.overloaded", "text")
            (retry_ms,) = [v for k, v in error.trailing_metadata() or () if k == RETRY_AFTER_METADATA_KEY]
            assert int(retry_ms) > 0
        told = world.service.metrics.render().decode()
        assert 'sensorium_admission_rejections_total{modality="text",reason="queue_full"} 2.0' in told
        assert 'sensorium_admission_waiting{modality="text"} 0.0' in told


async def test_a_caller_that_leaves_the_queue_makes_room_at_once(
    make_world: MakeWorld, serving: Serving
) -> None:
    world = make_world(admission=AdmissionSettings(max_concurrent=1, max_waiting=1, max_wait_s=30))
    world.store.delay_s["search"] = 30.0
    async with serving(world) as ports, grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        api = rpc.SensoriumStub(channel)
        first, second = api.Search(text("a")), api.Search(text("b"))
        await asyncio.sleep(0.2)
        assert (world.common.gate.active, world.pipeline.gate.waiting) == (1, 1)
        second.cancel()
        await asyncio.sleep(0.2)
        assert (world.common.gate.active, world.pipeline.gate.waiting) == (1, 0)
        first.cancel()
        await asyncio.sleep(0.2)
        assert world.common.gate.active == 0


async def test_messages_are_bounded(make_world: MakeWorld, serving: Serving) -> None:
    world = make_world(api=ApiSettings(max_request_bytes=10_000))
    async with serving(world) as ports, grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await rpc.SensoriumStub(channel).Search(text("a" * 20_000))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_health_and_reflection(served: Served) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{served[2].grpc}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "sensorium.v1.Sensorium"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
        services = [
            service.name
            async for answer in reflection.ServerReflectionInfo(iter(asked))
            for service in answer.list_services_response.service
        ]
    assert "sensorium.v1.Sensorium" in services


async def test_a_stop_lets_what_is_under_way_end(world: World, serving: Serving) -> None:
    await world.add("frog", "green frog")
    world.store.delay_s["search"] = 0.5
    async with serving(world) as ports:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}")
        call = asyncio.ensure_future(rpc.SensoriumStub(channel).Search(text("frog")))
        await asyncio.sleep(0.2)
    assert (await call).hits[0].item.id == "frog"
    with pytest.raises(grpc.aio.AioRpcError):
        await rpc.SensoriumStub(channel).Search(text("frog"), timeout=1)
    await channel.close()


async def test_a_stop_does_not_wait_for_ever(make_world: MakeWorld, serving: Serving) -> None:
    world = make_world(api=ApiSettings(drain_s=0.3))
    world.store.delay_s["search"] = 60.0
    async with serving(world) as ports:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}")
        call = asyncio.ensure_future(rpc.SensoriumStub(channel).Search(text("frog")))
        await asyncio.sleep(0.2)
    with pytest.raises(grpc.aio.AioRpcError):
        await call
    await channel.close()
    assert world.store.running["search"] == 0
