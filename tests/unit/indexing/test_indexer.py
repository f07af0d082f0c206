"""What becomes of an item, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from indexing_support import (
    VERSION,
    HashEncoder,
    MemoryRows,
    draft,
    make_indexer,
    make_maintenance,
    picture,
    sound,
)

from indexing import Indexer
from indexing.fields import checked_item, item_text
from indexing.prepare import TEXT_INDEX
from media import Limits, Modality
from orchestrator.clients.items import ItemStore
from orchestrator.errors import DependencyError, ItemError, PartError, UnavailableError
from orchestrator.types import CatalogueItem, ItemDraft, Outcome


@pytest.fixture
def encoder() -> HashEncoder:
    return HashEncoder()


@pytest.fixture
def rows() -> MemoryRows:
    return MemoryRows()


@pytest.fixture
async def items(tmp_path: Path) -> AsyncIterator[ItemStore]:
    async with ItemStore(tmp_path) as store:
        yield store


@pytest.fixture
async def indexer(encoder: HashEncoder, rows: MemoryRows, items: ItemStore) -> Indexer:
    return make_indexer(encoder, rows, items)


async def stream(drafts: Iterable[ItemDraft]) -> AsyncIterator[ItemDraft]:
    for one in drafts:
        yield one


async def test_rows_of_an_item(indexer: Indexer, rows: MemoryRows, items: ItemStore) -> None:
    outcome = await indexer.upsert(draft(3))
    assert (outcome.outcome, outcome.rows, outcome.error) == (Outcome.INDEXED, 3, None)
    found = {(row.modality, row.media_index, row.segment) for row in rows.rows.values()}
    assert found == {(Modality.TEXT, TEXT_INDEX, 0), (Modality.IMAGE, 0, 0), (Modality.AUDIO, 1, 0)}
    sound_row = next(row for row in rows.rows.values() if row.modality is Modality.AUDIO)
    assert (sound_row.start_s, sound_row.end_s) == (0.0, pytest.approx(0.5))
    assert sound_row.embedding.native is not None
    assert all(row.tags == ("tag3", "all") and row.price == 3.0 for row in rows.rows.values())
    stored = await items.get("item.0003")
    assert stored is not None
    assert [(m.modality, m.format) for m in stored.media] == [
        (Modality.IMAGE, "png"),
        (Modality.AUDIO, "wav"),
    ]
    assert [await items.read_blob(m.sha256) for m in stored.media] == [picture(3), sound(3)]
    assert (await items.state("item.0003")).row_ids == tuple(sorted(rows.rows))


async def test_long_sounds_are_cut(indexer: Indexer, rows: MemoryRows) -> None:
    outcome = await indexer.upsert(ItemDraft(id="long", media=(sound(1, 70.0),)))
    assert outcome.outcome is Outcome.INDEXED
    pieces = sorted((row.segment, row.start_s, row.end_s) for row in rows.rows.values())
    assert [segment for segment, _, _ in pieces] == [0, 1, 2]
    assert pieces[0][1] == 0.0
    assert pieces[-1][2] == pytest.approx(70.0, abs=0.01)
    assert all(later[1] < earlier[2] for earlier, later in pairwise(pieces))


async def test_unchanged_is_left_alone(indexer: Indexer, encoder: HashEncoder, rows: MemoryRows) -> None:
    await indexer.upsert(draft(1))
    calls, written = encoder.calls, list(rows.calls)
    outcome = await indexer.upsert(draft(1))
    assert (outcome.outcome, outcome.rows) == (Outcome.UNCHANGED, 2)
    assert (encoder.calls, rows.calls) == (calls, written)


async def test_other_fields_embed_nothing(
    indexer: Indexer, encoder: HashEncoder, rows: MemoryRows, items: ItemStore
) -> None:
    await indexer.upsert(draft(1))
    calls = encoder.calls
    outcome = await indexer.upsert(draft(1, price=None, tags=("new",), available=False, category="z"))
    assert (outcome.outcome, encoder.calls) == (Outcome.INDEXED, calls)
    assert {(r.price, r.tags, r.available, r.category) for r in rows.rows.values()} == {
        (None, ("new",), False, "z")
    }
    stored = await items.get("item.0001")
    assert stored is not None
    assert (stored.price, stored.tags) == (None, ("new",))


@pytest.mark.parametrize(
    "changes", [{"title": "Other"}, {"media": (picture(77),)}, {"media": ()}], ids=["text", "media", "fewer"]
)
async def test_other_content_replaces_its_rows_new_before_old(
    indexer: Indexer, rows: MemoryRows, items: ItemStore, changes: dict[str, object]
) -> None:
    await indexer.upsert(draft(3))
    old, rows.calls = dict(rows.rows), []
    new = draft(3, **changes)
    assert (await indexer.upsert(new)).outcome is Outcome.INDEXED
    assert rows.calls == ["upsert", "delete"]
    assert tuple(sorted(rows.rows)) == (await items.state(new.id)).row_ids
    assert len(rows.rows) == 1 + len(new.media)
    assert all(rows.rows[key] is not row for key, row in old.items() if key in rows.rows)
    wanted = {picture(3), sound(3)} & set(new.media) | set(new.media)
    assert {p.read_bytes() for p in (items.blob_path("x").parent).iterdir()} == wanted


async def test_another_embedding_version_takes_over(
    encoder: HashEncoder, rows: MemoryRows, items: ItemStore
) -> None:
    await make_indexer(encoder, rows, items).upsert(draft(1))
    outcome = await make_indexer(encoder, rows, items, version="test-2").upsert(draft(1))
    assert outcome.outcome is Outcome.INDEXED
    (old, new) = (rows.of_version(version) for version in (VERSION, "test-2"))
    assert len(old) == len(new) == outcome.rows
    await make_indexer(encoder, rows, items, version="test-2").upsert(draft(1, title="Other"))
    assert not rows.of_version(VERSION), "rows of what the item no longer is"


@pytest.mark.parametrize(
    ("changes", "code", "part"),
    [
        ({"id": "no spaces"}, "item.invalid", None),
        ({"id": ""}, "item.invalid", None),
        ({"id": "a/b"}, "item.invalid", None),
        ({"id": "x" * 129}, "item.invalid", None),
        ({"price": float("nan")}, "item.invalid", None),
        ({"price": float("inf")}, "item.invalid", None),
        ({"tags": ("ok", " ")}, "item.invalid", None),
        ({"tags": ("x" * 257,)}, "item.invalid", None),
        ({"tags": tuple(map(str, range(65)))}, "item.invalid", None),
        ({"tags": ("\ud800",)}, "item.invalid", None),
        ({"category": "ü" * 257}, "item.invalid", None),
        ({"title": "", "description": " \n", "media": ()}, "item.invalid", None),
        ({"media": (picture(1),) * 33}, "item.invalid", None),
        ({"title": "x" * 70_000}, "text.too_long", None),
        ({"media": (picture(1), b"")}, "media.empty", 1),
        ({"media": (picture(1), picture(2), b"\x7fELF" + bytes(200))}, "media.unsupported", 2),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
async def test_a_bad_item_is_refused_by_name_and_leaves_nothing(
    indexer: Indexer, rows: MemoryRows, items: ItemStore, changes: dict[str, object], code: str, part: int
) -> None:
    outcome = await indexer.upsert(draft(1, **changes))
    assert outcome.outcome is Outcome.REFUSED
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.part) == (code, part)
    assert not rows.rows
    assert await items.count() == 0
    assert not list(items.blob_path("x").parent.iterdir())


async def test_a_refused_change_leaves_the_item_as_it_was(
    indexer: Indexer, encoder: HashEncoder, rows: MemoryRows, items: ItemStore
) -> None:
    await indexer.upsert(draft(1))
    before, stored = dict(rows.rows), await items.get("item.0001")
    encoder.fail[picture(9)[30:]] = [PartError("media.corrupt", "damaged", kind="png")]
    outcome = await indexer.upsert(draft(1, media=(picture(1), picture(9))))
    assert outcome.outcome is Outcome.REFUSED
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.part) == ("media.corrupt", 1)
    assert (rows.rows, await items.get("item.0001")) == (before, stored)
    assert (await indexer.upsert(draft(1))).outcome is Outcome.UNCHANGED


async def test_a_server_that_comes_back_is_waited_for(indexer: Indexer, encoder: HashEncoder) -> None:
    encoder.fail[b"Thing"] = [UnavailableError("triton", "restarting")] * 3
    assert (await indexer.upsert(draft(1))).outcome is Outcome.INDEXED


async def test_a_server_that_stays_away_ends_the_stream(
    encoder: HashEncoder, rows: MemoryRows, items: ItemStore
) -> None:
    indexer = make_indexer(encoder, rows, items, retry_s=0.3)
    encoder.fail[b"Thing 2"] = [UnavailableError("triton", "gone")] * 100
    outcomes = indexer.upsert_many(stream(draft(n) for n in range(6)))
    assert [(await anext(outcomes)).id, (await anext(outcomes)).id] == ["item.0000", "item.0001"]
    with pytest.raises(UnavailableError):
        await anext(outcomes)
    encoder.fail.clear()
    again = [o async for o in indexer.upsert_many(stream(draft(n) for n in range(6)))]
    assert [o.outcome for o in again[:2]] == [Outcome.UNCHANGED] * 2
    assert await items.count() == 6


async def test_many_in_order_with_bounded_work(rows: MemoryRows, items: ItemStore) -> None:
    encoder = HashEncoder(delay_s=0.005)
    indexer = make_indexer(encoder, rows, items, embeddings_in_flight=6, items_in_flight=8)
    drafts = [draft(n) for n in range(30)]
    drafts[7] = replace(drafts[7], id="not an id")
    outcomes = [o async for o in indexer.upsert_many(stream(drafts))]
    assert [o.id for o in outcomes] == [d.id for d in drafts]
    assert [i for i, o in enumerate(outcomes) if o.outcome is Outcome.REFUSED] == [7]
    assert encoder.most_at_once == 6


async def test_the_later_of_two_of_one_id_stays(indexer: Indexer, items: ItemStore, rows: MemoryRows) -> None:
    drafts = [draft(1, title=f"Title {n}", media=(picture(n),)) for n in range(8)]
    outcomes = [o async for o in indexer.upsert_many(stream(drafts))]
    assert {o.outcome for o in outcomes} == {Outcome.INDEXED}
    stored = await items.get("item.0001")
    assert stored is not None
    assert stored.title == "Title 7"
    assert len(rows.rows) == 2


async def test_delete_hides_forgets_and_compacts(
    indexer: Indexer, rows: MemoryRows, items: ItemStore
) -> None:
    for number in range(3):
        await indexer.upsert(draft(number))
    assert await indexer.delete(["item.0001", "item.0000", "item.0001", "nothing"]) == (2, 1)
    assert rows.of("item.0000") == rows.of("item.0001") == []
    assert len(rows.rows) > len(rows.of("item.0002"))
    assert await items.count() == 1
    await indexer.upsert(draft(1))
    assert await indexer.compact() == 3
    assert len(rows.of("item.0001")) == 2
    assert rows.hidden == set()
    assert sorted(rows.rows) == sorted(rows.of("item.0001") + rows.of("item.0002"))


def test_the_text_of_an_item() -> None:
    def text(title: str, description: str) -> str:
        return item_text(CatalogueItem(id="a", title=title, description=description))

    assert text("Frog", "It is green.") == "Frog\nIt is green."
    assert text("Frog", "Frog in a pond.") == "Frog in a pond."
    assert text("Frog", "") == "Frog"
    assert text("", "") == ""


def test_fields_are_normalised() -> None:
    item = checked_item(
        ItemDraft(id="a", title=" Cafe\u0301 ", tags=(" x ", "x", "e\u0301"), category=" c "), Limits(), 4
    )
    assert (item.title, item.tags, item.category) == ("Café", ("x", "é"), "c")
    with pytest.raises(ItemError):
        checked_item(ItemDraft(id="a"), Limits(), 4)


# ---- a failure between any two steps ----


@pytest.mark.parametrize("step", ["upsert", "delete"])
@pytest.mark.parametrize("redo", ["the same again", "the former again", "nothing"])
async def test_a_change_cut_short_is_put_right(
    indexer: Indexer, rows: MemoryRows, items: ItemStore, step: str, redo: str
) -> None:
    await indexer.upsert(draft(3))
    new = draft(3, title="Other", media=(picture(50),))
    rows.fail[step] = DependencyError("milvus", "cut")
    with pytest.raises(DependencyError):
        await indexer.upsert(new)
    wanted = new
    if redo == "the same again":
        assert (await indexer.upsert(new)).outcome is Outcome.INDEXED
    elif redo == "the former again":
        wanted = draft(3)
        assert (await indexer.upsert(wanted)).outcome is Outcome.INDEXED
    else:
        wanted = draft(3)
        assert await make_maintenance(indexer, rows, items).recover() == 1
    clean = MemoryRows()
    await _index_elsewhere(wanted, clean, items.blob_path("x").parents[1] / "elsewhere")
    assert rows.rows.keys() == clean.rows.keys()
    for key, row in rows.rows.items():
        assert (row.embedding.unified == clean.rows[key].embedding.unified).all()
    assert await items.pending() == []


async def _index_elsewhere(wanted: ItemDraft, rows: MemoryRows, folder: Path) -> None:
    async with ItemStore(folder) as store:
        await make_indexer(HashEncoder(), rows, store).upsert(wanted)


async def test_a_first_upsert_cut_short_leaves_nothing_after_recovery(
    indexer: Indexer, rows: MemoryRows, items: ItemStore
) -> None:
    rows.fail["delete"] = DependencyError("milvus", "cut")
    with pytest.raises(DependencyError):
        await indexer.upsert(draft(1))
    assert rows.rows
    assert await make_maintenance(indexer, rows, items).recover() == 1
    assert not rows.rows
    assert await items.pending() == []


async def test_fields_cut_short_are_put_right(indexer: Indexer, rows: MemoryRows, items: ItemStore) -> None:
    await indexer.upsert(draft(1))
    rows.fail["set_fields"] = DependencyError("milvus", "cut")
    with pytest.raises(DependencyError):
        await indexer.upsert(draft(1, price=99.0))
    assert (await indexer.upsert(draft(1))).outcome is Outcome.INDEXED, "Milvus may have the other price"
    assert {row.price for row in rows.rows.values()} == {1.0}


async def test_a_delete_cut_short_is_taken_back(indexer: Indexer, rows: MemoryRows, items: ItemStore) -> None:
    await indexer.upsert(draft(1))
    ids = rows.of("item.0001")
    await items.begin("item.0001", [])
    await rows.mark_deleted(["item.0001"])
    await make_maintenance(indexer, rows, items).recover()
    assert rows.of("item.0001") == ids


async def test_recovery_after_milvus_was_emptied(
    indexer: Indexer, rows: MemoryRows, items: ItemStore
) -> None:
    for number in range(5):
        await indexer.upsert(draft(number))
    before = dict(rows.rows)
    rows.rows.clear()
    assert await make_maintenance(indexer, rows, items).recover() == 5
    assert rows.rows.keys() == before.keys()
    assert await make_maintenance(indexer, rows, items).recover() == 0


async def test_recovery_to_another_embedding_version(
    indexer: Indexer, rows: MemoryRows, items: ItemStore, encoder: HashEncoder
) -> None:
    for number in range(5):
        await indexer.upsert(draft(number))
    newer = make_indexer(encoder, rows, items, version="test-2")
    assert await make_maintenance(newer, rows, items).recover() == 5
    assert await items.row_count("test-2") == len(rows.of_version("test-2")) == len(rows.of_version(VERSION))


async def test_maintenance_runs_beside_and_survives_failures(
    indexer: Indexer, rows: MemoryRows, items: ItemStore
) -> None:
    await indexer.upsert(draft(1))
    await indexer.delete(["item.0001"])
    tending = make_maintenance(indexer, rows, items, compact_every_s=0.05)
    rows.fail["delete"] = UnavailableError("milvus", "restarting")
    tending.start()
    async with asyncio.timeout(10):
        while rows.rows:  # noqa: ASYNC110 - nothing else tells of it
            await asyncio.sleep(0.02)
    await tending.close()
    await tending.close()


async def test_rows_lost_while_it_runs_are_written_again_when_it_is_told(
    indexer: Indexer, rows: MemoryRows, items: ItemStore
) -> None:
    await indexer.upsert(draft(1))
    kept = dict(rows.rows)
    tending = make_maintenance(indexer, rows, items)
    tending.start()
    try:
        async with asyncio.timeout(10):
            while items.crashed:  # noqa: ASYNC110 - it has looked once
                await asyncio.sleep(0.01)
        rows.rows.clear()
        rows.fail["upsert"] = DependencyError("milvus", "not back yet")
        tending.verify()
        async with asyncio.timeout(30):
            while rows.rows.keys() != kept.keys():  # noqa: ASYNC110 - the fake has no event
                await asyncio.sleep(0.01)
    finally:
        await tending.close()
