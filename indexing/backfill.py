"""Fills an embedding version that not every item is indexed in, beside the searches.

It works on one item at a time and rests after each for as long as its share of the time says: where the
machine is busy an item takes longer, and so does the rest. What is done stands in the item store, so that it
goes on after a crash where it was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from indexing.indexer import Indexer
from indexing.targets import Target, Targets
from orchestrator.clients.items import ItemStore
from orchestrator.errors import DependencyError, SensoriumError

__all__ = ["Backfill", "Progress"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``total`` items have rows of a version; ``failed`` are refused by the checks of today.

    ``rate`` is items per second since the backfill began, 0 before; ``eta_s`` what is left at that rate.
    """

    total: int
    done: int
    failed: int
    rate: float

    @property
    def complete(self) -> bool:
        """Whether all is done that can be."""
        return self.done + self.failed >= self.total

    @property
    def eta_s(self) -> float | None:
        """Seconds until it is complete, None while there is no rate."""
        return (self.total - self.done - self.failed) / self.rate if self.rate else None


@dataclass(slots=True)
class _Run:
    """What is known of one version."""

    progress: Progress | None = None
    failed: set[str] = field(default_factory=set)
    begun_s: float = 0.0
    made: int = 0


class Backfill:
    """``share`` of the time, 0 to 1, goes into it."""

    def __init__(self, indexer: Indexer, items: ItemStore, targets: Targets, share: float) -> None:
        self._indexer = indexer
        self._items = items
        self._targets = targets
        self._rest = (1.0 - share) / share
        self._runs: dict[str, _Run] = {}

    def progress(self) -> Mapping[str, Progress]:
        """By version; a version that was not looked at yet is missing."""
        return {version: run.progress for version, run in self._runs.items() if run.progress is not None}

    def forget(self, version: str) -> None:
        """Of a version that is gone; should it come again it begins anew."""
        self._runs.pop(version, None)

    async def run(self) -> None:
        """Fills every version that is written to, until each is complete.

        Raises:
            DependencyError: Triton, Milvus or the item store failed; call it again.
        """
        for target in self._targets.now:
            await self._fill(target)

    async def _fill(self, target: Target) -> None:
        run = self._runs.setdefault(target.version, _Run())
        total, lacking = await self._items.count(), await self._items.lacking_count(target.version)
        run.progress = Progress(total, total - lacking, min(len(run.failed), lacking), 0.0)
        if run.progress.complete:
            return
        _log.info("indexing.backfill", version=target.version, items=lacking)
        run.begun_s, run.made = time.monotonic(), 0
        after = ""
        while ids := await self._items.lacking(target.version, after):
            for item_id in ids:
                if target not in self._targets.now:
                    return
                if item_id not in run.failed:
                    await self._one(item_id, target, run)
            after = ids[-1]
        total, lacking = await self._items.count(), await self._items.lacking_count(target.version)
        # What came in meanwhile was written to this version as well.
        run.progress = Progress(total, total - lacking, min(len(run.failed), lacking), _rate(run))
        _log.info("indexing.backfilled", version=target.version, failed=len(run.failed))

    async def _one(self, item_id: str, target: Target, run: _Run) -> None:
        began_s = time.monotonic()
        progress = run.progress
        assert progress is not None
        try:
            await self._indexer.restore(item_id, {target.version})
            run.made += 1
            progress = Progress(progress.total, progress.done + 1, progress.failed, _rate(run))
        except DependencyError:
            raise
        except SensoriumError as error:
            # Its content is refused today: it says so here, rather than stop the others.
            _log.warning("indexing.not_backfilled", item=item_id, code=error.code)
            run.failed.add(item_id)
            progress = Progress(progress.total, progress.done, progress.failed + 1, _rate(run))
        run.progress = progress
        await asyncio.sleep((time.monotonic() - began_s) * self._rest)


def _rate(run: _Run) -> float:
    return run.made / max(time.monotonic() - run.begun_s, 1e-3)
