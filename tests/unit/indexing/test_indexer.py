"""What becomes of an item, and in which order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from indexing_support import (
    VERSION,
    HashEncoder,
    MemoryRows,
    draft,
    make_indexer,
    picture,
    sound,
)

from indexing import Indexer
from indexing.fields import checked_item, item_text
from indexing.prepare import TEXT_INDEX
from media import Limits, Modality
from orchestrator.clients.items import ItemStore
from orchestrator.errors import ItemError, PartError, UnavailableError
from orchestrator.types import CatalogueItem, ItemDraft, Outcome


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
