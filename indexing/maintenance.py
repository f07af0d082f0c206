"""What runs beside the changes: after a start it puts right what a crash or another embedding version left
behind, and after deletions it removes the rows that they marked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import structlog

from indexing.indexer import Indexer
from indexing.rows import RowWriter
from indexing.stream import ordered
from orchestrator.clients.items import ItemStore
from orchestrator.errors import DependencyError, SensoriumError

__all__ = ["Maintenance"]

_AT_ONCE: Final = 8
_FIRST_PAUSE_S: Final = 1.0
_LAST_PAUSE_S: Final = 60.0

_log = structlog.get_logger(__name__)


class Maintenance:
    """``start`` it once the stores are open; ``close`` it before they are."""

    def __init__(
        self,
        indexer: Indexer,
        rows: RowWriter,
        items: ItemStore,
        *,
        embedding_version: str,
        compact_every_s: float,
    ) -> None:
        self._indexer = indexer
        self._rows = rows
        self._items = items
        self._version = embedding_version
        self._compact_every_s = compact_every_s
        self._task: asyncio.Task[None] | None = None
        self._doubtful = asyncio.Event()

    def start(self) -> None:
        """Begins in the background: searches and changes need not wait for it."""
        self._task = asyncio.create_task(self._run())

    def verify(self) -> None:
        """Soon looks for each row, as after a crash: Milvus may have lost some."""
        self._doubtful.set()

    async def close(self) -> None:
        """Stops it; what was not done is done after the next start."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def recover(self) -> int:
        """Brings Milvus and the item store to agree. The number of items indexed anew or removed.

        Concerned are items whose change was begun and not ended; items of another embedding version; and,
        after a crash, when ``verify`` was called, or when Milvus has another number of rows than it should,
        items of which a row is missing.

        Raises:
            DependencyError: Triton, Milvus or the item store failed; call it again.
        """
        doubtful = self._doubtful.is_set()
        self._doubtful.clear()
        try:
            return await self._recover(doubtful or self._items.crashed)
        except SensoriumError:
            if doubtful:
                self._doubtful.set()
            raise

    async def _recover(self, doubtful: bool) -> int:
        wanted = dict.fromkeys(await self._items.pending())
        wanted.update(dict.fromkeys(await self._items.outdated(self._version)))
        rows = sum((await self._rows.counts()).values())
        if doubtful or rows != await self._items.row_count():
            async for item_id in self._items.ids():
                if await self._rows.missing((await self._items.state(item_id)).row_ids):
                    wanted[item_id] = None
        if wanted:
            _log.info("indexing.recovering", items=len(wanted))
        async for _ in ordered(
            _each(list(wanted)), self._restore, size=lambda _: 1, max_count=_AT_ONCE, max_size=_AT_ONCE
        ):
            pass
        self._items.crashed = False
        return len(wanted)

    async def _restore(self, item_id: str) -> None:
        try:
            await self._indexer.restore(item_id)
        except DependencyError:
            raise
        except SensoriumError as error:
            # Its content is refused today: it stays as it is, and says so here, rather than stop the others.
            _log.warning("indexing.not_recovered", item=item_id, code=error.code)

    async def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        recovered = False
        while True:
            try:
                if not recovered or self._doubtful.is_set():
                    await self.recover()
                    recovered = True
                removed = await self._indexer.compact()
                if removed:
                    _log.info("indexing.compacted", rows=removed)
                pause_s = _FIRST_PAUSE_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._compact_every_s):
                        await self._doubtful.wait()
            except SensoriumError as error:
                _log.warning("indexing.maintenance_failed", code=error.code, again_in_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LAST_PAUSE_S)


async def _each(ids: list[str]) -> AsyncIterator[str]:
    for item_id in ids:
        yield item_id
