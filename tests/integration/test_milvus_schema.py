"""Collections are created once, verified at every start, and never dropped or altered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pymilvus import AsyncMilvusClient, DataType, MilvusClient

from orchestrator.clients.milvus import VectorStore
from orchestrator.clients.milvus_lite import LiteProcess
from orchestrator.clients.milvus_setup import collection_name, ensure
from orchestrator.clients.milvus_spec import StoreSpec, load_spec
from orchestrator.errors import ConfigurationError, SchemaMismatchError, UnavailableError
from orchestrator.settings import MilvusSettings

VERSION = "v-1"
AUDIO = collection_name("audio", VERSION)
UNIFIED = collection_name("unified", VERSION)


@pytest.fixture
async def client(milvus_settings: MilvusSettings, tmp_path: Path) -> AsyncIterator[AsyncMilvusClient]:
    """A bare client of each server in turn, with no collection of ours on it."""
    lite = LiteProcess(tmp_path)
    uri = milvus_settings.uri
    if uri is None:
        await lite.start(on_restart=_nothing)
        uri = lite.uri
    # Milvus Lite begins in a folder of its own and ends with it; dropping there races with its own upkeep.
    shared = ("unified", "audio", "video") if milvus_settings.uri else ()
    async with AsyncMilvusClient(uri=uri, dedicated=True) as bare:
        for space in shared:
            await bare.drop_collection(collection_name(space, VERSION))  # type: ignore[arg-type]
        yield bare
        for space in shared:
            await bare.drop_collection(collection_name(space, VERSION))  # type: ignore[arg-type]
    await lite.stop()


@pytest.fixture
def spec(milvus_settings: MilvusSettings) -> StoreSpec:
    return load_spec(milvus_settings.parameters)


async def test_creating_is_idempotent_and_completes_what_was_cut_short(
    client: AsyncMilvusClient, spec: StoreSpec
) -> None:
    first = await ensure(client, spec, VERSION)
    assert set(first) == {"unified", "audio", "video"}
    assert {"text", "image", "audio", "video"} <= set(await client.list_partitions(UNIFIED))
    assert await ensure(client, spec, VERSION) == first
    await client.release_collection(UNIFIED)
    await client.drop_index(UNIFIED, "vector")
    await client.drop_partition(UNIFIED, "video")
    assert await ensure(client, spec, VERSION) == first
    assert "video" in await client.list_partitions(UNIFIED)


async def test_two_that_create_at_once_agree(
    client: AsyncMilvusClient, spec: StoreSpec, milvus_settings: MilvusSettings
) -> None:
    """Of two processes on a server; Milvus Lite belongs to one."""
    async with contextlib.AsyncExitStack() as held:
        other = client
        if milvus_settings.uri is not None:
            other = await held.enter_async_context(AsyncMilvusClient(uri=milvus_settings.uri, dedicated=True))
        both = ensure(client, spec, VERSION), ensure(other, spec, VERSION)
        found = await asyncio.gather(*both, return_exceptions=True)
    assert not any(isinstance(one, SchemaMismatchError) for one in found), found
    assert set(await ensure(client, spec, VERSION)) == {"unified", "audio", "video"}


async def test_other_fields_are_named_and_left_alone(client: AsyncMilvusClient, spec: StoreSpec) -> None:
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("row_id", DataType.VARCHAR, is_primary=True, max_length=64)
    schema.add_field("price", DataType.FLOAT)
    schema.add_field("colour", DataType.VARCHAR, max_length=16)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=8)
    await client.create_collection(AUDIO, schema=schema)
    before = await client.describe_collection(AUDIO)
    with pytest.raises(SchemaMismatchError) as caught:
        await ensure(client, spec, VERSION)
    message = caught.value.message
    for part in (
        AUDIO,
        f"milvus/{spec.profile}.yaml",
        "field price has type FLOAT instead of DOUBLE",
        "field colour is not known",
        "field item_id is missing",
        "field vector has dim 8 instead of 512",
        "field row_id has max_length 64 instead of",
        "Nothing was changed",
        "To migrate",
    ):
        assert part in message
    assert (await client.describe_collection(AUDIO))["fields"] == before["fields"]


async def test_another_index_is_named(client: AsyncMilvusClient, spec: StoreSpec) -> None:
    await ensure(client, spec, VERSION)
    await client.release_collection(AUDIO)
    await client.drop_index(AUDIO, "vector")
    params = MilvusClient.prepare_index_params()
    params.add_index(
        field_name="vector",
        index_name="vector",
        index_type="HNSW",
        metric_type="COSINE",
        params={"params": {"M": 4, "efConstruction": 100}},
    )
    sync = MilvusClient(f"http://{client._config.address}")
    sync.create_index(AUDIO, params, sync=False)
    sync.close()
    with pytest.raises(SchemaMismatchError, match="metric_type COSINE instead of L2") as caught:
        await ensure(client, spec, VERSION)
    assert "the index has M 4 instead of 16" in caught.value.message
    assert "efConstruction" not in caught.value.message


async def test_lite_and_its_parameters_belong_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="PARAMETERS"):
        VectorStore(MilvusSettings(uri="http://127.0.0.1:1", parameters="lite"), tmp_path)
    with pytest.raises(ConfigurationError, match="PARAMETERS"):
        VectorStore(MilvusSettings(parameters="cluster"), tmp_path)


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    store = VectorStore(MilvusSettings(uri="http://127.0.0.1:1", parameters="standalone"), tmp_path)
    with pytest.raises(UnavailableError):
        await store.start()


async def _nothing() -> None:
    pass
