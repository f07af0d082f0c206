"""A real redis-server, once per session, and Redis stores on it that begin empty."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from cli.redis_server import RedisServer, RedisServerError
from orchestrator.clients.redis import RedisStore

TIMEOUT_S = 0.5
"""Of one call: generous, for what is tested here is not how fast a busy machine is."""


def redis_contents(server: RedisServer) -> dict[bytes, bytes]:
    """Every key with its value."""
    with Redis(port=server.port) as client:
        return {key: client.get(key) or b"" for key in client.scan_iter()}  # type: ignore[union-attr,misc]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The machine's redis-server, or Debian's packages of it."""
    home = Path(os.environ.get("SENSORIUM_HOME", ".sensorium")).absolute()
    try:
        with RedisServer(home / "cache", tmp_path_factory.mktemp("redis")) as server:
            yield server
    except RedisServerError as error:
        pytest.skip(str(error))


@pytest.fixture
async def redis_store(redis_server: RedisServer) -> AsyncGenerator[Callable[[], RedisStore]]:
    """Makes stores, as several processes would, on the running server, which begins empty."""
    with Redis(port=redis_server.port) as client:
        client.flushall()
    stores: list[RedisStore] = []

    def make() -> RedisStore:
        stores.append(RedisStore(redis_server.url, TIMEOUT_S))
        return stores[-1]

    yield make
    for store in stores:
        await store.close()
