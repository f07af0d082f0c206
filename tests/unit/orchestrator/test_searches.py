"""Searches that yield items: long sounds and videos must not hide the others, at a bounded cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from fakes import VERSION, FakeVectorStore, direction
from fixtures_orchestrator import MakeWorld, World
from hypothesis import given, settings
from hypothesis import strategies as st

from media import Modality
from orchestrator.compose import QueryVector
from orchestrator.errors import UnavailableError
from orchestrator.filters import restrict_to_items
from orchestrator.query import QueryPart
from orchestrator.searches import MAX_REPEATS, ItemSearcher, Search
from orchestrator.settings import BudgetSettings, RetrieveSettings
from orchestrator.trace import Trace
from orchestrator.types import NATIVE_DIM, UNIFIED_DIM, Embedding, FloatArray, Row

NOTE = "retrieve: audio: long items may hide others: "


def mixed(share: float, words: str, seed: int = 0) -> FloatArray:
    """A unit vector with the cosine ``share`` (nearly) to the direction of ``words``."""
    other = direction(f"other{seed}")
    vector = share * direction(words) + (1 - share**2) ** 0.5 * other
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def segment(item: str, number: int, unified: FloatArray, modality: Modality = Modality.AUDIO) -> Row:
    native = direction(f"{item} {number}", NATIVE_DIM[modality])
    return Row(
        item_id=item,
        modality=modality,
        media_index=0,
        segment=number,
        start_s=float(number),
        end_s=number + 1.0,
        embedding=Embedding(unified, native),
        embedding_version=VERSION,
        price=None,
        available=True,
        category="",
        tags=(),
    )


def crowd(store: FakeVectorStore, items: int, segments: int, words: str = "frog") -> None:
    """Long items whose every segment is nearer to ``words`` than anything short that tests add."""
    near = np.linspace(0.99, 0.8, items)
    for i in range(items):
        store.put(*(segment(f"long{i}", n, mixed(near[i] - n * 1e-6, words, i)) for n in range(segments)))


def one_search(*vectors: FloatArray, modality: Modality = Modality.AUDIO) -> Search:
    sources = tuple(QueryVector(n, Modality.TEXT, "unified", v, 1.0, 1.0) for n, v in enumerate(vectors))
    return Search("unified", modality, sources, np.stack(vectors))


async def items(
    store: FakeVectorStore, search: Search, rows: int, wanted: int, trace: Trace, expression: str = ""
) -> list[list[str]]:
    searcher = ItemSearcher(store, VERSION)
    found = await searcher.search(search, rows, wanted, expression, trace, 5.0, "retrieve")
    return [[hit.item_id for hit in hits] for hits in found]


async def test_an_ordinary_search_is_one_call() -> None:
    store, trace = FakeVectorStore(), Trace()
    store.put(*(segment(f"i{i}", n, direction(f"frog n{i}")) for i in range(60) for n in range(2)))
    ((*found,),) = await items(store, one_search(direction("frog")), 100, 50, trace)
    assert len(found) >= 50
    assert store.calls["search"] == 1
    assert trace.degraded == []


async def test_few_rows_in_all_are_one_call() -> None:
    store, trace = FakeVectorStore(), Trace()
    crowd(store, items=3, segments=30)
    (found,) = await items(store, one_search(direction("frog")), 100, 50, trace)
    assert found == ["long0", "long1", "long2"]
    assert store.calls["search"] == 1


async def test_what_several_long_items_hide_is_found() -> None:
    store, trace = FakeVectorStore(), Trace()
    crowd(store, items=6, segments=300)
    for i in range(60):
        store.put(segment(f"short{i:02}", 0, mixed(0.7 - i * 0.001, "frog")))
    (found,) = await items(store, one_search(direction("frog")), 100, 50, trace)
    assert found[:6] == [f"long{i}" for i in range(6)]
    assert found[6:] == [f"short{i:02}" for i in range(60)]
    assert trace.degraded == []
    assert 1 < store.calls["search"] <= 1 + MAX_REPEATS


async def test_only_the_crowded_vector_is_searched_again() -> None:
    store, trace = FakeVectorStore(), Trace()
    crowd(store, items=1, segments=150)
    store.put(*(segment(f"car{i}", 0, mixed(0.9 - i * 0.001, "car")) for i in range(120)))
    asked: list[tuple[int, int]] = []
    plain = store.search

    async def watched(*args: object) -> object:
        asked.append((len(args[2]), args[3]))  # type: ignore[arg-type]
        return await plain(*args)  # type: ignore[arg-type]

    store.search = watched  # type: ignore[method-assign, assignment]
    frogs, cars = await items(store, one_search(direction("frog"), direction("car")), 100, 50, trace)
    assert asked == [(2, 100), (1, 400)]
    assert frogs[0] == "long0"
    assert len(frogs) >= 50
    assert cars[:3] == ["car0", "car1", "car2"]


async def test_the_cost_is_bounded_and_a_lack_is_said() -> None:
    store, trace = FakeVectorStore(), Trace()
    crowd(store, items=20, segments=1100)
    (found,) = await items(store, one_search(direction("frog")), 100, 50, trace)
    assert found == [f"long{i}" for i in range(1 + MAX_REPEATS)]
    assert store.calls["search"] == 1 + MAX_REPEATS
    assert trace.degraded == [NOTE + "repeats"]


async def test_a_failing_repetition_leaves_what_is_known() -> None:
    store, trace = FakeVectorStore(), Trace()
    crowd(store, items=2, segments=200)
    store.put(segment("short", 0, mixed(0.5, "frog")))
    plain = store.search

    async def failing_later(*args: object) -> object:
        if "not in" in str(args[4]):
            raise UnavailableError("milvus", "down")
        return await plain(*args)  # type: ignore[arg-type]

    store.search = failing_later  # type: ignore[method-assign, assignment]
    (found,) = await items(store, one_search(direction("frog")), 100, 50, trace)
    assert found == ["long0"]
    assert trace.degraded == [NOTE + "milvus unavailable"]


async def test_a_hanging_repetition_is_cut_off_by_the_budget_of_the_search() -> None:
    store, trace = FakeVectorStore(), Trace()
    crowd(store, items=2, segments=200)
    plain = store.search

    async def hanging_later(*args: object) -> object:
        if "not in" in str(args[4]):
            await asyncio.sleep(30)
        return await plain(*args)  # type: ignore[arg-type]

    store.search = hanging_later  # type: ignore[method-assign, assignment]
    search = one_search(direction("frog"), direction("frog"))
    found = await asyncio.wait_for(
        ItemSearcher(store, VERSION).search(search, 100, 50, "", trace, 0.2, "retrieve"), 10
    )
    assert [[hit.item_id for hit in hits] for hits in found] == [["long0"], ["long0"]]
    assert trace.degraded == [NOTE + "deadline"]


async def test_the_filter_of_the_query_stays() -> None:
    store, trace = FakeVectorStore(), Trace()
    crowd(store, items=3, segments=200)
    store.put(*(segment(f"short{i}", 0, mixed(0.5, "frog")) for i in range(4)))
    among = restrict_to_items("", ["long1", "long2", "short3"])
    (found,) = await items(store, one_search(direction("frog")), 100, 3, trace, among)
    assert found == ["long1", "long2", "short3"]


@settings(max_examples=60, deadline=None)
@given(
    segments=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    rows=st.integers(1, 30),
    wanted=st.integers(1, 12),
    seed=st.integers(0, 2**16),
)
def test_as_grouping_all_rows_by_brute_force(
    segments: Sequence[int], rows: int, wanted: int, seed: int
) -> None:
    """A prefix of the truth, with the best row of each item, long enough unless the trace says otherwise."""
    random = np.random.default_rng(seed)
    store, trace = FakeVectorStore(), Trace()
    query = random.standard_normal(UNIFIED_DIM).astype(np.float32)
    for item, count in enumerate(segments):
        centre = random.standard_normal(UNIFIED_DIM)
        for number in range(count):
            vector = centre + 0.3 * random.standard_normal(UNIFIED_DIM)
            store.put(segment(f"i{item}", number, vector.astype(np.float32)))
    similarities = {
        item: max(float(row.embedding.unified @ query) for row in store.rows.values() if row.item_id == item)
        for item in {row.item_id for row in store.rows.values()}
    }
    truth = sorted(similarities, key=lambda item: -similarities[item])

    async def run() -> None:
        searcher = ItemSearcher(store, VERSION)
        (found,) = await searcher.search(one_search(query), rows, wanted, "", trace, 5.0, "retrieve")
        assert [hit.item_id for hit in found] == truth[: len(found)]
        assert [hit.similarity for hit in found] == [similarities[hit.item_id] for hit in found]
        if not trace.degraded:
            assert len(found) >= min(wanted, len(truth))
        assert store.calls["search"] <= 1 + MAX_REPEATS

    asyncio.run(run())


# ---- through the pipeline ----


async def stock(world: World, segments: int) -> None:
    """Two items whose long sounds are all about frogs, and two that are about frogs in fewer words."""
    for item in ("long0", "long1", "short-green", "short-red"):
        await world.add(item, "nothing")
    crowd(world.store, items=2, segments=segments)
    world.store.put(segment("short-green", 0, direction("frog green")))
    world.store.put(segment("short-red", 0, direction("frog red")))


async def test_short_sounds_are_found_beside_long_ones(world: World) -> None:
    await stock(world, segments=250)
    result = await world.search("frog", targets=(Modality.AUDIO,), mmr_lambda=1.0)
    assert [hit.item.id for hit in result.hits][:2] == ["long0", "long1"]
    assert {hit.item.id for hit in result.hits} == {"long0", "long1", "short-green", "short-red"}
    assert result.hits[0].moment is not None
    assert result.hits[0].moment.start_s == 0.0
    assert result.degraded == ()


async def test_pages_do_not_depend_on_limit_and_offset_where_items_are_long(make_world: MakeWorld) -> None:
    world = make_world(retrieve=RetrieveSettings(rows_per_search=20))
    await stock(world, segments=50)
    for i in range(30):
        await world.add(f"i{i:02}", "nothing")
        world.store.put(segment(f"i{i:02}", 0, direction(f"frog n{i}")))
    whole = [hit.item.id for hit in (await world.search("frog", targets=(Modality.AUDIO,), limit=100)).hits]
    pages = [
        hit.item.id
        for offset in range(0, len(whole), 3)
        for hit in (await world.search("frog", targets=(Modality.AUDIO,), limit=3, offset=offset)).hits
    ]
    assert pages == whole
    assert len(whole) >= 10


async def test_a_mixed_query_weighs_short_items_against_every_part(world: World) -> None:
    await stock(world, segments=250)
    result = await world.search("frog", "green", targets=(Modality.AUDIO,), mmr_lambda=1.0)
    green = next(hit for hit in result.hits if hit.item.id == "short-green")
    assert {signal.part for signal in green.signals} == {0, 1}
    pushed = await world.search("frog", QueryPart("green", -1.0), targets=(Modality.AUDIO,), mmr_lambda=1.0)
    disliked = next(hit for hit in pushed.hits if hit.item.id == "short-green")
    assert min(signal.weight for signal in disliked.signals) == -1.0


async def test_repetitions_keep_within_the_stage(make_world: MakeWorld) -> None:
    world = make_world(budget=BudgetSettings(retrieve_s=0.4))
    await stock(world, segments=250)
    world.store.delay_s["search"] = 0.3
    result = await world.search("frog", targets=(Modality.AUDIO,))
    assert [hit.item.id for hit in result.hits] == ["long0"]
    assert result.degraded == (NOTE + "deadline",)


@pytest.mark.parametrize("expression", ["", "made up"])
async def test_what_a_failed_search_of_the_second_pass_lacks_the_first_still_knows(
    world: World, expression: str
) -> None:
    for item, title in (("frog", "green frog"), ("tree", "green tree")):
        await world.add(item, title)
        world.store.put(segment(item, 0, direction(title)))
    plain = world.store.search

    async def failing(*args: object) -> object:
        if args[1] is Modality.AUDIO and "item_id in" in str(args[4]):
            raise UnavailableError("milvus", "down")
        return await plain(*args)  # type: ignore[arg-type]

    world.store.search = failing  # type: ignore[method-assign, assignment]
    result = await world.search("green", "frog", expression=expression)
    assert result.hits[0].item.id == "frog"
    assert {signal.item_modality for signal in result.hits[0].signals} == {Modality.TEXT, Modality.AUDIO}
    assert result.degraded == ("retrieve: audio: milvus unavailable",)
