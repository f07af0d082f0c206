"""Two embedding versions at once: every change in both, one filled beside the other, neither half done."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from indexing_support import HashEncoder, MemoryRows, MirroredEncoder, draft, make_indexer, make_maintenance

from indexing import EmbeddingVersions, Target
from indexing.backfill import Backfill
from orchestrator.clients.items import ItemStore
from orchestrator.clients.milvus_rows import key_of
from orchestrator.errors import DependencyError, PartError, UnavailableError
from orchestrator.types import Outcome


@pytest.fixture
def rows() -> MemoryRows:
    return MemoryRows()


@pytest.fixture
async def items(tmp_path: Path) -> AsyncIterator[ItemStore]:
    async with ItemStore(tmp_path) as store:
        yield store


OLD, NEW = "old-1", "new-1"


class Both:
    """An indexer that writes to OLD, and to NEW once told so."""

    def __init__(self, rows: MemoryRows, items: ItemStore) -> None:
        self.old, self.new = Target(OLD, HashEncoder()), Target(NEW, MirroredEncoder(), required=False)
        self.indexer = make_indexer(HashEncoder(), rows, items, version=OLD)
        self.targets = self.indexer._targets
        self.targets.change(self.old)
        self.rows, self.items = rows, items

    def begin(self) -> None:
        self.targets.change(self.old, self.new)

    def backfill(self, share: float = 1.0) -> Backfill:
        return Backfill(self.indexer, self.items, self.targets, share)

    async def check(self, *item_ids: str) -> None:
        """Both versions have the same rows, of what is stored now, and the notes say so."""
        for version in (OLD, NEW):
            noted = [
                id_
                for item in item_ids
                for id_ in (await self.items.state(item)).row_ids
                if id_.startswith(version)
            ]
            assert sorted(noted) == self.rows.of_version(version)
        old, new = (self.rows.of_version(version) for version in (OLD, NEW))
        assert list(map(key_of, old)) == list(map(key_of, new))
        for one, other in zip(old, new, strict=True):
            mine, theirs = self.rows.rows[one], self.rows.rows[other]
            assert (mine.embedding.unified == theirs.embedding.unified * -1).all(), "of another content"
            assert replace(mine, embedding=theirs.embedding, embedding_version=NEW) == theirs


@pytest.fixture
def both(rows: MemoryRows, items: ItemStore) -> Both:
    return Both(rows, items)


async def test_every_change_reaches_both(both: Both, rows: MemoryRows) -> None:
    both.begin()
    assert (await both.indexer.upsert(draft(3))).rows == 3
    await both.check("item.0003")
    assert (await both.indexer.upsert(draft(3))).outcome is Outcome.UNCHANGED
    await both.indexer.upsert(draft(3, price=9.5, tags=("other",)))
    await both.check("item.0003")
    assert {row.price for row in rows.rows.values()} == {9.5}
    await both.indexer.upsert(draft(3, title="Other", media=()))
    await both.check("item.0003")
    assert await both.indexer.delete(["item.0003"]) == (1, 0)
    assert not rows.of("item.0003")
    await both.indexer.compact()
    assert not rows.rows


async def test_a_backfill_embeds_only_what_is_lacking(both: Both) -> None:
    for number in range(6):
        await both.indexer.upsert(draft(number))
    both.begin()
    await both.indexer.upsert(draft(6))
    calls = both.old.encoder.calls  # type: ignore[attr-defined]
    backfill = both.backfill()
    await backfill.run()
    assert both.old.encoder.calls == calls  # type: ignore[attr-defined]
    await both.check(*(f"item.{n:04d}" for n in range(7)))
    progress = backfill.progress()[NEW]
    assert (progress.total, progress.done, progress.failed, progress.complete) == (7, 7, 0, True)
    assert progress.rate > 0


async def test_changes_during_a_backfill_are_in_both_at_its_end(both: Both) -> None:
    for number in range(12):
        await both.indexer.upsert(draft(number))
    both.new.encoder.delay_s = 0.003  # type: ignore[attr-defined]
    both.begin()
    task = asyncio.create_task(both.backfill().run())
    await asyncio.sleep(0.02)
    await both.indexer.upsert(draft(1, title="Changed"))
    await both.indexer.upsert(draft(11, price=1.5))
    await both.indexer.delete(["item.0010", "item.0000"])
    await both.indexer.upsert(draft(20))
    await both.indexer.upsert(draft(10, title="Back"))
    await task
    await both.indexer.compact()
    await both.check(*(f"item.{n:04d}" for n in [*range(1, 12), 20]))


async def test_a_change_that_began_before_is_completed(both: Both) -> None:
    """It knew of one version when it began; the backfill may have looked before its end."""
    both.old.encoder.delay_s = 0.05  # type: ignore[attr-defined]
    task = asyncio.create_task(both.indexer.upsert(draft(1)))
    await asyncio.sleep(0.02)
    both.begin()
    await both.backfill().run()
    await task
    await both.check("item.0001")


async def test_what_is_not_required_does_not_stop_a_change(both: Both, rows: MemoryRows) -> None:
    both.begin()
    await both.indexer.upsert(draft(1))
    both.targets.behind.clear()
    new = both.new.encoder
    assert isinstance(new, MirroredEncoder)
    new.fail[b"Other"] = [UnavailableError("triton", "no such model")] * 2
    outcome = await both.indexer.upsert(draft(1, title="Other"))
    assert outcome.outcome is Outcome.INDEXED
    assert rows.of_version(OLD)
    assert not rows.of_version(NEW), "rows of what the item was before"
    assert both.targets.behind.is_set()
    backfill = both.backfill()
    with pytest.raises(DependencyError):
        await backfill.run()
    assert not backfill.progress()[NEW].complete
    await backfill.run()
    await both.check("item.0001")


async def test_what_is_required_does(both: Both, rows: MemoryRows) -> None:
    both.begin()
    old = both.old.encoder
    assert isinstance(old, HashEncoder)
    old.fail[b"Thing"] = [DependencyError("triton", "broken")]
    with pytest.raises(DependencyError):
        await both.indexer.upsert(draft(1))
    assert not rows.rows


async def test_a_refused_item_does_not_hold_up_the_others(both: Both) -> None:
    for number in range(4):
        await both.indexer.upsert(draft(number))
    new = both.new.encoder
    assert isinstance(new, MirroredEncoder)
    new.fail[b"Thing 2"] = [PartError("text.too_long", "too long")] * 9
    both.begin()
    backfill = both.backfill()
    await backfill.run()
    await backfill.run()
    progress = backfill.progress()[NEW]
    assert (progress.done, progress.failed, progress.complete) == (3, 1, True)
    await both.indexer.delete(["item.0002"])
    await both.indexer.compact()
    await backfill.run()
    assert backfill.progress()[NEW].failed == 0
    await both.check("item.0000", "item.0001", "item.0003")


@pytest.mark.parametrize("step", ["upsert", "delete"])
@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_crash_in_the_middle(
    both: Both, rows: MemoryRows, items: ItemStore, step: str, after: int
) -> None:
    """Cut short between any two steps, and begun again by another process, it ends as if nothing had been."""
    for number in range(6):
        await both.indexer.upsert(draft(number))
    both.begin()
    rows.fail_at[step] = after
    with suppress(DependencyError):
        await both.backfill().run()
    again = Both(rows, items)
    again.begin()
    tending = make_maintenance(again.indexer, rows, items)
    await tending.recover()
    await again.backfill().run()
    await again.check(*(f"item.{n:04d}" for n in range(6)))
    assert await items.pending() == []


async def test_it_rests_as_long_as_it_works(both: Both) -> None:
    for number in range(5):
        await both.indexer.upsert(draft(number))
    both.new.encoder.delay_s = 0.01  # type: ignore[attr-defined]
    both.begin()
    slept: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float, result: None = None) -> None:
        slept.append(seconds)
        await sleep(0 if seconds > 0.01 else seconds)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("indexing.backfill.asyncio.sleep", noted)
        await both.backfill(share=0.25).run()
    rests = [seconds for seconds in slept if seconds > 0.01]
    assert len(rests) == 5
    assert min(rests) > 0.03, "three times the 10 ms of an item at least"


class Collections:
    """Notes what is asked of the vector store; a version that is dropped loses its rows."""

    def __init__(self, rows: MemoryRows) -> None:
        self.rows = rows
        self.prepared: set[str] = set()

    async def prepare(self, embedding_version: str) -> None:
        self.prepared.add(embedding_version)

    async def drop(self, embedding_version: str) -> None:
        self.prepared.discard(embedding_version)
        for key in self.rows.of_version(embedding_version):
            del self.rows.rows[key]

    async def point(self, embedding_version: str) -> None:
        pass


async def test_a_version_goes_whole_and_can_come_again(
    both: Both, rows: MemoryRows, items: ItemStore
) -> None:
    for number in range(3):
        await both.indexer.upsert(draft(number))
    tending = make_maintenance(both.indexer, rows, items)
    versions = EmbeddingVersions(Collections(rows), items, both.targets, tending)
    encoders = {OLD: both.old.encoder, NEW: both.new.encoder}
    for _ in range(2):
        versions.write(encoders, required=OLD)
        await tending._backfill.run()
        assert versions.progress()[NEW].complete
        await both.check(*(f"item.{n:04d}" for n in range(3)))
        versions.write({OLD: both.old.encoder}, required=OLD)
        await versions.settled()
        await versions.drop_all_but(OLD)
        assert await items.versions() == {OLD}
        assert NEW not in versions.progress()
        assert not rows.of_version(NEW)


async def test_nobody_unloads_what_a_change_still_asks(
    both: Both, rows: MemoryRows, items: ItemStore
) -> None:
    both.begin()
    both.new.encoder.delay_s = 0.1  # type: ignore[attr-defined]
    task = asyncio.create_task(both.indexer.upsert(draft(1)))
    await asyncio.sleep(0.02)
    both.targets.change(both.old)
    await both.targets.settled()
    assert task.done() or both.new.encoder.at_once == 0  # type: ignore[attr-defined]
    await task


async def test_a_version_that_goes_during_a_change_leaves_no_note(
    both: Both, rows: MemoryRows, items: ItemStore
) -> None:
    """A note that came back would make the version look filled when it comes again."""
    both.begin()
    await both.indexer.upsert(draft(1))
    tending = make_maintenance(both.indexer, rows, items)
    versions = EmbeddingVersions(Collections(rows), items, both.targets, tending)
    versions.write({OLD: both.old.encoder}, required=OLD)
    await versions.settled()
    async with both.indexer._locks.hold(["item.0001"]):
        state = await items.state("item.0001")
        assert state.item is not None
        await items.begin("item.0001", [])
        await versions.drop(NEW)
        await items.commit(replace(state.item, price=2.5), state.row_ids)
    assert await items.versions() == {OLD}
    assert await items.lacking(NEW) == ["item.0001"]


async def test_an_item_store_of_before_is_taken_over(tmp_path: Path) -> None:
    async with ItemStore(tmp_path) as store:
        await store.begin("a", ["v/a/text/-1/0"])
    with sqlite3.connect(tmp_path / "items.sqlite") as connection:
        connection.execute("ALTER TABLE items ADD COLUMN embedding_version TEXT NOT NULL DEFAULT 'v'")
        connection.execute("INSERT INTO items VALUES ('a', 'A', '', '', '[]', NULL, 1, 'v')")
        connection.execute("DELETE FROM pending")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    async with ItemStore(tmp_path) as store:
        state = await store.state("a")
        assert state.item is not None
        assert (state.item.title, state.row_ids, state.pending) == ("A", ("v/a/text/-1/0",), False)
        assert (await store.lacking("v"), await store.lacking("w")) == ([], ["a"])
