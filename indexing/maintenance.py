"""What runs beside the changes: after a start it puts right what a crash or another embedding version left
behind, fills embedding versions that are new, and after deletions removes the rows that they marked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final, TypeVar

import structlog

from indexing.backfill import Backfill, Progress
from indexing.indexer import Indexer
from indexing.rows import RowWriter
from indexing.stream import ordered
from indexing.targets import Targets
from orchestrator.clients.items import ItemStore
from orchestrator.clients.milvus_rows import version_of
from orchestrator.errors import DependencyError, SensoriumError

__all__ = ["Maintenance"]

_AT_ONCE: Final = 8
_FIRST_PAUSE_S: Final = 1.0
_LAST_PAUSE_S: Final = 60.0

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Maintenance:
    """``start`` it once the stores are open; ``close`` it before they are."""

    def __init__(
        self,
        indexer: Indexer,
        rows: RowWriter,
        items: ItemStore,
        targets: Targets,
        *,
        compact_every_s: float,
        backfill_share: float,
    ) -> None:
        self._indexer = indexer
        self._rows = rows
        self._items = items
        self._targets = targets
        self._compact_every_s = compact_every_s
        self._backfill = Backfill(indexer, items, targets, backfill_share)
        self._task: asyncio.Task[None] | None = None
        self._crashed = False
        self._verified: set[str] = set()
        self._doubtful = asyncio.Event()

    def progress(self) -> Mapping[str, Progress]:
        """How far each embedding version that is written to is filled."""
        return self._backfill.progress()

    def forget(self, version: str) -> None:
        """Of an embedding version that is gone."""
        self._backfill.forget(version)
        self._verified.discard(version)

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

        Concerned are items whose change was begun and not ended; items that are not indexed in an embedding
        version that is required, for nothing finds them; and, after a crash, when ``verify`` was called, or
        when Milvus has another number of rows than it should, items of which a row is missing.

        Raises:
            DependencyError: Triton, Milvus or the item store failed; call it again.
        """
        targets = self._targets.now
        wanted: dict[str, set[str]] = {}
        for item_id in await self._items.pending():
            wanted[item_id] = {target.version for target in targets}
        for target in targets:
            if target.required:
                async for item_id in self._lacking(target.version):
                    wanted.setdefault(item_id, set()).add(target.version)
        self._crashed = self._crashed or self._items.crashed
        for target in targets:
            async for item_id in self._damaged(target.version):
                wanted.setdefault(item_id, set()).add(target.version)
        await self._restore_all(wanted)
        self._verified.update(target.version for target in targets)
        self._items.crashed = False
        return len(wanted)

    async def _restore_all(self, wanted: Mapping[str, set[str]]) -> None:
        if wanted:
            _log.info("indexing.recovering", items=len(wanted))
        async for _ in ordered(
            _each(list(wanted.items())),
            lambda entry: self._restore(*entry),
            size=lambda _: 1,
            max_count=_AT_ONCE,
            max_size=_AT_ONCE,
        ):
            pass

    async def _damaged(self, version: str) -> AsyncIterator[str]:
        """Items of which a row of that version is missing; looked for where there is reason to."""
        rows = sum((await self._rows.counts(version)).values())
        if not self._crashed and rows == await self._items.row_count(version):
            return
        async for item_id in self._items.ids():
            row_ids = (await self._items.state(item_id)).row_ids
            if await self._rows.missing([id_ for id_ in row_ids if version_of(id_) == version]):
                yield item_id

    async def _catch_up(self) -> None:
        """Versions that came after the start: what they lack, and what a crash took from them."""
        for target in self._targets.now:
            if target.version not in self._verified:
                damaged = [item_id async for item_id in self._damaged(target.version)]
                await self._restore_all({item_id: {target.version} for item_id in damaged})
                self._verified.add(target.version)
        await self._backfill.run()

    async def _lacking(self, version: str) -> AsyncIterator[str]:
        after = ""
        while ids := await self._items.lacking(version, after):
            for item_id in ids:
                yield item_id
            after = ids[-1]

    async def _restore(self, item_id: str, versions: set[str]) -> None:
        try:
            await self._indexer.restore(item_id, versions)
        except DependencyError:
            raise
        except SensoriumError as error:
            # Its content is refused today: it stays as it is, and says so here, rather than stop the others.
            _log.warning("indexing.not_recovered", item=item_id, code=error.code)

    async def _run(self) -> None:
        await self._again(self.recover)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._compact())
            tasks.create_task(self._fill())
            tasks.create_task(self._verify())

    async def _verify(self) -> None:
        while True:
            await self._doubtful.wait()
            self._doubtful.clear()
            self._crashed = True
            await self._again(self.recover)

    async def _compact(self) -> None:
        while True:
            removed = await self._again(self._indexer.compact)
            if removed:
                _log.info("indexing.compacted", rows=removed)
            await asyncio.sleep(self._compact_every_s)

    async def _fill(self) -> None:
        while True:
            self._targets.behind.clear()
            await self._again(self._catch_up)
            await self._targets.behind.wait()

    async def _again(self, work: Callable[[], Awaitable[T]]) -> T:
        """What comes of ``work``, which is done again after a failure, less and less often."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await work()
            except SensoriumError as error:
                _log.warning("indexing.maintenance_failed", code=error.code, again_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)


async def _each(values: list[T]) -> AsyncIterator[T]:
    for value in values:
        yield value
