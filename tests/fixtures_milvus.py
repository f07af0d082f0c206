"""Real Milvus servers: Lite per test, the standalone of its wheel once per session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from pymilvus import AsyncMilvusClient

from cli.milvus_server import milvus_standalone as milvus_standalone_server
from cli.milvus_server import why_not_here
from orchestrator.clients.milvus import VectorStore
from orchestrator.clients.milvus_setup import PREFIX
from orchestrator.settings import MilvusSettings

VERSIONS = ("test-1", "v-1", "v-2", "v-3")
"""Embedding versions with collections in the stores of these fixtures."""


@pytest.fixture(scope="session")
def milvus_standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusSettings]:
    """Settings for a running Milvus 2.3.5."""
    if reason := why_not_here():
        pytest.skip(reason)
    with milvus_standalone_server(tmp_path_factory.mktemp("milvus")) as uri:
        yield MilvusSettings(uri=uri, parameters="standalone")


@pytest.fixture(scope="session")
def milvus_lite() -> MilvusSettings:
    """Settings for Milvus Lite; each store runs its own."""
    return MilvusSettings()


@pytest.fixture(params=["lite", "standalone"])
def milvus_settings(request: pytest.FixtureRequest) -> MilvusSettings:
    """Settings for each server in turn."""
    return _settings(request)


@pytest.fixture(params=["lite", "standalone"], scope="module")
def module_settings(request: pytest.FixtureRequest) -> MilvusSettings:
    """Settings for each server in turn, for a whole module."""
    return _settings(request)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_store(
    module_settings: MilvusSettings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[VectorStore]:
    """A started store, shared by the tests of a module."""
    async with VectorStore(module_settings, tmp_path_factory.mktemp("home")) as store:
        await one_by_one_or_at_once(module_settings, [store.prepare(version) for version in VERSIONS])
        yield store


@pytest_asyncio.fixture(loop_scope="module")
async def vector_store(module_settings: MilvusSettings, module_store: VectorStore) -> VectorStore:
    """An empty, started store. Its tests need `pytest.mark.asyncio(loop_scope="module")`."""
    await empty(module_settings, module_store.uri)
    return module_store


async def empty(settings: MilvusSettings, uri: str) -> None:
    """Takes all rows out of all collections of ours."""

    async def one(client: AsyncMilvusClient, name: str) -> None:
        await client.delete(name, filter='row_id != ""')
        await client.query(name, filter='row_id == ""', consistency_level="Strong")

    async with AsyncMilvusClient(uri=uri, dedicated=True) as client:
        names = [name for name in await client.list_collections() if name.startswith(PREFIX)]
        await one_by_one_or_at_once(settings, [one(client, name) for name in names])


async def one_by_one_or_at_once(settings: MilvusSettings, calls: Iterable[Coroutine[Any, Any, None]]) -> None:
    """At once on the server, where each waits for the next tick of its clock; in turn on Milvus Lite."""
    if settings.uri:
        await asyncio.gather(*calls)
        return
    for call in calls:
        await call


def _settings(request: pytest.FixtureRequest) -> MilvusSettings:
    settings = request.getfixturevalue(f"milvus_{request.param}")
    assert isinstance(settings, MilvusSettings)
    return settings
