"""Indexes a generated catalogue on Milvus Lite, then fills another embedding version and says how far it is.

``python backfill_crash_child.py HOME COUNT``: run, and killed, by ``integration/test_backfill_crash.py``.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from indexing_support import VERSION, HashEncoder, MirroredEncoder, draft, make_indexer, make_maintenance

from indexing import EmbeddingVersions
from orchestrator.clients.items import ItemStore
from orchestrator.clients.milvus import VectorStore
from orchestrator.settings import MilvusSettings

NEW = "test-2"


async def main(home: Path, count: int) -> None:
    async with VectorStore(MilvusSettings(), home) as rows, ItemStore(home / "data") as items:
        old, new = HashEncoder(), MirroredEncoder(delay_s=0.005)
        indexer = make_indexer(old, rows, items)
        tending = make_maintenance(indexer, rows, items)
        versions = EmbeddingVersions(rows, items, indexer._targets, tending)
        await versions.open_all(VERSION)
        await versions.open(NEW)
        for number in range(count):
            await indexer.upsert(draft(number))
        versions.write({VERSION: old, NEW: new}, required=VERSION)
        tending.start()
        done = 0
        while done < count:
            progress = versions.progress().get(NEW)
            if progress is not None and progress.done > done:
                done = progress.done
                print(done, flush=True)
            await asyncio.sleep(0.002)
        await tending.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
