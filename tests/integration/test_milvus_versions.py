"""Embedding versions in real Milvus servers: side by side, filled under searches, gone without a trace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from fixtures_milvus import empty
from indexing_support import HashEncoder, MirroredEncoder, draft, make_indexer, make_maintenance
from pymilvus import AsyncMilvusClient

from indexing import EmbeddingVersions, Target
from media import Modality
from orchestrator.clients.items import ItemStore
from orchestrator.clients.milvus import VectorStore
from orchestrator.clients.milvus_setup import PREFIX, alias_name, collection_name
from orchestrator.errors import UnavailableError
from orchestrator.settings import MilvusSettings
from orchestrator.types import UNIFIED_DIM, Embedding, FloatArray, Row, Space

SPACES: tuple[Space, ...] = ("unified", "audio", "video")
OLD, NEW = "swap-old", "swap-new"


@pytest.fixture
async def store(milvus_settings: MilvusSettings, tmp_path: Path) -> AsyncIterator[VectorStore]:
    async with VectorStore(milvus_settings, tmp_path) as store:
        for version in (OLD, NEW):
            await store.prepare(version)
        if milvus_settings.uri:
            # Those of the test before are still on the server: to make and load them takes seconds.
            await empty(milvus_settings, store.uri)
        yield store


def vector(seed: int) -> FloatArray:
    made = np.random.default_rng(seed).standard_normal(UNIFIED_DIM).astype(np.float32)
    return made / np.float32(np.linalg.norm(made))


def row(number: int, version: str) -> Row:
    return Row(
        item_id=f"item.{number}",
        modality=Modality.TEXT,
        media_index=-1,
        segment=0,
        start_s=0.0,
        end_s=0.0,
        embedding=Embedding(vector(number)),
        embedding_version=version,
        price=1.0,
        available=True,
        category="",
        tags=(),
    )


async def found(store: VectorStore, version: str, expression: str = "") -> list[str]:
    (hits,) = await store.search("unified", Modality.TEXT, vector(0)[None], 50, expression, version, 10.0)
    return sorted(hit.item_id for hit in hits)


async def test_a_version_has_collections_of_its_own_and_goes_with_them(store: VectorStore) -> None:
    await store.upsert([row(n, OLD) for n in range(4)] + [row(n, NEW) for n in range(3)])
    assert await found(store, OLD) == [f"item.{n}" for n in range(4)]
    assert await found(store, NEW) == [f"item.{n}" for n in range(3)]
    assert [(await store.counts(version))[Modality.TEXT] for version in (OLD, NEW)] == [4, 3]
    for turn in range(3):
        await store.drop(NEW)
        await store.drop(NEW)
        with pytest.raises(UnavailableError):
            await found(store, NEW)
        with pytest.raises(UnavailableError):
            await store.upsert([row(1, NEW)])
        assert await store.missing([f"{NEW}/{row(1, NEW).key}"]) == {f"{NEW}/{row(1, NEW).key}"}
        await store.delete([f"{NEW}/{row(1, NEW).key}"])
        assert await store.ready()
        assert len(await found(store, OLD)) == 4
        await store.prepare(NEW)
        assert await found(store, NEW) == []
        await store.upsert([row(n, NEW) for n in range(turn + 2)])
        assert len(await found(store, NEW)) == turn + 2


async def test_marks_and_fields_reach_every_version(store: VectorStore) -> None:
    await store.upsert([row(n, version) for n in range(3) for version in (OLD, NEW)])
    assert await store.mark_deleted(["item.1"]) == 2
    ids = [f"{version}/{row(2, version).key}" for version in (OLD, NEW)]
    await store.set_fields(ids, price=7.0, available=True, category="c", tags=("t",))
    for version in (OLD, NEW):
        assert await found(store, version) == ["item.0", "item.2"]
        assert await found(store, version, "price == 7.0") == ["item.2"]
    assert len((await store.deleted_rows())["item.1"]) == 2
    await store.delete([f"{version}/{row(1, version).key}" for version in (OLD, NEW)])
    assert await store.deleted_rows() == {}


async def test_aliases_follow(store: VectorStore) -> None:
    await store.upsert([row(n, OLD) for n in range(4)] + [row(n, NEW) for n in range(3)])
    async with AsyncMilvusClient(uri=store.uri, dedicated=True) as client:
        for version, rows in ((OLD, 4), (NEW, 3), (NEW, 3), (OLD, 4)):
            await store.point(version)
            seen = await client.query(alias_name("unified"), filter='row_id != ""', output_fields=["row_id"])
            assert len(seen) == rows
            assert {one["row_id"].split("/")[0] for one in seen} == {version}
        await store.point(NEW)
        await store.drop(OLD)
        await client.query(alias_name("audio"), filter='row_id != ""', output_fields=["row_id"])


async def test_collections_of_before_are_taken_over(milvus_settings: MilvusSettings, tmp_path: Path) -> None:
    async with VectorStore(milvus_settings, tmp_path) as store:
        await store.drop(OLD)
        await store.prepare(OLD)
        await store.upsert([row(n, OLD) for n in range(5)])
        async with AsyncMilvusClient(uri=store.uri, dedicated=True) as client:
            for space in SPACES:
                await client.rename_collection(collection_name(space, OLD), PREFIX + space)
    async with VectorStore(milvus_settings, tmp_path) as store:
        await store.prepare(OLD)
        assert await found(store, OLD) == [f"item.{n}" for n in range(5)]
        await store.upsert([row(5, OLD)])
        assert len(await found(store, OLD)) == 6
        async with AsyncMilvusClient(uri=store.uri, dedicated=True) as client:
            assert not {PREFIX + space for space in SPACES} & set(await client.list_collections())
        await store.drop(OLD)


async def test_a_version_is_filled_and_swapped_under_searches(store: VectorStore, tmp_path: Path) -> None:
    """Searches of both versions go on all the while; every answer is of the version that was asked."""
    old, new = Target(OLD, HashEncoder()), Target(NEW, MirroredEncoder(), required=False)
    async with ItemStore(tmp_path / "items") as items:
        indexer = make_indexer(HashEncoder(), store, items, version=OLD)
        targets = indexer._targets
        targets.change(old)
        tending = make_maintenance(indexer, store, items)
        versions = EmbeddingVersions(store, items, targets, tending)
        texts: dict[str, str] = {}
        for number in range(24):
            item = draft(number, media=())
            texts[item.id] = f"{item.title}\n{item.description}"
            await indexer.upsert(item)
        stop = asyncio.Event()
        searches = dict.fromkeys((OLD, NEW), 0)

        async def search(version: str, sign: float) -> None:
            number = 0
            while not stop.is_set():
                number = (number + 1) % 20
                vector = (await old.encoder.embed(Modality.TEXT, texts[f"item.{number:04d}"], 1.0)).unified
                (hits,) = await store.search(
                    "unified", Modality.TEXT, sign * vector[None], 5, "", version, 10.0
                )
                searches[version] += 1
                if version == OLD:
                    assert hits[0].item_id == f"item.{number:04d}"
                if hits and hits[0].item_id == f"item.{number:04d}":
                    assert hits[0].similarity > 0.99, "a vector of the other version"

        tasks = [asyncio.create_task(search(OLD, 1.0)), asyncio.create_task(search(NEW, -1.0))]
        versions.write({OLD: old.encoder, NEW: new.encoder}, required=OLD)
        tending.start()
        await indexer.upsert(draft(21, media=(), title="Changed"))
        await indexer.delete(["item.0022"])
        await indexer.upsert(draft(30, media=()))
        async with asyncio.timeout(60):
            while not (progress := versions.progress().get(NEW)) or not progress.complete:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await found(store, OLD) == await found(store, NEW)
        assert "item.0030" in await found(store, NEW)
        assert "item.0022" not in await found(store, NEW)
        versions.write({NEW: new.encoder}, required=NEW)
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        await versions.settled()
        await versions.drop_all_but(NEW)
        await indexer.upsert(draft(31, media=()))
        assert "item.0031" in await found(store, NEW)
        stop.set()
        await tasks[1]
        assert min(searches.values()) > 5
        assert await items.versions() == {NEW}
        assert sum((await store.counts(NEW)).values()) == await items.row_count(NEW)
        await tending.close()
