"""Puts items into the catalogue, and takes them out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Collection, Sequence
from dataclasses import replace
from typing import Final

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential

from indexing.fields import checked_item, item_text
from indexing.locks import ItemLocks
from indexing.prepare import TEXT_INDEX, Piece, hashes_of, pieces_of
from indexing.rows import RowWriter
from indexing.settings import IndexingSettings
from indexing.stream import ordered
from indexing.targets import Target, Targets
from media import Limits, Modality
from orchestrator.clients.items import ItemStore, StoredState
from orchestrator.clients.milvus_rows import row_id, version_of
from orchestrator.errors import DependencyError, PartError, RequestError, UnavailableError
from orchestrator.types import CatalogueItem, ItemDraft, MediaInfo, Outcome, Row, UpsertOutcome

__all__ = ["Indexer"]

_DELETED_AT_ONCE: Final = 100

_log = structlog.get_logger(__name__)


class Indexer:
    """Changes of items, each in every embedding version of ``targets``: one per item store, any number of
    streams at once, on one event loop."""

    def __init__(
        self,
        targets: Targets,
        rows: RowWriter,
        items: ItemStore,
        *,
        limits: Limits,
        settings: IndexingSettings,
    ) -> None:
        self._targets = targets
        self._rows = rows
        self._items = items
        self._limits = limits
        self._settings = settings
        self._locks = ItemLocks()
        self._preparing = asyncio.Semaphore(settings.preparing)
        self._embedding = asyncio.Semaphore(settings.embeddings_in_flight)

    # ---- putting in ----

    async def upsert(self, draft: ItemDraft) -> UpsertOutcome:
        """Stores one item, in place of an earlier one of its id. A fault of the item itself is an outcome.

        An item of the same content, indexed in every embedding version, is left alone; a change of price,
        availability, category or tags alone embeds nothing. Safe to cancel.

        Raises:
            DependencyError: Triton, Milvus or the item store failed. The item is as it was before, or a
                mixture that ``Maintenance`` or the next upsert of it puts right.
        """
        async with self._locks.hold([draft.id]):
            try:
                return await self._upsert(draft)
            except RequestError as error:
                return UpsertOutcome(draft.id, Outcome.REFUSED, error=error)

    async def upsert_many(self, items: AsyncIterable[ItemDraft]) -> AsyncGenerator[UpsertOutcome]:
        """One outcome per item, in the order given, each once it is stored and searchable.

        Takes no more from ``items`` than it works on. Items of one id are stored in the order given.

        Raises:
            DependencyError: as ``upsert``, in the place of the item concerned; later items may be stored.
        """
        outcomes = ordered(
            items,
            self.upsert,
            size=lambda draft: sum(map(len, draft.media)),
            max_count=self._settings.items_in_flight,
            max_size=self._settings.bytes_in_flight,
        )
        try:
            async for outcome in outcomes:
                yield outcome
        finally:
            await outcomes.aclose()

    async def restore(self, item_id: str, versions: Collection[str] | None = None) -> None:
        """Indexes a stored item anew from its media, in ``versions`` alone if given and no change of it was
        cut short; removes the rows of one that was never stored whole.

        Raises:
            DependencyError: as ``upsert``, also where a version that is not required is all there is to do.
            RequestError: it passes the checks no more (limits may have changed).
        """
        async with self._locks.hold([item_id]):
            with self._targets.using() as targets:
                state = await self._items.state(item_id)
                if state.item is None:
                    await self._rows.delete(state.row_ids)
                    await self._items.delete(item_id)
                    return
                wanted, kept = targets, False
                if versions is not None and not state.pending:
                    wanted, kept = tuple(target for target in targets if target.version in versions), True
                await self._index_stored(state, wanted, keep_others=kept, must=True)

    async def _upsert(self, draft: ItemDraft) -> UpsertOutcome:
        item = checked_item(draft, self._limits, self._settings.max_media)
        hashes = await asyncio.to_thread(hashes_of, draft.media)
        with self._targets.using() as targets:
            state = await self._items.state(item.id)
            changed, rows = await self._put(item, draft.media, hashes, state, targets)
        # A version that came meanwhile: whoever looks for items that lack it may have looked already.
        while self._targets.now is not targets:
            with self._targets.using() as targets:
                state = await self._items.state(item.id)
                lacking = _lacking(state, targets)
                if lacking and state.item is not None:
                    await self._index_stored(state, lacking, keep_others=True)
        return UpsertOutcome(item.id, Outcome.INDEXED if changed else Outcome.UNCHANGED, rows)

    async def _put(
        self,
        item: CatalogueItem,
        media: Sequence[bytes],
        hashes: Sequence[str],
        state: StoredState,
        targets: Sequence[Target],
    ) -> tuple[bool, int]:
        """Makes the item what it is to be: whether it was not that already, and its rows in one version."""
        if not _same_content(item, hashes, state):
            return True, await self._index(item, media, hashes, state, targets)
        stored = state.item
        assert stored is not None
        item = replace(item, media=stored.media)
        lacking = _lacking(state, targets)
        if item != stored:
            await self._set_fields(item, state)
        if lacking:
            return True, await self._index(item, media, hashes, state, lacking, keep_others=True)
        version = targets[0].version
        return item != stored, sum(version_of(id_) == version for id_ in state.row_ids)

    async def _set_fields(self, item: CatalogueItem, state: StoredState) -> None:
        await self._items.begin(item.id, [])
        await self._rows.set_fields(
            state.row_ids,
            price=item.price,
            available=item.available,
            category=item.category,
            tags=item.tags,
        )
        await self._items.commit(item, state.row_ids)

    async def _index_stored(
        self, state: StoredState, wanted: Sequence[Target], *, keep_others: bool, must: bool = False
    ) -> None:
        item = state.item
        assert item is not None
        media = [await self._items.read_blob(info.sha256) for info in item.media]
        await self._index(item, media, hashes_of(media), state, wanted, keep_others=keep_others, must=must)

    async def _index(
        self,
        item: CatalogueItem,
        media: Sequence[bytes],
        hashes: Sequence[str],
        state: StoredState,
        wanted: Sequence[Target],
        *,
        keep_others: bool = False,
        must: bool = False,
    ) -> int:
        """Embeds everything in the versions ``wanted`` and stores it. The number of rows in one version.

        Rows of other versions stay if ``keep_others``, which only an unchanged content allows.
        """
        infos, pieces = await self._pieces(item, media, hashes)
        item = replace(item, media=infos)
        rows: list[Row] = []
        for target in wanted:
            try:
                rows += await self._embedded(item, pieces, target)
            except DependencyError as error:
                if target.required or must:
                    raise
                _log.warning("indexing.left_for_backfill", version=target.version, code=error.code)
                self._targets.behind.set()
        ids = [row_id(row.embedding_version, row.key) for row in rows]
        made = {target.version for target in wanted}
        kept = [id_ for id_ in state.row_ids if keep_others and version_of(id_) not in made]
        async with self._items.holding(media):
            await self._items.begin(item.id, ids)
            await self._rows.upsert(rows)
            await self._rows.delete(sorted(set(state.row_ids).difference(ids, kept)))
            await self._items.commit(item, [*kept, *ids])
        return len(pieces)

    async def _pieces(
        self, item: CatalogueItem, media: Sequence[bytes], hashes: Sequence[str]
    ) -> tuple[tuple[MediaInfo, ...], list[Piece]]:
        infos: list[MediaInfo] = []
        pieces: list[Piece] = []
        if text := item_text(item):
            pieces.append(Piece(Modality.TEXT, TEXT_INDEX, 0, 0.0, 0.0, text))
        for index, (data, sha256) in enumerate(zip(media, hashes, strict=True)):
            async with self._preparing:
                info, found = await asyncio.to_thread(pieces_of, index, data, sha256, self._limits)
            infos.append(info)
            pieces += found
        return tuple(infos), pieces

    async def _embedded(self, item: CatalogueItem, pieces: Sequence[Piece], target: Target) -> list[Row]:
        tasks = [asyncio.create_task(self._row(item, piece, target)) for piece in pieces]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _row(self, item: CatalogueItem, piece: Piece, target: Target) -> Row:
        # A server that restarts is back within seconds: an item is not worth less than that wait. It is where
        # it can be caught up with later.
        retry_s = self._settings.retry_s if target.required else 0.0
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(UnavailableError),
            stop=stop_after_delay(retry_s),
            wait=wait_exponential(0.1, max=2.0),
            reraise=True,
        ):
            with attempt:
                async with self._embedding:
                    try:
                        embedding = await target.encoder.embed(
                            piece.modality, piece.data, self._settings.embed_s
                        )
                    except PartError as error:
                        if piece.media_index == TEXT_INDEX:
                            raise
                        raise error.at(piece.media_index) from error
        return Row(
            item_id=item.id,
            modality=piece.modality,
            media_index=piece.media_index,
            segment=piece.segment,
            start_s=piece.start_s,
            end_s=piece.end_s,
            embedding=embedding,
            embedding_version=target.version,
            price=item.price,
            available=item.available,
            category=item.category,
            tags=item.tags,
        )

    # ---- taking out ----

    async def delete(self, ids: Sequence[str]) -> tuple[int, int]:
        """Hides items from search and forgets them. Numbers of items deleted and of ids that were unknown.

        Their rows are marked, which is quick and leaves no index to rebuild; ``compact`` removes them.
        """
        wanted = list(dict.fromkeys(ids))
        deleted = 0
        for start in range(0, len(wanted), _DELETED_AT_ONCE):
            some = wanted[start : start + _DELETED_AT_ONCE]
            async with self._locks.hold(some):
                states = {item_id: await self._items.state(item_id) for item_id in some}
                known = [id_ for id_, state in states.items() if state.item is not None or state.pending]
                for item_id in known:
                    await self._items.begin(item_id, [])
                if known:
                    await self._rows.mark_deleted(known)
                for item_id in known:
                    await self._items.delete(item_id)
                deleted += sum(state.item is not None for state in states.values())
        return deleted, len(wanted) - deleted

    async def compact(self) -> int:
        """Removes rows marked deleted, save those that an item has got again. The number of rows removed."""
        removed = 0
        for item_id, ids in (await self._rows.deleted_rows()).items():
            async with self._locks.hold([item_id]):
                gone = sorted(set(ids).difference((await self._items.state(item_id)).row_ids))
                await self._rows.delete(gone)
                removed += len(gone)
        return removed


def _same_content(item: CatalogueItem, hashes: Sequence[str], state: StoredState) -> bool:
    """Whether what is embedded is what the stored item has, and Milvus is known to have it."""
    stored = state.item
    return (
        stored is not None
        and not state.pending
        and (item.title, item.description) == (stored.title, stored.description)
        and tuple(hashes) == tuple(info.sha256 for info in stored.media)
    )


def _lacking(state: StoredState, targets: Sequence[Target]) -> list[Target]:
    there = set(map(version_of, state.row_ids))
    return [target for target in targets if target.version not in there]
