"""The vector store against both servers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from stored_rows import VERSION, row, unit

from orchestrator.clients.milvus import VectorStore
from orchestrator.errors import DependencyDeadlineError, DependencyError
from orchestrator.filters import exclude_items, restrict_to_items
from orchestrator.settings import MilvusSettings
from orchestrator.types import NATIVE_DIM, FloatArray, Modality, Space

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = [
    'quote " and \\ backslash',
    "' or deleted == true or category == '",
    '"] or item_id != "',
    "per%cent _under_score",
    "line\nbreak\ttab\r",
    "\u0001\u0008\u000c\u001f",
    "naïve 😀 漢字",
    "|pipe|",
    "\\",
    "{braces} [brackets]",
]


async def found(
    store: VectorStore,
    expression: str = "",
    *,
    modality: Modality = Modality.IMAGE,
    space: Space = "unified",
    version: str = VERSION,
    query: FloatArray | None = None,
) -> list[str]:
    vectors = (unit(0) if query is None else query)[None]
    hits = await store.search(space, modality, vectors, 50, expression, version, 10.0)
    assert len(hits) == 1
    return sorted(hit.item_id for hit in hits[0])


def quoted(*values: str) -> str:
    return json.dumps(values, ensure_ascii=False)


async def test_nearest_rows_come_first_with_their_fields(vector_store: VectorStore) -> None:
    rows = [row(n, m) for n in range(5) for m in Modality]
    await vector_store.upsert(rows)
    queries = np.stack([unit(3), unit(1)])
    for modality in Modality:
        first, second = await vector_store.search("unified", modality, queries, 3, "", VERSION, 10.0)
        assert [len(first), len(second)] == [3, 3]
        assert (first[0].item_id, second[0].item_id) == ("item.3", "item.1")
        best = first[0]
        assert (best.modality, best.media_index, best.segment) == (modality, 0, 0)
        assert (best.start_s, best.end_s) == (1.5, 2.5)
        assert best.similarity == pytest.approx(1.0, abs=1e-4)
        assert [hit.similarity for hit in first] == sorted((h.similarity for h in first), reverse=True)
        assert first[1].similarity == pytest.approx(
            float(unit(3) @ unit(int(first[1].item_id.split(".")[1]))), abs=1e-4
        )


@pytest.mark.parametrize("modality", [Modality.AUDIO, Modality.VIDEO])
async def test_native_spaces(vector_store: VectorStore, modality: Modality) -> None:
    space: Space = "audio" if modality is Modality.AUDIO else "video"
    await vector_store.upsert([row(n, modality) for n in range(4)])
    query = unit(2, NATIVE_DIM[modality])
    (hits,) = await vector_store.search(space, modality, query[None], 10, "", VERSION, 10.0)
    assert [hits[0].item_id, len(hits)] == ["item.2", 4]
    assert hits[0].similarity == pytest.approx(1.0, abs=2e-3)
    other = unit(int(hits[1].item_id.split(".")[1]), NATIVE_DIM[modality])
    cosine, distance = float(query @ other), float(np.linalg.norm(query - other))
    expected = 1 / (1 + distance) if space == "audio" else cosine
    assert hits[1].similarity == pytest.approx(expected, abs=1e-3)


async def test_writing_a_row_again_replaces_it(vector_store: VectorStore) -> None:
    await vector_store.upsert([row(1), row(2)])
    await vector_store.upsert([row(1, price=99.0)])
    assert await found(vector_store) == ["item.1", "item.2"]
    assert await found(vector_store, "price == 99.0") == ["item.1"]
    assert (await vector_store.counts(VERSION))[Modality.IMAGE] == 2


async def test_a_write_is_found_when_it_has_returned(vector_store: VectorStore) -> None:
    for number in range(8):
        await vector_store.upsert([row(number)])
        assert len(await found(vector_store)) == number + 1
    await vector_store.mark_deleted(["item.3"])
    assert "item.3" not in await found(vector_store)


async def test_numbers_and_availability(vector_store: VectorStore) -> None:
    await vector_store.upsert([row(1), row(2, available=False), row(3), row(4, price=None)])
    assert await found(vector_store, "price >= 2.0 and price <= 3.0") == ["item.2", "item.3"]
    assert await found(vector_store, "price <= 1e9") == ["item.1", "item.2", "item.3"]
    assert await found(vector_store, "price >= -1e9") == ["item.1", "item.2", "item.3"]
    assert await found(vector_store, "not (price >= 2.0)") == ["item.1", "item.4"]
    assert await found(vector_store, "available == true") == ["item.1", "item.3", "item.4"]
    assert await found(vector_store, "(available == false) or (price == 1.0)") == ["item.1", "item.2"]


async def test_tags(vector_store: VectorStore) -> None:
    await vector_store.upsert(
        [row(1, tags=("red", "big")), row(2, tags=("red",)), row(3, tags=("re",)), row(4, tags=())]
    )
    assert await found(vector_store, f"array_contains_any(tags, {quoted('red', 'blue')})") == [
        "item.1",
        "item.2",
    ]
    assert await found(vector_store, f"array_contains_all(tags, {quoted('red', 'big')})") == ["item.1"]
    assert await found(vector_store, f"not (array_contains_any(tags, {quoted('red')}))") == [
        "item.3",
        "item.4",
    ]
    both = f"(array_contains_any(tags, {quoted('red')})) and (price >= 2.0)"
    assert await found(vector_store, both) == ["item.2"]


async def test_hostile_strings_match_themselves_alone(vector_store: VectorStore) -> None:
    rows = [row(n, category=value, tags=(value,)) for n, value in enumerate(HOSTILE)]
    await vector_store.upsert([*rows, row(99, category="c", tags=("plain",))])
    for number, value in enumerate(HOSTILE):
        own = f"item.{number}"
        assert await found(vector_store, f"category in {quoted(value)}") == [own], value
        assert await found(vector_store, f"array_contains_any(tags, {quoted(value)})") == [own], value
        assert await found(vector_store, f"array_contains_all(tags, {quoted(value, 'plain')})") == []
        assert await found(vector_store, f"category in {quoted('c', value)}") == sorted([own, "item.99"])


async def test_embedding_versions_do_not_mix(vector_store: VectorStore) -> None:
    await vector_store.upsert([row(1), row(1, embedding_version="v-2"), row(2, embedding_version="v-2")])
    assert await found(vector_store) == ["item.1"]
    assert await found(vector_store, version="v-2") == ["item.1", "item.2"]
    assert await found(vector_store, "price >= 0.0 or price < 0.0", version="v-3") == []
    assert set(await vector_store.vectors(["item.2/image/0/0"], VERSION, 10.0)) == set()


async def test_soft_delete_hides_and_a_new_upsert_shows_again(vector_store: VectorStore) -> None:
    await vector_store.upsert([row(1), row(1, Modality.AUDIO), row(2)])
    assert await vector_store.mark_deleted(["item.1", "item.unknown"]) == 2
    assert await found(vector_store) == ["item.2"]
    assert await found(vector_store, "available == true or deleted == true") == ["item.2"]
    assert (
        await found(
            vector_store,
            modality=Modality.AUDIO,
            space="audio",
            query=unit(1, NATIVE_DIM[Modality.AUDIO]),
        )
        == []
    )
    assert (await vector_store.counts(VERSION))[Modality.IMAGE] == 1
    hidden = await vector_store.deleted_rows()
    assert set(hidden) == {"item.1"}
    await vector_store.upsert([row(1)])
    assert await found(vector_store) == ["item.1", "item.2"]
    await vector_store.delete(hidden["item.1"])
    assert await found(vector_store) == ["item.2"]
    assert await vector_store.deleted_rows() == {}
    assert await vector_store.missing(hidden["item.1"]) == set(hidden["item.1"])


async def test_other_fields_keep_the_vector(vector_store: VectorStore) -> None:
    await vector_store.upsert([row(1, Modality.AUDIO), row(2, Modality.AUDIO)])
    await vector_store.set_fields(
        [f"{VERSION}/item.1/audio/0/0", f"{VERSION}/nothing/audio/0/0"],
        price=None,
        available=False,
        category="new",
        tags=["neu", "x"],
    )
    expression = f"category in {quoted('new')} and array_contains_all(tags, {quoted('neu', 'x')})"
    assert await found(vector_store, expression, modality=Modality.AUDIO) == ["item.1"]
    native = unit(1, NATIVE_DIM[Modality.AUDIO])
    (hits,) = await vector_store.search(
        "audio", Modality.AUDIO, native[None], 1, "available == false", VERSION, 10
    )
    assert hits[0].similarity == pytest.approx(1.0, abs=2e-3)


async def test_vectors_come_back_as_written(vector_store: VectorStore) -> None:
    rows = [row(n) for n in range(150)]
    await vector_store.upsert(rows)
    keys = [r.key for r in rows] + ["item.0/text/0/0"]
    vectors = await vector_store.vectors(keys, VERSION, 10.0)
    assert set(vectors) == {r.key for r in rows}
    for r in rows:
        assert vectors[r.key].dtype == np.float32
        np.testing.assert_allclose(vectors[r.key], r.embedding.unified, atol=1e-6)


async def test_searches_and_writes_at_once_lose_nothing(vector_store: VectorStore) -> None:
    """Among others that no flush of Milvus Lite hides rows from a search."""
    await vector_store.upsert([row(n) for n in range(40)])

    async def write(first: int) -> None:
        for number in range(first, first + 100, 10):
            await vector_store.upsert([row(n) for n in range(number, number + 10)])

    async def search() -> None:
        for _ in range(25):
            assert len(await found(vector_store)) >= 40
            await asyncio.sleep(0.01)

    await asyncio.gather(*(write(n) for n in range(100, 600, 100)), *(search() for _ in range(3)))
    assert (await vector_store.counts(VERSION))[Modality.IMAGE] == 540


async def test_deadline_and_refusals_are_typed(vector_store: VectorStore) -> None:
    await vector_store.upsert([row(1)])
    with pytest.raises(DependencyDeadlineError):
        await vector_store.search("unified", Modality.IMAGE, unit(0)[None], 5, "", VERSION, 1e-4)
    with pytest.raises(DependencyError):
        await found(vector_store, "this is not ( an expression")
    assert await vector_store.ready()
    assert await found(vector_store) == ["item.1"]


async def test_a_closed_store_says_so(milvus_settings: MilvusSettings, tmp_path: Path) -> None:
    store = VectorStore(milvus_settings, tmp_path)
    await store.start()
    await store.close()
    await store.close()
    assert not await store.ready()
    with pytest.raises(DependencyError):
        await found(store)


async def test_items_are_left_out_and_restricted_to_by_any_id(vector_store: VectorStore) -> None:
    await vector_store.upsert([row(n, item_id=value) for n, value in enumerate([*HOSTILE, "plain"])])
    for value in HOSTILE:
        others = sorted({*HOSTILE, "plain"} - {value})
        assert await found(vector_store, exclude_items("price >= 0.0", [value])) == others, value
        assert await found(vector_store, restrict_to_items("price >= 0.0", [value])) == [value], value
    longest = [f"{n:03}" + "x" * 125 for n in range(500)]
    assert await found(vector_store, exclude_items("", longest)) == sorted([*HOSTILE, "plain"])
    assert await found(vector_store, exclude_items("", [*longest, *HOSTILE])) == ["plain"]
