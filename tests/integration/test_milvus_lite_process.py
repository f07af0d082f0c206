"""Milvus Lite as a child process: it comes back after a crash, with its rows, and ends with its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from orchestrator.clients import milvus_lite
from orchestrator.clients.milvus import VectorStore
from orchestrator.errors import (
    ConfigurationError,
    DependencyDeadlineError,
    DependencyError,
    SchemaMismatchError,
    UnavailableError,
)
from orchestrator.settings import MilvusSettings
from orchestrator.types import Embedding, Modality, Row

VERSION = "v-1"
ROOT = Path(__file__).parents[2]


def row(number: int) -> Row:
    vector = np.random.default_rng(number).standard_normal(1024).astype(np.float32)
    return Row(
        item_id=f"item.{number}",
        modality=Modality.TEXT,
        media_index=-1,
        segment=0,
        start_s=0.0,
        end_s=0.0,
        embedding=Embedding(vector / np.float32(np.linalg.norm(vector))),
        embedding_version=VERSION,
        price=None,
        available=True,
        category="",
        tags=(),
    )


def lite_process(data_dir: Path) -> psutil.Process:
    """The child of this process that has ``data_dir``."""
    (found,) = [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and str(data_dir / "data" / "milvus") in child.cmdline()
    ]
    return found


async def test_killed_it_is_started_again_with_every_row(tmp_path: Path) -> None:
    async with VectorStore(MilvusSettings(), tmp_path) as store:
        await store.prepare(VERSION)
        await store.upsert([row(n) for n in range(20)])
        before = lite_process(tmp_path)
        before.kill()
        async with asyncio.timeout(60):
            while not await store.ready():  # noqa: ASYNC110 - another process's state has no event
                await asyncio.sleep(0.1)
        assert lite_process(tmp_path).pid != before.pid
        assert (await store.counts(VERSION))[Modality.TEXT] == 20
        query = row(7).embedding.unified[None]
        (hits,) = await store.search("unified", Modality.TEXT, query, 1, "", VERSION, 10.0)
        assert hits[0].item_id == "item.7"
        await store.upsert([row(20)])
        assert (await store.counts(VERSION))[Modality.TEXT] == 21


async def test_callers_that_wait_for_it_find_every_collection_as_it_was(tmp_path: Path) -> None:
    """Lite opens a collection when it is first asked for, without a lock: two callers at once would have one
    each, and a search of the one that is not loaded fails until Lite ends."""
    refused: list[Exception] = []
    told = asyncio.Event()

    async def search_on(store: VectorStore) -> None:
        query = row(1).embedding.unified[None]
        while True:
            try:
                await store.search("unified", Modality.TEXT, query, 1, "", VERSION, 5.0)
            except (UnavailableError, DependencyDeadlineError):
                await asyncio.sleep(0.01)
            except (DependencyError, SchemaMismatchError) as error:
                refused.append(error)

    async with VectorStore(MilvusSettings(), tmp_path) as store:
        store.on_restart(told.set)
        await store.prepare(VERSION)
        await store.upsert([row(n) for n in range(300)])
        callers = [asyncio.create_task(search_on(store)) for _ in range(8)]
        for _ in range(2):
            told.clear()
            lite_process(tmp_path).kill()
            await asyncio.wait_for(told.wait(), 60)
        for each in callers:
            each.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        assert refused == []
        assert (await store.counts(VERSION))[Modality.TEXT] == 300


async def test_a_flush_that_fails_loses_no_row(tmp_path: Path) -> None:
    """Lite lets go of rows that it could not write out; started again it reads them from its log."""
    told: list[int] = []
    async with VectorStore(MilvusSettings(), tmp_path) as store:
        store.on_restart(lambda: told.append(1))
        await store.prepare(VERSION)
        await store.upsert([row(n) for n in range(20)])
        before = lite_process(tmp_path)
        partitions = next((tmp_path / "data" / "milvus").rglob("partitions"))
        moved = partitions.rename(partitions.with_name("moved"))
        partitions.write_text("no folder: nothing can be written into it")
        async with asyncio.timeout(60):
            while before.is_running():  # noqa: ASYNC110 - another process's state has no event
                await asyncio.sleep(0.05)
            partitions.unlink()
            moved.rename(partitions)
            while not told:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await store.counts(VERSION))[Modality.TEXT] == 20
        for number in range(20):
            query = row(number).embedding.unified[None]
            (hits,) = await store.search("unified", Modality.TEXT, query, 1, "", VERSION, 10.0)
            assert hits[0].item_id == f"item.{number}"


async def test_without_room_a_write_is_refused_and_searches_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with VectorStore(MilvusSettings(), tmp_path) as store:
        await store.prepare(VERSION)
        await store.upsert([row(1)])
        monkeypatch.setattr(milvus_lite, "_ROOM_BYTES", 1 << 60)
        with pytest.raises(UnavailableError):
            await store.upsert([row(2)])
        query = row(1).embedding.unified[None]
        (hits,) = await store.search("unified", Modality.TEXT, query, 2, "", VERSION, 10.0)
        assert [hit.item_id for hit in hits] == ["item.1"]
        monkeypatch.undo()
        await store.upsert([row(2)])
        assert (await store.counts(VERSION))[Modality.TEXT] == 2


async def test_while_it_is_away_calls_fail_typed_and_soon(tmp_path: Path) -> None:
    async with VectorStore(MilvusSettings(), tmp_path) as store:
        await store.prepare(VERSION)
        process = lite_process(tmp_path)
        process.suspend()
        try:
            with pytest.raises(DependencyError):
                await store.search(
                    "unified", Modality.TEXT, row(1).embedding.unified[None], 1, "", VERSION, 0.5
                )
            assert not await store.ready()
        finally:
            process.resume()
        assert await store.ready()


async def test_it_listens_on_loopback_only_and_ends_with_the_store(tmp_path: Path) -> None:
    async with VectorStore(MilvusSettings(), tmp_path):
        process = lite_process(tmp_path)
        listening = [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert listening
        assert {str(c.laddr.ip).removeprefix("::ffff:") for c in listening} == {"127.0.0.1"}
    assert not process.is_running()


async def test_rows_outlive_a_restart_of_the_store(tmp_path: Path) -> None:
    async with VectorStore(MilvusSettings(), tmp_path) as store:
        await store.prepare(VERSION)
        await store.upsert([row(n) for n in range(3)])
    async with VectorStore(MilvusSettings(), tmp_path) as store:
        await store.prepare(VERSION)
        assert (await store.counts(VERSION))[Modality.TEXT] == 3
        assert await store.missing([f"{VERSION}/{row(n).key}" for n in range(3)]) == set()


async def test_one_store_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milvus_lite, "_LOCK_WAIT_S", 0.5)
    async with VectorStore(MilvusSettings(), tmp_path):
        with pytest.raises(ConfigurationError, match="another process"):
            await VectorStore(MilvusSettings(), tmp_path).start()


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from orchestrator.clients.milvus import VectorStore\n"
        "from orchestrator.settings import MilvusSettings\n"
        "async def main():\n"
        "    store = VectorStore(MilvusSettings(), Path(sys.argv[1]))\n"
        "    await store.start()\n"
        "    print(store.uri, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout is not None
    with parent.stdout:
        port = int(parent.stdout.readline().rsplit(b":", 1)[1])
        (child,) = psutil.Process(parent.pid).children()
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    psutil.wait_procs([child], timeout=30)
    assert not child.is_running()
    with socket.socket() as free:
        assert free.connect_ex(("127.0.0.1", port)) != 0
