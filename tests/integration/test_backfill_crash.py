"""A backfill that is killed goes on where it was: nothing is lost, nothing mixed, nothing made twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from indexing_support import VERSION, HashEncoder, MirroredEncoder, make_indexer, make_maintenance

from indexing import EmbeddingVersions
from orchestrator.clients.items import ItemStore
from orchestrator.clients.milvus import VectorStore
from orchestrator.clients.milvus_rows import key_of, version_of
from orchestrator.settings import MilvusSettings

ROOT = Path(__file__).parents[2]
COUNT, NEW = 24, "test-2"


def killed_at(home: Path, done: int, *, with_milvus: bool) -> None:
    """Runs the child and kills it once so many items are filled, Milvus Lite first if asked to."""
    command = [sys.executable, str(ROOT / "tests" / "backfill_crash_child.py"), str(home), str(COUNT)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True, env=environment)
    assert child.stdout is not None
    with child.stdout:
        for line in child.stdout:
            if line.strip().isdecimal() and int(line) >= done:  # the rest is its log
                break
        if with_milvus:
            for lite in psutil.Process(child.pid).children():
                lite.kill()
        child.kill()
    assert child.wait(60) < 0, "it ended by itself"


@pytest.mark.parametrize("with_milvus", [False, True], ids=["indexer", "indexer and Milvus"])
async def test_killed_twice_and_finished(tmp_path: Path, with_milvus: bool) -> None:
    for done in (3, 14):
        killed_at(tmp_path, done, with_milvus=with_milvus)
    async with VectorStore(MilvusSettings(), tmp_path) as rows, ItemStore(tmp_path / "data") as items:
        assert items.crashed
        old, new = HashEncoder(), MirroredEncoder()
        indexer = make_indexer(old, rows, items)
        tending = make_maintenance(indexer, rows, items)
        versions = EmbeddingVersions(rows, items, indexer._targets, tending)
        await versions.open_all(VERSION)
        lacking = await items.lacking_count(NEW)
        assert 0 < lacking <= COUNT - 14
        versions.write({VERSION: old, NEW: new}, required=VERSION)
        await tending.recover()
        embedded = new.calls
        await tending._catch_up()
        if not with_milvus:
            assert new.calls - embedded <= 3 * lacking, "what was filled before is not made again"
        assert versions.progress()[NEW].complete
        assert await items.pending() == []
        ids = [item_id async for item_id in items.ids()]
        assert len(ids) == COUNT
        row_ids = [row_id for item_id in ids for row_id in (await items.state(item_id)).row_ids]
        assert await rows.missing(row_ids) == set()
        keys = {
            version: [key_of(id_) for id_ in row_ids if version_of(id_) == version]
            for version in (VERSION, NEW)
        }
        assert keys[VERSION] == keys[NEW]
        mine = await rows.vectors(keys[VERSION], VERSION, 30.0)
        theirs = await rows.vectors(keys[NEW], NEW, 30.0)
        assert all((mine[key] == -theirs[key]).all() for key in keys[VERSION])
        for version in (VERSION, NEW):
            assert sum((await rows.counts(version)).values()) == await items.row_count(version)
