"""What is bounded, counted and written down of callers, on both faces, over fakes."""

from __future__ import annotations

import json
from typing import Any

import grpc
import httpx
import pytest
from fixtures_access import Door, bearer
from fixtures_orchestrator import MakeWorld, Serving
from fixtures_tenants import SEARCH, Guarded, code, md

from orchestrator.access.scopes import Scope
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc


@pytest.fixture(autouse=True)
def _now(now: None) -> None:
    """Keys made while it runs are taken at once."""


def stub(channel: grpc.aio.Channel) -> Any:
    return rpc.SensoriumStub(channel)  # type: ignore[no-untyped-call]


async def test_a_key_has_its_own_rate(guarded: Guarded) -> None:
    slow, other = guarded.door.key(per_minute=2), guarded.door.key()
    for _ in range(2):
        assert (await guarded.rest.get("/v1/items/frog", headers=bearer(slow))).status_code == 200
    response = await guarded.rest.get("/v1/items/frog", headers=bearer(slow))
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "auth.rate"
    assert 1 <= int(response.headers["retry-after"]) <= 30
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub(guarded.channel).Get(pb.GetRequest(id="frog"), metadata=md(slow))
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    waits = [int(value) for name, value in error.value.trailing_metadata() if name == "retry-after-ms"]
    assert 0 < waits[0] <= 30_000
    assert (await guarded.rest.get("/v1/items/frog", headers=bearer(other))).status_code == 200


async def test_failures_of_an_address_are_bounded_and_good_keys_pass(
    make_world: MakeWorld, serving: Serving, door: Door
) -> None:
    world = make_world(access=door.settings.model_copy(update={"failures_per_minute": 3}))
    async with (
        serving(world) as ports,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.http}", timeout=10) as rest,
        grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel,
    ):
        statuses = [(await rest.get("/v1/status")).status_code for _ in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        # Both faces count together, and nobody is locked out by somebody else.
        asked = lambda: stub(channel).GetStatus(pb.GetStatusRequest())  # noqa: E731
        assert await code(asked) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await rest.get("/v1/status", headers=bearer(door.key()))).status_code == 200
    assert door.settings.audit_file is not None
    lines = [json.loads(line) for line in door.settings.audit_file.read_text().splitlines()]
    assert [line["call"] for line in lines if line["outcome"] != "ok"] == ["GetStatus"] * 3


async def test_what_writes_is_in_the_audit_and_nothing_that_is_secret(guarded: Guarded) -> None:
    key = guarded.door.key(name="writer")
    key_id = f"key:{key.split('_')[1]}"
    item = {"title": "a title of content", "description": "words of content"}
    assert (await guarded.rest.put("/v1/items/new", json=item, headers=bearer(key))).status_code == 200
    assert (await guarded.rest.delete("/v1/items/new", headers=bearer(key))).status_code == 200
    assert (await guarded.rest.delete("/v1/users/ann", headers=bearer(key))).status_code == 200
    stream = stub(guarded.channel).Upsert(iter([pb.Item(id="new", title="new")]), metadata=md(key))
    async for _ in stream:
        stream.cancel()
        break
    await guarded.rest.post("/v1/search", json=SEARCH, headers=bearer(key))
    reader = guarded.door.key(Scope.READ)
    assert (await guarded.rest.delete("/v1/items/frog", headers=bearer(reader))).status_code == 403
    assert (await guarded.rest.delete("/v1/items/frog")).status_code == 401
    lines = guarded.audit()
    done = [line for line in lines if line["caller"] == key_id]
    # A stream that its caller leaves after the first result ends when gRPC tells of it.
    assert [line["call"] for line in done][:3] == ["Upsert", "Delete", "EraseUser"]
    assert all(line["outcome"] == "ok" and len(line["request_id"]) == 32 for line in done[:3])
    assert done[1]["items"] == ["new"]
    refused = [
        (line["call"], line["outcome"], line["caller"]) for line in lines if line["outcome"][:4] == "auth"
    ]
    assert refused == [
        ("Delete", "auth.forbidden", f"key:{reader.split('_')[1]}"),
        ("Delete", "auth.required", ""),
    ]
    assert not any(line["call"] == "Search" for line in lines)
    text = json.dumps(lines)
    for secret in (key, key.split("_", 2)[2], reader, "content", "ann"):
        assert secret not in text


async def test_refusals_are_counted_by_call(guarded: Guarded) -> None:
    await guarded.rest.get("/v1/status")
    await guarded.rest.delete("/v1/users/u", headers=bearer(guarded.door.key(Scope.READ)))
    headers = bearer(guarded.door.key(Scope.METRICS))
    text = (await guarded.rest.get("/metrics", headers=headers)).text
    assert 'sensorium_requests_total{method="GetStatus",outcome="auth.required"} 1.0' in text
    assert 'sensorium_requests_total{method="EraseUser",outcome="auth.forbidden"} 1.0' in text
