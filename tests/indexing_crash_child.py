"""Indexes a generated catalogue on Milvus Lite and prints the id of each item that was answered.

``python indexing_crash_child.py HOME COUNT``: run, and killed, by ``integration/test_indexing_crash.py``.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from indexing_support import VERSION, HashEncoder, draft, make_indexer, make_maintenance

from orchestrator.clients.items import ItemStore
from orchestrator.clients.milvus import VectorStore
from orchestrator.settings import MilvusSettings
from orchestrator.types import ItemDraft


async def drafts(count: int) -> AsyncIterator[ItemDraft]:
    for number in range(count):
        yield draft(number)


async def main(home: Path, count: int) -> None:
    async with VectorStore(MilvusSettings(), home) as rows, ItemStore(home / "data") as items:
        await rows.prepare(VERSION)
        indexer = make_indexer(HashEncoder(delay_s=0.002), rows, items)
        tending = make_maintenance(indexer, rows, items)
        tending.start()
        async for outcome in indexer.upsert_many(drafts(count)):
            print(outcome.id, outcome.outcome, flush=True)
        await tending.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
