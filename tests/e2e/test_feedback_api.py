"""Feedback and erasure over both faces, on fakes: what is taken and refused, and what the log says of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import grpc
import httpx
import pytest
from fixtures_orchestrator import Serving, World
from google.protobuf.json_format import MessageToDict

from orchestrator.errors import UnavailableError
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

LONGEST = "max_dwell_ms=8.64e+07"
CLICK: dict[str, Any] = {"requestId": "r", "itemId": "frog", "kind": "CLICK"}


@pytest.fixture
async def faces(world: World, serving: Serving) -> AsyncGenerator[tuple[World, httpx.AsyncClient, Any]]:
    await world.add("frog", "green frog")
    await world.search("frog", user="ann", request_id="r")
    async with (
        serving(world) as ports,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.http}", timeout=10) as client,
        grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel,
    ):
        yield world, client, rpc.SensoriumStub(channel)


Faces = tuple[World, httpx.AsyncClient, Any]


async def test_both_faces_store_and_erase(faces: Faces) -> None:
    _, rest, stub = faces
    answer = await rest.post("/v1/feedback", json={"user": "ann", "events": [CLICK]})
    assert (answer.status_code, answer.json()) == (200, {"stored": 1})
    event = pb.FeedbackEvent(request_id="r", item_id="frog", kind=pb.FeedbackEvent.CLICK)
    again = await stub.Feedback(pb.FeedbackRequest(user="ann", events=[event]))
    assert MessageToDict(again) == {"known": 1}
    strange = await stub.Feedback(pb.FeedbackRequest(user="bob", events=[event]))
    assert MessageToDict(strange) == {"unknown": 1}
    erased = await rest.delete("/v1/users/ann")
    assert erased.json() == {"requests": 1, "events": 1}
    assert MessageToDict(await stub.EraseUser(pb.EraseUserRequest(user="ann"))) == {}


@pytest.mark.parametrize(
    ("body", "part", "limit"),
    [
        ({"events": [CLICK]}, None, "max_characters=128"),
        ({"user": "a b", "events": [CLICK]}, None, "max_characters=128"),
        ({"user": "ann"}, None, ""),
        ({"user": "ann", "events": [{**CLICK, "requestId": ""}]}, 0, "max_characters=128"),
        ({"user": "ann", "events": [CLICK, {**CLICK, "itemId": "x" * 129}]}, 1, "max_characters=128"),
        ({"user": "ann", "events": [{**CLICK, "kind": "KIND_UNSPECIFIED"}]}, 0, ""),
        ({"user": "ann", "events": [{**CLICK, "kind": 77}]}, 0, ""),
        ({"user": "ann", "events": [{**CLICK, "position": 10_001}]}, 0, "max_position=10000"),
        ({"user": "ann", "events": [{**CLICK, "dwellMs": 5}]}, 0, ""),
        ({"user": "ann", "events": [{**CLICK, "kind": "DWELL"}]}, 0, LONGEST),
        (
            {"user": "ann", "events": [{**CLICK, "kind": "DWELL", "dwellMs": "NaN"}]},
            0,
            LONGEST,
        ),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_stored(
    faces: Faces, body: dict[str, Any], part: int | None, limit: str
) -> None:
    world, rest, _ = faces
    answer = await rest.post("/v1/feedback", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "request.invalid")
    assert error.get("part") == part
    assert error.get("limit", "") == limit
    assert not world.feedback.events


async def test_too_many_events_are_refused(faces: Faces) -> None:
    answer = await faces[1].post("/v1/feedback", json={"user": "ann", "events": [CLICK] * 101})
    assert answer.status_code == 413
    assert answer.json()["error"]["limit"] == "max_events=100"


async def test_a_user_that_is_none_cannot_be_erased(faces: Faces) -> None:
    assert (await faces[1].delete("/v1/users/a%20b")).status_code == 400
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await faces[2].EraseUser(pb.EraseUserRequest())
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_pages_of_other_sites_cannot_erase_or_report(faces: Faces) -> None:
    foreign = {"sec-fetch-site": "cross-site"}
    assert (await faces[1].delete("/v1/users/ann", headers=foreign)).status_code == 400
    body = {"user": "ann", "events": [CLICK]}
    assert (await faces[1].post("/v1/feedback", json=body, headers=foreign)).status_code == 400


async def test_a_store_that_is_gone_is_said(faces: Faces) -> None:
    world, rest, _ = faces
    world.feedback.fail["add"] = UnavailableError("feedback store", "the feedback store is closed")
    answer = await rest.post("/v1/feedback", json={"user": "ann", "events": [CLICK]})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "dependency.unavailable"


async def test_the_log_names_no_user_and_no_item(faces: Faces, capfd: pytest.CaptureFixture[str]) -> None:
    _, rest, _ = faces
    user = "unmistakable-user"
    await rest.post("/v1/search", json={"parts": [{"text": "frog"}], "user": user})
    await rest.post("/v1/feedback", json={"user": user, "events": [{**CLICK, "itemId": "unmistakable-item"}]})
    await rest.delete(f"/v1/users/{user}")
    out, err = capfd.readouterr()
    assert "EraseUser" in out + err
    assert "unmistakable" not in out + err
