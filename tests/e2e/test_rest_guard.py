"""What the REST face keeps out before any route sees it, and what every answer forbids."""

from collections.abc import AsyncGenerator

import httpx
import pytest
from fixtures_orchestrator import MakeWorld, Serving
from fixtures_rest import Rest, typed

from orchestrator.settings import ApiSettings


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "evil@", "[::1", "x:y:z"])
async def test_a_foreign_host_header_is_refused(rest: Rest, host: str) -> None:
    got = await rest[1].get("/v1/status", headers={"host": host})
    assert got.status_code == 400


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1:80", "LOCALHOST", "[::1]:8080"])
async def test_our_own_names_are_taken(rest: Rest, host: str) -> None:
    assert (await rest[1].get("/v1/status", headers={"host": host})).status_code == 200


async def test_pages_of_other_sites_change_nothing(rest: Rest) -> None:
    for site, status in [("cross-site", 400), ("same-site", 400), ("same-origin", 200), ("none", 200)]:
        got = await rest[1].delete("/v1/items/ghost", headers={"sec-fetch-site": site})
        assert got.status_code == status


async def test_bodies_are_bounded_declared_or_not(make_world: MakeWorld, serving: Serving) -> None:
    world = make_world(api=ApiSettings(max_request_bytes=10_000))
    sent = 0

    async def endless() -> AsyncGenerator[bytes]:
        nonlocal sent
        for _ in range(10_000):
            sent += 10_000
            yield bytes(10_000)

    async with (
        serving(world) as ports,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.http}") as client,
    ):
        declared = await client.post("/v1/search", content=bytes(20_000))
        assert (declared.status_code, typed(declared).code) == (413, "request.too_large")
        try:
            streamed = await client.post("/v1/search", content=endless())
            assert streamed.status_code == 413
        except httpx.TransportError:
            pass  # the server hung up before all was sent
        assert sent < 50_000_000
        with pytest.raises(httpx.TransportError):
            await client.post("/v1/search", content=bytes(100_000_000))
        form = await client.post("/v1/search", files={"request": (None, "{}"), "part0": bytes(20_000)})
        assert form.status_code == 413
        assert (await client.get("/healthz")).status_code == 200


async def test_every_answer_is_closed_to_scripts_and_frames(rest: Rest) -> None:
    for path in ("/", "/static/main.js", "/v1/status", "/nothing", "/metrics", "/v1/items/car/media/0"):
        headers = (await rest[1].get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers
