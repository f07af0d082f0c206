"""Who may call what, on both faces, over fakes: every method, every route, and ways round that must fail."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import httpx
import pytest
from fixtures_access import Door, bearer
from fixtures_orchestrator import MakeWorld, Serving, World
from fixtures_tenants import SEARCH, Guarded, code, md
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from media import Limits
from orchestrator.access.scopes import CALLS, GRPC_CALLS, REST_CALLS, Scope
from orchestrator.errors import ConfigurationError
from orchestrator.rest.app import build_app
from orchestrator.rest.files import Files
from orchestrator.settings import AccessSettings, ApiSettings
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

OTHER = {"content-type": "application/json"}


def calls(channel: grpc.aio.Channel, metadata: Any) -> dict[str, Any]:
    """Every method that the server has, by its full name, as something to await."""
    health = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
    api = rpc.SensoriumStub(channel)  # type: ignore[no-untyped-call]
    reflect = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[no-untyped-call]
    part = pb.QueryPart(text="green frog")
    event = pb.FeedbackEvent(request_id="r", item_id="frog", kind=pb.FeedbackEvent.CLICK)

    async def first(stream: Any) -> Any:
        async for message in stream:
            stream.cancel()
            return message
        return None

    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    made: dict[str, Any] = {
        "Search": lambda: api.Search(pb.SearchRequest(parts=[part]), metadata=metadata),
        "Upsert": lambda: first(api.Upsert(iter([pb.Item(id="new", title="new")]), metadata=metadata)),
        "Delete": lambda: api.Delete(pb.DeleteRequest(ids=["gone"]), metadata=metadata),
        "Get": lambda: api.Get(pb.GetRequest(id="frog"), metadata=metadata),
        "Feedback": lambda: api.Feedback(pb.FeedbackRequest(user="u", events=[event]), metadata=metadata),
        "EraseUser": lambda: api.EraseUser(pb.EraseUserRequest(user="u"), metadata=metadata),
        "GetStatus": lambda: api.GetStatus(pb.GetStatusRequest(), metadata=metadata),
    }
    prefix = "/sensorium.v1.Sensorium/"
    return {prefix + name: call for name, call in made.items()} | {
        "/grpc.health.v1.Health/Check": lambda: health.Check(
            health_pb2.HealthCheckRequest(), metadata=metadata
        ),
        "/grpc.health.v1.Health/Watch": lambda: first(
            health.Watch(health_pb2.HealthCheckRequest(), metadata=metadata)
        ),
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": lambda: first(
            reflect.ServerReflectionInfo(iter([asked]), metadata=metadata)
        ),
    }


def test_every_method_of_the_api_needs_a_scope() -> None:
    """One that is added to the proto without a line in `scopes.py` fails here, and is refused when called."""
    methods = {
        f"/sensorium.v1.Sensorium/{m.name}" for m in pb.DESCRIPTOR.services_by_name["Sensorium"].methods
    }
    assert methods <= set(GRPC_CALLS)
    assert all(CALLS[GRPC_CALLS[method]] is not None for method in methods)
    assert set(GRPC_CALLS.values()) | set(REST_CALLS.values()) == set(CALLS)


async def test_every_route_of_rest_is_in_the_table(world: World) -> None:
    files = Files(world.items, Limits())
    app: Any = build_app(world.service, files, ApiSettings())
    routes = {
        (method, route.path) for route in app._app.routes for method in getattr(route, "methods", None) or ()
    }
    files.close()
    assert routes == set(REST_CALLS)
    assert {key for key, call in REST_CALLS.items() if CALLS[call] is None} == {
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/openapi.json"),
        ("GET", "/"),
    }


async def test_every_grpc_method_wants_its_scope_and_no_other(guarded: Guarded) -> None:
    assert set(calls(guarded.channel, ())) == set(GRPC_CALLS)
    for method, call_name in GRPC_CALLS.items():
        need = CALLS[call_name]
        without = await code(calls(guarded.channel, ())[method])
        if need is None:
            assert without is grpc.StatusCode.OK, method
            continue
        assert without is grpc.StatusCode.UNAUTHENTICATED, method
        others = guarded.door.key(*(scope for scope in Scope if scope is not need))
        right = guarded.door.key(need)
        await asyncio.sleep(0)
        assert await code(calls(guarded.channel, md(others))[method]) is grpc.StatusCode.PERMISSION_DENIED
        assert await code(calls(guarded.channel, md(right))[method]) is grpc.StatusCode.OK, method


async def test_every_route_wants_its_scope_and_no_other(guarded: Guarded) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "Search": {"json": SEARCH},
        "Upsert": {"json": {"title": "x"}},
        "Feedback": {"json": {"user": "u", "events": [{"requestId": "r", "itemId": "i", "kind": "CLICK"}]}},
    }
    for (verb, path), call in REST_CALLS.items():
        need = CALLS[call]
        url = path.format(item_id="frog", index="0", user="u")

        async def asked(
            headers: dict[str, str], verb: str = verb, url: str = url, call: str = call
        ) -> httpx.Response:
            return await guarded.rest.request(verb, url, headers=headers, **bodies.get(call, {}))

        without = await asked({})
        if need is None:
            assert without.status_code == 200, path
            continue
        assert (without.status_code, without.headers["www-authenticate"]) == (401, "Bearer"), path
        others = guarded.door.key(*(scope for scope in Scope if scope is not need))
        right = guarded.door.key(need)
        assert (await asked(bearer(others))).status_code == 403, path
        assert (await asked(bearer(right))).status_code in (200, 404), path  # the frog has no media


@pytest.fixture(autouse=True)
def _now(now: None) -> None:
    """Keys made while it runs are taken at once."""


async def test_good_credentials_of_both_kinds(guarded: Guarded) -> None:
    for credential in (guarded.door.key(Scope.SEARCH), guarded.door.issuer.token()):
        assert (
            await guarded.rest.post("/v1/search", json=SEARCH, headers=bearer(credential))
        ).status_code == 200
        call = calls(guarded.channel, md(credential))["/sensorium.v1.Sensorium/Search"]
        assert await code(call) is grpc.StatusCode.OK


async def test_naming_a_release_takes_the_scope_admin(guarded: Guarded) -> None:
    release = guarded.world.served.current.release
    for scopes, allowed in (([Scope.SEARCH], False), ([Scope.SEARCH, Scope.ADMIN], True)):
        headers = {**bearer(guarded.door.key(*scopes)), "x-sensorium-release": release}
        answer = await guarded.rest.post("/v1/search", json=SEARCH, headers=headers)
        assert answer.status_code == (200 if allowed else 403)
        api = rpc.SensoriumStub(guarded.channel)  # type: ignore[no-untyped-call]
        request = pb.SearchRequest(parts=[pb.QueryPart(text="green frog")])
        metadata = tuple((name.lower(), value) for name, value in headers.items())
        call = code(lambda: api.Search(request, metadata=metadata))  # noqa: B023 - awaited at once
        assert await call is (grpc.StatusCode.OK if allowed else grpc.StatusCode.PERMISSION_DENIED)


async def test_credentials_that_are_not_good(guarded: Guarded) -> None:
    door = guarded.door
    revoked = door.key()
    door.revoke(revoked)
    bad = {
        "wrong key": door.key()[:-1] + "B",  # a key's last character holds four bits, and is never a B
        "revoked key": revoked,
        "expired key": door.key(expires=datetime.now(UTC) - timedelta(minutes=1)),
        "expired token": door.issuer.token(exp=1),
        "wrong audience": door.issuer.token(aud="another"),
        "no credential": "-",
        "too long": "x" * 8193,
    }
    for what, credential in bad.items():
        response = await guarded.rest.post("/v1/search", json=SEARCH, headers=bearer(credential))
        assert response.status_code == 401, what
        assert response.json()["error"]["code"] == "auth.invalid"
        call = calls(guarded.channel, md(credential))["/sensorium.v1.Sensorium/Search"]
        assert await code(call) is grpc.StatusCode.UNAUTHENTICATED, what


async def test_a_long_token_is_taken_every_time(guarded: Guarded) -> None:
    """grpc turns calls away at random from a size of metadata on: it must be above that of any credential."""
    room = 8192 - len(guarded.door.issuer.token(groups=""))
    token = guarded.door.issuer.token(groups="x" * (room * 3 // 4 - 2))
    assert 8180 < len(token) <= 8192
    for _ in range(40):
        call = calls(guarded.channel, md(token))["/sensorium.v1.Sensorium/GetStatus"]
        assert await code(call) is grpc.StatusCode.OK


async def test_two_headers_are_refused_whichever_is_good(guarded: Guarded) -> None:
    good, bad = f"Bearer {guarded.door.key()}", "Bearer x"
    for first, second in ((good, bad), (bad, good), (good, good)):
        response = await guarded.rest.get(
            "/v1/status", headers=[("authorization", first), ("Authorization", second)]
        )
        assert response.status_code == 401
        metadata = (("authorization", first), ("authorization", second))
        call = calls(guarded.channel, metadata)["/sensorium.v1.Sensorium/GetStatus"]
        assert await code(call) is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("form", ["Basic {}", "{}", "Bearer  {}", "Bearer {} x", "Token {}"])
async def test_other_forms_of_the_header_are_refused(guarded: Guarded, form: str) -> None:
    headers = {"authorization": form.format(guarded.door.key())}
    assert (await guarded.rest.get("/v1/status", headers=headers)).status_code == 401


async def test_a_key_elsewhere_is_not_looked_at(guarded: Guarded) -> None:
    key = guarded.door.key()
    for url, headers in (
        (f"/v1/status?key={key}", {}),
        (f"/v1/status?authorization=Bearer+{key}", {}),
        ("/v1/status", {"cookie": f"authorization=Bearer {key}"}),
        ("/v1/status", {"x-api-key": key}),
    ):
        assert (await guarded.rest.get(url, headers=headers)).status_code == 401


async def test_a_body_is_not_read_for_somebody_unknown(make_world: MakeWorld, door: Door) -> None:
    world = make_world(access=door.settings)
    files = Files(world.items, Limits())
    app = build_app(world.service, files, ApiSettings())
    sent: list[Any] = []

    async def receive() -> Any:
        pytest.fail("the body was asked for")

    async def send(message: Any) -> None:
        sent.append(message)

    for verb, path in (("POST", "/v1/search"), ("PUT", "/v1/items/x"), ("POST", "/v1/feedback")):
        scope = {
            "type": "http",
            "method": verb,
            "path": path,
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
            "client": ("192.0.2.1", 1),
        }
        await app(scope, receive, send)
        assert sent[-2]["status"] == 401
    files.close()


async def test_an_unknown_method_is_not_let_through(guarded: Guarded) -> None:
    made = guarded.channel.unary_unary("/sensorium.v1.Sensorium/Reindex")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await made(b"", metadata=md(guarded.door.key()))
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "search.example"])
async def test_beyond_loopback_without_authentication_it_does_not_start(
    make_world: MakeWorld, serving: Serving, host: str
) -> None:
    world = make_world(api=ApiSettings(host=host))
    with pytest.raises(ConfigurationError, match="beyond loopback"):
        async with serving(world):
            pass


async def test_beyond_loopback_it_starts_with_keys_or_when_told_to(
    make_world: MakeWorld, serving: Serving, door: Door
) -> None:
    for settings in (
        {"api": ApiSettings(host="0.0.0.0"), "access": door.settings},
        {
            "api": ApiSettings(host="0.0.0.0", unauthenticated_beyond_loopback=True),
            "access": AccessSettings(),
        },
    ):
        async with serving(make_world(**settings)) as ports:
            assert ports.http
