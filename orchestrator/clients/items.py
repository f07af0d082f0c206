"""Items, their media and their state of indexing, on local disk.

``items.sqlite`` holds the fields (SQLite, write-ahead log), ``blobs/<sha256>`` the media as they were sent. A
blob is written whole, under another name, before an item refers to it, and removed after the last such item
has gone; what a crash leaves over is swept away at the next start.

One process has the store open at a time. Every failure of disk or database is a ``DependencyError``.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, TypeVar

from orchestrator.clients.items_db import ItemsDb, StoredState
from orchestrator.errors import ConfigurationError, DependencyError, UnavailableError
from orchestrator.types import CatalogueItem

__all__ = ["ItemStore", "StoredState"]

_NAME: Final = "item store"
_PART: Final = ".part-"
T = TypeVar("T")


class ItemStore:
    """The store below ``directory`` (``data`` in the home); on one event loop from ``start`` to ``close``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._blobs = directory / "blobs"
        # One thread for changes and one for reads: a search does not wait for a change to reach the disk.
        self._writer = ThreadPoolExecutor(1, "items-write")
        self._reader = ThreadPoolExecutor(1, "items-read")
        self._write_db: ItemsDb | None = None
        self._read_db: ItemsDb | None = None
        self._lock_file: IO[bytes] | None = None
        self._held: Counter[str] = Counter()
        self._changes = 0
        self.changed: Callable[[], None] = lambda: None
        """Told on the event loop that an item, and with it what searches find, is not what it was."""
        self._phrases: tuple[int, int, list[str]] = (-1, 0, [])
        self.crashed = False
        """Whether the process that had the store before did not close it; known once started. Set it to False
        when Milvus was brought to agree: until then a close leaves the mark for the next start."""

    async def start(self) -> None:
        """Opens or creates the store.

        Raises:
            ConfigurationError: another process has it open, or it is of another version of Sensorium.
        """
        try:
            await _run(self._writer, self._open)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Ends what is under way and closes. May be called at any time, and again."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._shut)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ---- reading ----

    async def get(self, item_id: str) -> CatalogueItem | None:
        """The stored item, or None."""
        return (await self.get_many([item_id])).get(item_id)

    async def get_many(self, ids: Sequence[str]) -> Mapping[str, CatalogueItem]:
        """The stored items among ``ids``."""
        return await self._read(lambda db: db.items(ids))

    async def state(self, item_id: str) -> StoredState:
        """What is known of an item and its rows in Milvus."""
        return await self._read(lambda db: db.state(item_id))

    async def count(self) -> int:
        """Number of stored items."""
        return await self._read(lambda db: db.count())

    async def row_count(self, embedding_version: str) -> int:
        """Number of rows of that version that Milvus should have."""
        return await self._read(lambda db: db.row_count(embedding_version))

    async def versions(self) -> set[str]:
        """The embedding versions of which Milvus has rows."""
        return await self._read(lambda db: db.versions())

    async def pending(self) -> list[str]:
        """Ids of items of which a change was begun and not ended."""
        return await self._read(lambda db: db.pending())

    async def lacking(self, embedding_version: str, after: str = "", limit: int = 500) -> list[str]:
        """The next ids, in order behind ``after``, of items that are not indexed in that version."""
        return await self._read(lambda db: db.lacking(embedding_version, after, limit))

    async def lacking_count(self, embedding_version: str) -> int:
        """Number of items that are not indexed in that version."""
        return await self._read(lambda db: db.lacking_count(embedding_version))

    async def ids(self, page: int = 500) -> AsyncIterator[str]:
        """All ids in order, read in pages."""
        after = ""
        while found := await self._read(lambda db, after=after: db.ids(after, page)):  # type: ignore[misc]
            for item_id in found:
                yield item_id
            after = found[-1]

    async def vocabulary(self, limit: int) -> Sequence[str]:
        """At most ``limit`` shared tags and titles; computed anew only after a change."""
        changes, size, phrases = self._phrases
        if changes != self._changes or size != limit:
            changes = self._changes
            phrases = await self._read(lambda db: db.phrases(limit))
            self._phrases = (changes, limit, phrases)
        return phrases

    def blob_path(self, sha256: str) -> Path:
        """Where the bytes of a media file are, whether or not they exist."""
        return self._blobs / sha256

    # ---- writing ----

    @asynccontextmanager
    async def holding(self, blobs: Sequence[bytes]) -> AsyncIterator[list[str]]:
        """Stores blobs and keeps them, whatever else happens, until the block ends. Their hashes, in order.

        Blobs that no item has by then are removed.
        """
        hashes = await self._write(lambda _: [self._put(data) for data in blobs])
        try:
            yield hashes
        finally:
            await asyncio.shield(self._write(lambda db: self._release(db, hashes)))

    async def read_blob(self, sha256: str) -> bytes:
        """The bytes of a stored media file."""
        return await self._read(lambda _: self.blob_path(sha256).read_bytes())

    async def begin(self, item_id: str, row_ids: Sequence[str]) -> None:
        """Notes, before Milvus is touched, that an item changes and which rows may come there for it."""
        await self._write(lambda db: db.begin(item_id, row_ids))

    async def commit(self, item: CatalogueItem, row_ids: Sequence[str]) -> None:
        """Stores an item whose rows in Milvus are exactly those of ``row_ids`` that ``begin`` noted, and ends
        the note."""

        def work(db: ItemsDb) -> None:
            self._remove_unused(db, db.commit(item, row_ids))

        await self._change(work)

    async def delete(self, item_id: str) -> None:
        """Forgets an item, its rows, its blobs that no other item has, and what ``begin`` noted."""
        await self._change(lambda db: self._remove_unused(db, db.erase(item_id)))

    async def forget_version(self, embedding_version: str) -> None:
        """Forgets the rows of an embedding version whose collections are gone."""
        await self._write(lambda db: db.forget_version(embedding_version))

    # ---- blobs (writer thread) ----

    def _put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        self._held[sha256] += 1
        path = self.blob_path(sha256)
        if not path.exists():
            _write_file(path, data)
        return sha256

    def _release(self, db: ItemsDb, hashes: Sequence[str]) -> None:
        self._held -= Counter(hashes)
        self._remove_unused(db, hashes)

    def _remove_unused(self, db: ItemsDb, hashes: Sequence[str]) -> None:
        for sha256 in db.unused(hashes):
            if sha256 not in self._held:
                self.blob_path(sha256).unlink(missing_ok=True)

    def _sweep(self, db: ItemsDb) -> None:
        known = db.hashes()
        for path in self._blobs.iterdir():
            if path.name not in known:
                path.unlink()

    # ---- threads ----

    def _open(self) -> None:
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._lock_file = (self._directory / "items.lock").open("wb")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"another process has the item store in {self._directory} open: stop it or set SENSORIUM_HOME"
            ) from error
        path = self._directory / "items.sqlite"
        try:
            self._write_db = ItemsDb(path)
            self._read_db = ItemsDb(path)
        except ValueError as error:
            raise ConfigurationError(f"{path} is of another version of Sensorium: {error}") from error
        self._sweep(self._write_db)
        self.crashed = self._write_db.mark_open()

    def _shut(self) -> None:
        self._writer.shutdown(wait=True)
        self._reader.shutdown(wait=True)
        read_db, self._read_db = self._read_db, None
        write_db, self._write_db = self._write_db, None
        if read_db is not None:
            read_db.close()
        if write_db is not None:
            if not self.crashed:
                write_db.mark_closed()
            write_db.close()
        lock_file, self._lock_file = self._lock_file, None
        if lock_file is not None:
            lock_file.close()

    async def _read(self, work: Callable[[ItemsDb], T]) -> T:
        return await _run(self._reader, lambda: work(_opened(self._read_db)))

    async def _write(self, work: Callable[[ItemsDb], T]) -> T:
        return await _run(self._writer, lambda: work(_opened(self._write_db)))

    async def _change(self, work: Callable[[ItemsDb], T]) -> T:
        loop = asyncio.get_running_loop()

        def noted(db: ItemsDb) -> T:
            try:
                return work(db)
            finally:
                # From the thread: who asked may have left. Also when it failed: its rows have changed before.
                loop.call_soon_threadsafe(self._note)

        return await self._write(noted)

    def _note(self) -> None:
        self._changes += 1
        self.changed()


def _opened(db: ItemsDb | None) -> ItemsDb:
    if db is None:
        raise UnavailableError(_NAME, "the item store is not open")
    return db


async def _run(thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, work)
    except (sqlite3.Error, OSError) as error:
        raise DependencyError(_NAME, "the item store failed") from error
    except RuntimeError as error:  # the thread takes nothing after `close`
        raise UnavailableError(_NAME, "the item store is closed") from error


def _write_file(path: Path, data: bytes) -> None:
    """Whole or not at all, whenever the power fails."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=_PART, delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
