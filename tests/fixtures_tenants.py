"""A world whose faces ask for credentials, with items of two tenants in it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import pytest
from fixtures_access import Door
from fixtures_orchestrator import MakeWorld, Serving, World

from orchestrator.settings import CacheSettings

SEARCH = {"parts": [{"text": "green frog"}]}


@dataclass
class Guarded:
    """A world behind a door, and a client of each face without a credential."""

    world: World
    door: Door
    rest: httpx.AsyncClient
    channel: grpc.aio.Channel

    def audit(self) -> list[dict[str, Any]]:
        assert self.door.settings.audit_file is not None
        return [json.loads(line) for line in self.door.settings.audit_file.read_text().splitlines()]


@pytest.fixture
async def guarded(make_world: MakeWorld, serving: Serving, door: Door) -> AsyncGenerator[Guarded]:
    world = make_world(access=door.settings, cache=CacheSettings())
    await world.add("frog", "green frog", category="acme")
    await world.add("newt", "green newt", category="globex")
    world.store.accepts = accepts
    async with (
        serving(world) as ports,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.http}", timeout=10) as client,
        grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel,
    ):
        yield Guarded(world, door, client, channel)


def accepts(row: Any, expression: str) -> bool:
    """What Milvus would make of the filters that these tests use."""
    return all(
        any(name in row.category for name in ("acme", "globex") if f'"{name}"' in part)
        for part in expression.split(" and ")
        if "category" in part
    )


async def code(call: Any) -> grpc.StatusCode:
    try:
        await call()
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def md(credential: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {credential}"),)
