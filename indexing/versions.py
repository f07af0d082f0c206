"""What becomes of the rows when embedding versions come and go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import structlog

from indexing.backfill import Progress
from indexing.maintenance import Maintenance
from indexing.targets import Target, Targets
from orchestrator.clients.items import ItemStore
from orchestrator.errors import SchemaMismatchError
from orchestrator.ports import Encoder

__all__ = ["EmbeddingVersions"]

_log = structlog.get_logger(__name__)


class _Collections(Protocol):
    """``orchestrator.clients.milvus.VectorStore``, as far as it is used here; see there."""

    async def prepare(self, embedding_version: str) -> None: ...

    async def drop(self, embedding_version: str) -> None: ...

    async def point(self, embedding_version: str) -> None: ...


class EmbeddingVersions:
    """The collections, the item store's notes of them, and who writes to them, kept in step."""

    def __init__(
        self, store: _Collections, items: ItemStore, targets: Targets, maintenance: Maintenance
    ) -> None:
        self._store = store
        self._items = items
        self._targets = targets
        self._maintenance = maintenance

    async def open(self, version: str) -> None:
        """Its collections are there afterwards.

        Raises:
            DependencyError, SchemaMismatchError: see ``VectorStore.prepare``.
        """
        await self._store.prepare(version)

    async def open_all(self, current: str) -> None:
        """At the start: that version, and all of which there are rows, so that every change reaches them.

        Raises:
            DependencyError, SchemaMismatchError: as ``open``, for ``current``; another is passed over if its
                collections are not what they should be.
        """
        await self.open(current)
        for version in sorted(await self._items.versions() - {current}):
            try:
                await self.open(version)
            except SchemaMismatchError as error:
                _log.warning("indexing.version_not_opened", version=version, reason=error.message)

    def write(self, encoders: Mapping[str, Encoder], required: str) -> None:
        """From now on items are indexed in these versions, and cannot do without ``required``."""
        known = {(target.version, target.encoder, target.required): target for target in self._targets.now}
        wanted = [(version, encoder, version == required) for version, encoder in encoders.items()]
        targets = [known.get(each) or Target(*each) for each in wanted]
        if tuple(targets) != self._targets.now:
            self._targets.change(*targets)

    async def settled(self) -> None:
        """Returns when no change of an item goes by what was written to before."""
        await self._targets.settled()

    async def drop(self, version: str) -> None:
        """Removes its collections and what is known of them; safe to repeat.

        Raises:
            DependencyError: Milvus or the item store failed.
        """
        # The notes go last: as long as they are there the next start does again what a crash cut short.
        await self._store.drop(version)
        await self._items.forget_version(version)
        self._maintenance.forget(version)

    async def drop_all_but(self, *versions: str) -> None:
        """Removes what versions that are not served any more have left behind.

        Raises:
            DependencyError: Milvus or the item store failed.
        """
        for version in await self._items.versions() - set(versions):
            await self.drop(version)

    async def point(self, version: str) -> None:
        """Lets the aliases stand for its collections.

        Raises:
            DependencyError: Milvus failed.
        """
        await self._store.point(version)

    def progress(self) -> Mapping[str, Progress]:
        """How far each version is filled."""
        return self._maintenance.progress()
