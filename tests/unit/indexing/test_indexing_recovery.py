"""A failure between any two steps, what recovery makes of it, and the maintenance that runs beside."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from indexing_support import (
    VERSION,
    HashEncoder,
    MemoryRows,
    draft,
    make_indexer,
    make_maintenance,
    picture,
)

from indexing import Indexer
from orchestrator.clients.items import ItemStore
from orchestrator.errors import DependencyError, UnavailableError
from orchestrator.types import ItemDraft, Outcome


@pytest.mark.parametrize("step", ["upsert", "delete"])
@pytest.mark.parametrize("redo", ["the same again", "the former again", "nothing"])
async def test_a_change_cut_short_is_put_right(
    indexer: Indexer, rows: MemoryRows, items: ItemStore, step: str, redo: str
) -> None:
    await indexer.upsert(draft(3))
    new = draft(3, title="Other", media=(picture(50),))
    rows.fail[step] = DependencyError("milvus", "cut")
    with pytest.raises(DependencyError):
        await indexer.upsert(new)
    wanted = new
    if redo == "the same again":
        assert (await indexer.upsert(new)).outcome is Outcome.INDEXED
    elif redo == "the former again":
        wanted = draft(3)
        assert (await indexer.upsert(wanted)).outcome is Outcome.INDEXED
    else:
        wanted = draft(3)
        assert await make_maintenance(indexer, rows, items).recover() == 1
    clean = MemoryRows()
    await _index_elsewhere(wanted, clean, items.blob_path("x").parents[1] / "elsewhere")
    assert rows.rows.keys() == clean.rows.keys()
    for key, row in rows.rows.items():
        assert (row.embedding.unified == clean.rows[key].embedding.unified).all()
    assert await items.pending() == []


async def _index_elsewhere(wanted: ItemDraft, rows: MemoryRows, folder: Path) -> None:
    async with ItemStore(folder) as store:
        await make_indexer(HashEncoder(), rows, store).upsert(wanted)


async def test_a_first_upsert_cut_short_leaves_nothing_after_recovery(
    indexer: Indexer, rows: MemoryRows, items: ItemStore
) -> None:
    rows.fail["delete"] = DependencyError("milvus", "cut")
    with pytest.raises(DependencyError):
        await indexer.upsert(draft(1))
    assert rows.rows
    assert await make_maintenance(indexer, rows, items).recover() == 1
    assert not rows.rows
    assert await items.pending() == []


async def test_fields_cut_short_are_put_right(indexer: Indexer, rows: MemoryRows, items: ItemStore) -> None:
    await indexer.upsert(draft(1))
    rows.fail["set_fields"] = DependencyError("milvus", "cut")
    with pytest.raises(DependencyError):
        await indexer.upsert(draft(1, price=99.0))
    assert (await indexer.upsert(draft(1))).outcome is Outcome.INDEXED, "Milvus may have the other price"
    assert {row.price for row in rows.rows.values()} == {1.0}


async def test_a_delete_cut_short_is_taken_back(indexer: Indexer, rows: MemoryRows, items: ItemStore) -> None:
    await indexer.upsert(draft(1))
    ids = rows.of("item.0001")
    await items.begin("item.0001", [])
    await rows.mark_deleted(["item.0001"])
    await make_maintenance(indexer, rows, items).recover()
    assert rows.of("item.0001") == ids


async def test_recovery_after_milvus_was_emptied(
    indexer: Indexer, rows: MemoryRows, items: ItemStore
) -> None:
    for number in range(5):
        await indexer.upsert(draft(number))
    before = dict(rows.rows)
    rows.rows.clear()
    assert await make_maintenance(indexer, rows, items).recover() == 5
    assert rows.rows.keys() == before.keys()
    assert await make_maintenance(indexer, rows, items).recover() == 0


async def test_recovery_to_another_embedding_version(
    indexer: Indexer, rows: MemoryRows, items: ItemStore, encoder: HashEncoder
) -> None:
    for number in range(5):
        await indexer.upsert(draft(number))
    newer = make_indexer(encoder, rows, items, version="test-2")
    assert await make_maintenance(newer, rows, items).recover() == 5
    assert await items.row_count("test-2") == len(rows.of_version("test-2")) == len(rows.of_version(VERSION))


async def test_maintenance_runs_beside_and_survives_failures(
    indexer: Indexer, rows: MemoryRows, items: ItemStore
) -> None:
    await indexer.upsert(draft(1))
    await indexer.delete(["item.0001"])
    tending = make_maintenance(indexer, rows, items, compact_every_s=0.05)
    rows.fail["delete"] = UnavailableError("milvus", "restarting")
    tending.start()
    async with asyncio.timeout(10):
        while rows.rows:  # noqa: ASYNC110 - nothing else tells of it
            await asyncio.sleep(0.02)
    await tending.close()
    await tending.close()


async def test_rows_lost_while_it_runs_are_written_again_when_it_is_told(
    indexer: Indexer, rows: MemoryRows, items: ItemStore
) -> None:
    await indexer.upsert(draft(1))
    kept = dict(rows.rows)
    tending = make_maintenance(indexer, rows, items)
    tending.start()
    try:
        async with asyncio.timeout(10):
            while items.crashed:  # noqa: ASYNC110 - it has looked once
                await asyncio.sleep(0.01)
        rows.rows.clear()
        rows.fail["upsert"] = DependencyError("milvus", "not back yet")
        tending.verify()
        async with asyncio.timeout(30):
            while rows.rows.keys() != kept.keys():  # noqa: ASYNC110 - the fake has no event
                await asyncio.sleep(0.01)
    finally:
        await tending.close()
