"""The pipeline on fakes when something fails, is refused, takes too long, or its caller leaves."""

import asyncio

import pytest
from fixtures_orchestrator import MakeWorld, World
from search_support import picture, sound, stock

from orchestrator.errors import (
    DeadlineError,
    DependencyDeadlineError,
    OverloadedError,
    PartError,
    RequestError,
    SchemaMismatchError,
    TooLargeError,
    UnavailableError,
)
from orchestrator.query import QueryPart, SearchQuery
from orchestrator.settings import (
    AdmissionSettings,
    BudgetSettings,
)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (SearchQuery(parts=()), RequestError),
        (SearchQuery(parts=(QueryPart("a"),) * 9), TooLargeError),
        (SearchQuery(parts=(QueryPart("a", 0.0),)), RequestError),
        (SearchQuery(parts=(QueryPart("a", float("nan")),)), RequestError),
        (SearchQuery(parts=(QueryPart("a", 11.0),)), RequestError),
        (SearchQuery(parts=(QueryPart("a", -1.0),)), RequestError),
        (SearchQuery(parts=(QueryPart("a"),), limit=101), RequestError),
        (SearchQuery(parts=(QueryPart("a"),), offset=1001), RequestError),
        (SearchQuery(parts=(QueryPart("a"),), min_score=1.5), RequestError),
        (SearchQuery(parts=(QueryPart("a"),), min_score=float("nan")), RequestError),
        (SearchQuery(parts=(QueryPart("a"),), mmr_lambda=-0.1), RequestError),
        (SearchQuery(parts=(QueryPart("a"),), targets=()), RequestError),
    ],
)
async def test_what_cannot_be_answered_is_refused_before_it_costs_anything(
    world: World, query: SearchQuery, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await world.answer(query)
    assert not world.encoder.calls


@pytest.mark.parametrize(
    ("content", "code"),
    [(" ", "media.empty"), (b"", "media.empty"), (b"PK\x03\x04" + bytes(100), "media.unsupported")],
)
async def test_bad_content_names_its_part(world: World, content: str | bytes, code: str) -> None:
    with pytest.raises(PartError) as refused:
        await world.search("fine", content)
    assert refused.value.part == 1
    assert refused.value.code == code


async def test_content_that_a_decoder_refuses_names_its_part(world: World) -> None:
    world.encoder.fail["embed/image"] = PartError("media.corrupt", "broken", kind="png")
    with pytest.raises(PartError) as refused:
        await world.search("fine", picture("red"))
    assert (refused.value.part, refused.value.code) == (1, "media.corrupt")


async def test_one_target_less_is_said(world: World) -> None:
    await stock(world)
    world.store.fail["search/image"] = DependencyDeadlineError("milvus", "slow")
    result = await world.search("frog")
    assert result.hits[0].item.id == "frog"
    assert result.degraded == ("retrieve: image: deadline",)


async def test_a_search_that_hangs_is_cut_off(make_world: MakeWorld) -> None:
    world = make_world(budget=BudgetSettings(retrieve_s=0.1))
    await stock(world)
    world.store.delay_s["search/video"] = 30.0
    result = await world.search("frog")
    assert result.hits
    assert result.degraded == ("retrieve: video: deadline",)


@pytest.mark.parametrize("error", [UnavailableError("milvus", "down"), SchemaMismatchError("gone")])
async def test_nothing_searched_is_an_error_and_not_an_empty_answer(world: World, error: Exception) -> None:
    world.store.fail["search"] = error
    with pytest.raises(type(error)):
        await world.search("frog")


async def test_one_part_less_is_said(world: World) -> None:
    await stock(world)
    world.encoder.fail["embed/image"] = UnavailableError("triton", "down")
    result = await world.search("frog", picture("red"))
    assert result.hits[0].item.id == "frog"
    assert result.degraded == ("embed: part 1: triton unavailable",)


async def test_no_positive_part_embedded_is_an_error(world: World) -> None:
    await stock(world)
    world.encoder.fail["embed/image"] = UnavailableError("triton", "down")
    with pytest.raises(UnavailableError):
        await world.search(picture("red"), QueryPart("frog", -1.0))


async def test_without_vectors_the_fused_order_stands(world: World) -> None:
    await stock(world)
    world.store.fail["vectors"] = UnavailableError("milvus", "down")
    result = await world.search("green frog", "green tree")
    assert result.degraded == ("diversify: milvus unavailable",)
    scores = [hit.score for hit in result.hits]
    assert scores == sorted(scores, reverse=True)


async def test_without_the_item_store_hits_have_ids(world: World) -> None:
    await stock(world)
    world.items.fail["get_many"] = UnavailableError("item store", "locked")
    result = await world.search("green frog")
    assert result.hits[0].item.id == "frog"
    assert result.hits[0].item.title == ""
    assert result.degraded == ("answer: item fields: item store unavailable",)


async def test_an_item_deleted_meanwhile_is_left_out_and_said(world: World) -> None:
    await stock(world)
    del world.items.items["frog"]
    result = await world.search("green frog")
    assert "frog" not in [hit.item.id for hit in result.hits]
    assert result.degraded == ("answer: 1 found but no longer stored",)


async def test_the_callers_deadline_bounds_the_whole(world: World) -> None:
    world.store.delay_s["search"] = 30.0
    world.encoder.delay_s["embed"] = 30.0
    query = SearchQuery(parts=(QueryPart("frog"),))
    with pytest.raises((DeadlineError, TimeoutError)):
        await asyncio.wait_for(world.answer(query, 0.1), 5)
    await asyncio.sleep(0)
    assert world.encoder.running["embed"] == 0


async def test_a_cancelled_caller_cancels_the_work(world: World) -> None:
    world.encoder.delay_s["embed"] = 30.0
    world.encoder.delay_s["transcribe"] = 30.0
    query = SearchQuery(parts=(QueryPart("frog"), QueryPart(sound())))
    task = asyncio.create_task(world.answer(query))
    await asyncio.sleep(0.3)
    assert (world.encoder.running["embed"], world.encoder.running["transcribe"]) == (2, 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0)
    assert world.encoder.running.total() == 0
    assert world.common.gate.active == 0


@pytest.mark.parametrize(
    "call", ["embed", "transcribe", "vocabulary", "search", "vectors", "get_many", "history", "record"]
)
async def test_whatever_stage_a_caller_leaves_in_its_place_is_free_at_once(
    make_world: MakeWorld, call: str
) -> None:
    world = make_world(admission=AdmissionSettings(max_concurrent=1))
    await stock(world)
    fakes = (world.encoder, world.store, world.items, world.feedback)
    for fake in fakes:
        fake.delay_s[call] = 30.0
    query = SearchQuery(parts=(QueryPart("car"), QueryPart(sound())), user="ann", request_id="r")
    task = asyncio.create_task(world.answer(query))
    for _ in range(2000):
        if any(fake.running[call] for fake in fakes):
            break
        await asyncio.sleep(0.01)
    assert world.common.gate.active == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert world.common.gate.active == 0
    await asyncio.sleep(0)
    assert not any(fake.running[call] for fake in fakes)
    for fake in fakes:
        fake.delay_s.clear()
    assert (await world.search("green frog")).hits


async def test_more_at_once_than_may_wait_are_turned_away(make_world: MakeWorld) -> None:
    world = make_world(admission=AdmissionSettings(max_concurrent=2, max_waiting=3))
    await stock(world)
    world.store.delay_s["search"] = 0.05
    results = await asyncio.gather(*(world.search(f"frog {i}") for i in range(10)), return_exceptions=True)
    assert sum(isinstance(result, OverloadedError) for result in results) == 5
    assert sum(not isinstance(result, Exception) for result in results) == 5
    assert (world.common.gate.active, world.pipeline.gate.waiting) == (0, 0)


async def test_a_waiting_caller_that_leaves_gives_its_place_up(make_world: MakeWorld) -> None:
    world = make_world(admission=AdmissionSettings(max_concurrent=1, max_waiting=1))
    await stock(world)
    world.store.delay_s["search"] = 0.1
    first = asyncio.create_task(world.search("frog"))
    second = asyncio.create_task(world.search("car"))
    await asyncio.sleep(0.02)
    assert world.common.gate.waiting == 1
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert world.common.gate.waiting == 0
    assert (await first).hits
    assert (await world.search("tree")).hits


async def test_a_tenant_waits_for_one_turn_whoever_its_users_are(make_world: MakeWorld) -> None:
    world = make_world(admission=AdmissionSettings(max_concurrent=1, max_wait_s=60))
    await stock(world)
    world.store.delay_s["search"] = 0.01
    answered: list[str] = []

    async def ask(tenant: str, user: str, number: int) -> None:
        await world.search(f"frog {number}", permission=tenant, user=user, caller=f"key-of-{tenant}")
        answered.append(tenant)

    async with asyncio.TaskGroup() as group:
        for number in range(12):
            group.create_task(ask("acme", f"user-{number}", number))
        await asyncio.sleep(0)
        for number in range(3):
            group.create_task(ask("birch", "ann", 100 + number))
    assert answered.count("acme") == 12
    assert max(place for place, tenant in enumerate(answered) if tenant == "birch") <= 8
