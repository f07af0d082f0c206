"""Tenants: what a credential's filter leaves of a catalogue, on both faces, over fakes."""

from __future__ import annotations

import asyncio

import grpc
import httpx
import pytest
from fixtures_access import bearer
from fixtures_tenants import SEARCH, Guarded, md

from orchestrator.access.scopes import Scope
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc


@pytest.fixture(autouse=True)
def _now(now: None) -> None:
    """Keys made while it runs are taken at once."""


ACME = {"category": {"values": ["acme"]}}
GLOBEX = {"category": {"values": ["globex"]}}


def found(response: httpx.Response) -> set[str]:
    assert response.status_code == 200
    return {hit["item"]["id"] for hit in response.json().get("hits", [])}


async def test_two_tenants_never_share_an_answer(guarded: Guarded) -> None:
    acme, globex = (
        guarded.door.key(Scope.SEARCH, name=name, condition=condition)
        for name, condition in (("acme", ACME), ("globex", GLOBEX))
    )
    token = guarded.door.issuer.token(sensorium_filter=GLOBEX)
    everyone = guarded.door.key(Scope.SEARCH)
    for again in (False, True):  # the second time from the cache
        for credential, expected in (
            (everyone, {"frog", "newt"}),
            (acme, {"frog"}),
            (globex, {"newt"}),
            (token, {"newt"}),
        ):
            response = await guarded.rest.post("/v1/search", json=SEARCH, headers=bearer(credential))
            assert found(response) == expected
            # The token's permission is the globex key's: these two alone may have one answer.
            assert response.json().get("cached", False) is (again or credential == token)
    # Who asks for the very filter of a tenant, without being one, has an entry of its own.
    asked = {**SEARCH, "filter": ACME}
    response = await guarded.rest.post("/v1/search", json=asked, headers=bearer(everyone))
    assert found(response) == {"frog"}
    assert not response.json().get("cached", False)


async def test_callers_at_the_same_time_stay_who_they_are(guarded: Guarded) -> None:
    acme, globex = (
        guarded.door.key(Scope.SEARCH, name=name, condition=condition)
        for name, condition in (("acme", ACME), ("globex", GLOBEX))
    )
    api = rpc.SensoriumStub(guarded.channel)  # type: ignore[no-untyped-call]
    asked = pb.SearchRequest(parts=[pb.QueryPart(text="green frog")], options=pb.SearchOptions(cache=False))

    async def ids(credential: str) -> set[str]:
        answer = await api.Search(asked, metadata=md(credential))
        return {hit.item.id for hit in answer.hits}

    answers = await asyncio.gather(*(ids((acme, globex)[number % 2]) for number in range(40)))
    assert answers == [{"frog"}, {"newt"}] * 20


async def test_a_filter_of_the_request_cannot_widen_the_tenants(guarded: Guarded) -> None:
    acme = guarded.door.key(Scope.SEARCH, name="acme", condition=ACME)
    for own in (GLOBEX, {"or": {"filters": [ACME, GLOBEX]}}, {"not": ACME}):
        await guarded.rest.post("/v1/search", json={**SEARCH, "filter": own}, headers=bearer(acme))
        assert all(
            expression.startswith('(category in ["acme"]) and (')
            or expression.startswith('((category in ["acme"]) and (')
            for expression in guarded.world.store.expressions[-1:]
        )
    assert (
        found(await guarded.rest.post("/v1/search", json={**SEARCH, "filter": GLOBEX}, headers=bearer(acme)))
        == set()
    )


async def test_items_of_others_do_not_exist(guarded: Guarded) -> None:
    acme = guarded.door.key(Scope.READ, name="acme", condition=ACME)
    for path in ("", "/media/0", "/thumbnail"):
        other = await guarded.rest.get(f"/v1/items/newt{path}", headers=bearer(acme))
        none = await guarded.rest.get(f"/v1/items/nothing{path}", headers=bearer(acme))
        assert (other.status_code, other.content) == (404, none.content)
    assert (await guarded.rest.get("/v1/items/frog", headers=bearer(acme))).status_code == 200
    api = rpc.SensoriumStub(guarded.channel)  # type: ignore[no-untyped-call]
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await api.Get(pb.GetRequest(id="newt"), metadata=md(acme))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    status = await api.GetStatus(pb.GetStatusRequest(), metadata=md(acme))
    assert (status.items, dict(status.rows)) == (0, {})


async def test_an_item_that_left_the_tenant_meanwhile_is_not_shown(guarded: Guarded) -> None:
    guarded.world.store.accepts = lambda _row, _expression: True  # rows that are not up to date
    acme = guarded.door.key(Scope.SEARCH, name="acme", condition=ACME)
    response = await guarded.rest.post("/v1/search", json=SEARCH, headers=bearer(acme))
    assert found(response) == {"frog"}
    assert response.json()["candidates"] == 1


async def test_users_of_two_tenants_are_two(guarded: Guarded) -> None:
    acme, globex = (
        guarded.door.key(Scope.SEARCH, Scope.FEEDBACK, name=name, condition=condition)
        for name, condition in (("acme", ACME), ("globex", GLOBEX))
    )
    asked = {**SEARCH, "user": "ann"}
    answer = (await guarded.rest.post("/v1/search", json=asked, headers=bearer(acme))).json()
    event = {"requestId": answer["requestId"], "itemId": "frog", "kind": "CLICK"}
    body = {"user": "ann", "events": [event]}
    other = await guarded.rest.post("/v1/feedback", json=body, headers=bearer(globex))
    assert other.json() == {"unknown": 1}
    own = await guarded.rest.post("/v1/feedback", json=body, headers=bearer(acme))
    assert own.json() == {"stored": 1}


async def test_a_token_names_its_subject_alone(guarded: Guarded) -> None:
    headers = bearer(guarded.door.issuer.token())
    for user, status in (("ann", 200), ("", 200), ("ben", 403)):
        response = await guarded.rest.post("/v1/search", json={**SEARCH, "user": user}, headers=headers)
        assert response.status_code == status
    assert (await guarded.rest.delete("/v1/users/ann", headers=headers)).status_code == 200
    assert (await guarded.rest.delete("/v1/users/ben", headers=headers)).status_code == 403
