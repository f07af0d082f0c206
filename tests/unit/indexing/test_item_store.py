"""The item store on disk."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.clients.items import ItemStore
from orchestrator.errors import ConfigurationError, DependencyError, UnavailableError
from orchestrator.types import CatalogueItem, MediaInfo, Modality


def info(data: bytes, duration_s: float = 0.0) -> MediaInfo:
    return MediaInfo(Modality.IMAGE, "png", hashlib.sha256(data).hexdigest(), duration_s)


ITEM = CatalogueItem(
    id="a",
    title="Naïve 'quotes' \"and\" \0 nul",
    description="line\nbreak",
    category="c",
    tags=("x", "ünï"),
    price=1.25,
    available=False,
    media=(info(b"one"), info(b"two", 2.5)),
)


async def put(store: ItemStore, item: CatalogueItem, *blobs: bytes, version: str = "v") -> None:
    async with store.holding(blobs):
        await store.begin(item.id, [f"{version}/{item.id}"])
        await store.commit(item, [f"{version}/{item.id}"])


def blobs(home: Path) -> set[str]:
    return {path.name for path in (home / "blobs").iterdir()}


async def test_an_item_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    async with ItemStore(tmp_path) as store:
        await put(store, ITEM, b"one", b"two")
        await put(store, CatalogueItem(id="b"))
    async with ItemStore(tmp_path) as store:
        assert await store.get("a") == ITEM
        assert await store.get_many(["b", "a", "c"]) == {"a": ITEM, "b": CatalogueItem(id="b")}
        assert await store.get("c") is None
        assert await store.count() == 2
        assert [item_id async for item_id in store.ids(page=1)] == ["a", "b"]
        assert store.blob_path(ITEM.media[0].sha256).read_bytes() == b"one"
        assert await store.read_blob(ITEM.media[1].sha256) == b"two"


async def test_many_ids_at_once(tmp_path: Path) -> None:
    async with ItemStore(tmp_path) as store:
        for number in range(30):
            await put(store, CatalogueItem(id=str(number)))
        wanted = [str(n) for n in range(2000)]
        assert set(await store.get_many(wanted)) == {str(n) for n in range(30)}


async def test_state_follows_begin_commit_and_delete(tmp_path: Path) -> None:
    async with ItemStore(tmp_path) as store:
        state = await store.state("a")
        assert (state.item, state.pending, state.row_ids) == (None, False, ())
        await store.begin("a", ["v1/1", "v2/2"])
        state = await store.state("a")
        assert (state.item, state.pending, state.row_ids) == (None, True, ("v1/1", "v2/2"))
        assert await store.pending() == ["a"]
        await store.begin("a", ["v2/3"])
        await store.commit(CatalogueItem(id="a"), ["v2/2", "v2/3", "v9/unnoted"])
        state = await store.state("a")
        assert (state.pending, state.row_ids) == (False, ("v2/2", "v2/3"))
        assert (await store.pending(), await store.row_count("v2")) == ([], 2)
        await store.begin("a", ["v3/4"])
        assert (await store.state("a")).row_ids == ("v2/2", "v2/3", "v3/4")
        await store.delete("a")
        state = await store.state("a")
        assert (state.item, state.pending, state.row_ids) == (None, False, ())


async def test_a_blob_lives_as_long_as_an_item_has_it(tmp_path: Path) -> None:
    one, two = info(b"one"), info(b"two")
    async with ItemStore(tmp_path) as store:
        await put(store, CatalogueItem(id="a", media=(one, two)), b"one", b"two")
        await put(store, CatalogueItem(id="b", media=(one,)), b"one")
        await put(store, CatalogueItem(id="a", media=(two,)), b"two")
        assert blobs(tmp_path) == {one.sha256, two.sha256}
        await store.delete("b")
        assert blobs(tmp_path) == {two.sha256}
        await put(store, CatalogueItem(id="a"))
        assert blobs(tmp_path) == set()


async def test_a_held_blob_outlives_its_last_item(tmp_path: Path) -> None:
    one = info(b"one")
    async with ItemStore(tmp_path) as store:
        await put(store, CatalogueItem(id="a", media=(one,)), b"one")
        async with store.holding([b"one", b"one"]) as hashes:
            assert hashes == [one.sha256, one.sha256]
            await store.delete("a")
            assert blobs(tmp_path) == {one.sha256}
            await store.commit(CatalogueItem(id="b", media=(one,)), [])
        assert blobs(tmp_path) == {one.sha256}
        with pytest.raises(RuntimeError):
            async with store.holding([b"unused"]):
                raise RuntimeError
        assert blobs(tmp_path) == {one.sha256}


async def test_what_a_crash_left_over_is_swept_away(tmp_path: Path) -> None:
    async with ItemStore(tmp_path) as store:
        await put(store, ITEM, b"one", b"two")
        assert not store.crashed
    (tmp_path / "blobs" / ("0" * 64)).write_bytes(b"never committed")
    (tmp_path / "blobs" / ".part-1234").write_bytes(b"half")
    async with ItemStore(tmp_path) as store:
        assert blobs(tmp_path) == {m.sha256 for m in ITEM.media}
        assert not store.crashed


async def test_a_crash_is_remembered_until_it_was_seen_to(tmp_path: Path) -> None:
    async with ItemStore(tmp_path) as store:
        await put(store, CatalogueItem(id="a"))
    with sqlite3.connect(tmp_path / "items.sqlite") as connection:
        connection.execute("INSERT INTO marks VALUES ('open')")
    connection.close()
    async with ItemStore(tmp_path) as store:
        assert store.crashed
    async with ItemStore(tmp_path) as store:
        assert store.crashed
        store.crashed = False
    async with ItemStore(tmp_path) as store:
        assert not store.crashed


async def test_one_process_at_a_time(tmp_path: Path) -> None:
    async with ItemStore(tmp_path):
        with pytest.raises(ConfigurationError, match="another process"):
            await ItemStore(tmp_path).start()
    async with ItemStore(tmp_path):
        pass


async def test_another_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "items.sqlite").parent.mkdir(exist_ok=True)
    with sqlite3.connect(tmp_path / "items.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigurationError, match="another version"):
        await ItemStore(tmp_path).start()


async def test_failures_are_typed(tmp_path: Path) -> None:
    store = ItemStore(tmp_path)
    with pytest.raises(UnavailableError):
        await store.get("a")
    await store.start()
    with pytest.raises(DependencyError):
        await store.read_blob("0" * 64)
    (tmp_path / "blobs").rmdir()
    with pytest.raises(DependencyError):
        async with store.holding([b"x"]):
            pass
    await store.close()
    await store.close()
    with pytest.raises(UnavailableError):
        await store.count()


async def test_a_failed_commit_changes_nothing(tmp_path: Path) -> None:
    async with ItemStore(tmp_path) as store:
        await put(store, ITEM, b"one", b"two")
        with pytest.raises(DependencyError):
            await store.commit(replace(ITEM, title="new", price="not a number"), ["r"])  # type: ignore[arg-type]
        assert await store.get("a") == ITEM
        assert (await store.state("a")).row_ids == ("v/a",)


async def test_changes_and_reads_at_once(tmp_path: Path) -> None:
    async with ItemStore(tmp_path) as store:

        async def change(number: int) -> None:
            for price in range(5):
                await put(store, CatalogueItem(id=f"i{number}", price=float(price)), b"x")

        async def read() -> None:
            for _ in range(20):
                for item in (await store.get_many([f"i{n}" for n in range(8)])).values():
                    assert item.price is not None

        await asyncio.gather(*(change(n) for n in range(8)), read(), read())
        assert {i.price for i in (await store.get_many([f"i{n}" for n in range(8)])).values()} == {4.0}


async def test_vocabulary(tmp_path: Path) -> None:
    async with ItemStore(tmp_path) as store:
        assert await store.vocabulary(10) == []
        await put(store, CatalogueItem(id="a", title="Green  Frog", tags=("frog", "animal")))
        await put(store, CatalogueItem(id="b", title="Dog", tags=("Animal", "x" * 65)))
        assert await store.vocabulary(10) == ["animal", "Dog", "Green Frog"], "one item's own tag is no name"
        assert await store.vocabulary(2) == ["animal", "Dog"]
        await store.delete("b")
        assert await store.vocabulary(10) == ["Green Frog"]


async def test_words_of_one_title_do_not_push_titles_out(tmp_path: Path) -> None:
    async with ItemStore(tmp_path) as store:
        for number in range(30):
            tags = (f"word{number}", f"part{number}", "all")
            await put(store, CatalogueItem(id=f"i{number}", title=f"Word{number} part{number}", tags=tags))
        phrases = await store.vocabulary(31)
        assert phrases[0] == "all"
        assert set(phrases[1:]) == {f"Word{number} part{number}" for number in range(30)}


async def test_tags_are_stored_as_a_list(tmp_path: Path) -> None:
    async with ItemStore(tmp_path) as store:
        await put(store, ITEM, b"one", b"two")
    with sqlite3.connect(tmp_path / "items.sqlite") as connection:
        (tags,) = connection.execute("SELECT tags FROM items").fetchone()
    connection.close()
    assert json.loads(tags) == ["x", "ünï"]
