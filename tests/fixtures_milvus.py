"""Real Milvus servers: Lite per test, the standalone of its wheel once per session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pymilvus import AsyncMilvusClient

from cli.milvus_server import MilvusServer, why_not_here
from orchestrator.clients.milvus import VectorStore
from orchestrator.clients.milvus_setup import PREFIX
from orchestrator.settings import MilvusSettings


@pytest.fixture(scope="session")
def milvus_standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusSettings]:
    """Settings for a running Milvus 2.3.5."""
    if reason := why_not_here():
        pytest.skip(reason)
    server = MilvusServer(tmp_path_factory.mktemp("milvus"))
    server.start()
    yield MilvusSettings(uri=server.uri, parameters="standalone")
    server.stop()


@pytest.fixture
def milvus_lite() -> MilvusSettings:
    """Settings for Milvus Lite; each store runs its own."""
    return MilvusSettings()


@pytest.fixture(params=["lite", "standalone"])
def milvus_settings(request: pytest.FixtureRequest) -> MilvusSettings:
    """Settings for each server in turn."""
    settings = request.getfixturevalue(f"milvus_{request.param}")
    assert isinstance(settings, MilvusSettings)
    return settings


@pytest.fixture
async def vector_store(milvus_settings: MilvusSettings, tmp_path: Path) -> AsyncIterator[VectorStore]:
    """An empty, started store on each server in turn."""
    async with VectorStore(milvus_settings, tmp_path) as store:
        if milvus_settings.uri is not None:
            await _empty(milvus_settings.uri)
        yield store


async def _empty(uri: str) -> None:
    async with AsyncMilvusClient(uri=uri, dedicated=True) as client:
        for name in await client.list_collections():
            if name.startswith(PREFIX):
                await client.delete(name, filter='row_id != ""')
                await client.query(name, filter='row_id == ""', consistency_level="Strong")
