"""Indexing that is killed and resumed ends as if it had never been: nothing lost, nothing doubled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from indexing_support import VERSION, HashEncoder, draft, make_indexer, make_maintenance

from orchestrator.clients.items import ItemStore
from orchestrator.clients.milvus import VectorStore
from orchestrator.settings import MilvusSettings
from orchestrator.types import FloatArray, ItemDraft, Modality, Outcome

ROOT = Path(__file__).parents[2]
COUNT = 36


def run_until(home: Path, answers: int | None, *, with_milvus: bool = False) -> list[str]:
    """Runs the child, kills it after so many answers (None: lets it end); the ids it answered.

    ``with_milvus`` kills Milvus Lite first, so that it too is cut off in the middle.
    """
    command = [sys.executable, str(ROOT / "tests" / "indexing_crash_child.py"), str(home), str(COUNT)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True, env=_environment())
    assert child.stdout is not None
    ids: list[str] = []
    with child.stdout:
        for line in child.stdout:
            ids.append(line.split()[0])
            if answers is not None and len(ids) >= answers:
                break
        if answers is not None:
            if with_milvus:
                for lite in psutil.Process(child.pid).children():
                    lite.kill()
            child.kill()
    code = child.wait(60)
    assert (code == 0) == (answers is None)
    return ids


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}


async def contents(home: Path) -> tuple[dict[str, FloatArray], list[str], dict[Modality, int]]:
    """Vectors by row, ids of items, and rows per modality, after whatever is to be put right was."""
    async with VectorStore(MilvusSettings(), home) as rows, ItemStore(home / "data") as items:
        await rows.prepare(VERSION)
        indexer = make_indexer(HashEncoder(), rows, items)
        await make_maintenance(indexer, rows, items).recover()
        ids = [item_id async for item_id in items.ids()]
        row_ids = [row for item_id in ids for row in (await items.state(item_id)).row_ids]
        assert await items.pending() == []
        assert await rows.missing(row_ids) == set()
        keys = [row_id.split("/", 1)[1] for row_id in row_ids]
        return dict(await rows.vectors(keys, VERSION, 30.0)), ids, dict(await rows.counts(VERSION))


@pytest.mark.parametrize("with_milvus", [False, True], ids=["indexer", "indexer and Milvus"])
async def test_killed_at_several_points_and_resumed(tmp_path: Path, with_milvus: bool) -> None:
    clean, broken = tmp_path / "clean", tmp_path / "broken"
    assert len(run_until(clean, None)) == COUNT
    answered: set[str] = set()
    for answers in (1, 9, 20):
        answered |= set(run_until(broken, answers, with_milvus=with_milvus))
        _, stored, _ = await contents(broken)
        assert answered <= set(stored), "an answered item was lost"
    assert len(run_until(broken, None)) == COUNT
    vectors, ids, counts = await contents(broken)
    expected_vectors, expected_ids, expected_counts = await contents(clean)
    assert ids == expected_ids == [draft(n).id for n in range(COUNT)]
    assert counts == expected_counts
    assert vectors.keys() == expected_vectors.keys()
    for key, vector in vectors.items():
        np.testing.assert_array_equal(vector, expected_vectors[key])


@pytest.mark.asyncio(loop_scope="module")
async def test_an_item_through_its_life_on_each_server(vector_store: VectorStore, tmp_path: Path) -> None:
    async with ItemStore(tmp_path) as items:
        indexer = make_indexer(HashEncoder(), vector_store, items)
        tending = make_maintenance(indexer, vector_store, items)

        async def found(item: ItemDraft, expression: str = "") -> list[str]:
            query = (await HashEncoder().embed(Modality.IMAGE, item.media[0], 1.0)).unified[None]
            (hits,) = await vector_store.search(
                "unified", Modality.IMAGE, query, 5, expression, VERSION, 10.0
            )
            return [hit.item_id for hit in hits if hit.similarity > 0.99]

        for number in range(6):
            assert (await indexer.upsert(draft(number))).outcome is Outcome.INDEXED
            assert await found(draft(number)) == [draft(number).id]
        assert (await indexer.upsert(draft(3))).outcome is Outcome.UNCHANGED
        await indexer.upsert(draft(3, price=500.0))
        assert await found(draft(3), "price == 500.0") == ["item.0003"]
        await indexer.upsert(draft(3, media=draft(30).media[:1]))
        assert await found(draft(3)) == []
        assert await found(draft(30)) == ["item.0003"]
        assert await indexer.delete(["item.0003", "item.0004"]) == (2, 0)
        assert await found(draft(30)) == await found(draft(4)) == []
        await indexer.upsert(draft(4))
        assert await found(draft(4)) == ["item.0004"]
        assert await indexer.compact() == 2
        assert await found(draft(4)) == ["item.0004"]
        assert sum((await vector_store.counts(VERSION)).values()) == await items.row_count(VERSION)
        assert await tending.recover() == 0
