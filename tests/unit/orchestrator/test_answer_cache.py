"""Kept answers: when they are given, to whom, and when not."""

import asyncio

import numpy as np
import pytest
from fixtures_orchestrator import MakeWorld, World

from orchestrator.access.caller import EVERYONE
from orchestrator.errors import OverloadedError, UnavailableError
from orchestrator.generations import BOUND_S, Generations
from orchestrator.query import QueryPart, SearchOptions, SearchQuery, SearchResult
from orchestrator.settings import AdmissionSettings, CacheSettings
from sensorium.v1 import sensorium_pb2 as pb

ON = CacheSettings()


@pytest.fixture
async def shop(make_world: MakeWorld) -> World:
    world = make_world(cache=ON)
    for item_id, title in [("frog", "green frog"), ("car", "red car"), ("tree", "green tree")]:
        await world.add(item_id, title)
    return world


def ask(words: str, **fields: object) -> pb.SearchRequest:
    return pb.SearchRequest(parts=[pb.QueryPart(text=words)], **fields)  # type: ignore[arg-type]


async def test_the_second_answer_is_the_first_one_under_its_own_name(shop: World) -> None:
    first = await shop.service.search(ask("frog"), caller=EVERYONE)
    second = await shop.service.search(ask("frog"), caller=EVERYONE)
    assert (first.cached, second.cached) == (False, True)
    assert second.hits == first.hits
    assert (second.candidates, second.embedding_version) == (first.candidates, first.embedding_version)
    assert second.request_id not in ("", first.request_id)
    assert [stage.stage for stage in second.stages] == ["admit", "classify", "cache"]
    assert [stage.stage for stage in first.stages][:4] == ["admit", "classify", "cache", "embed"]
    assert [part.cached for part in second.parts] == [True]
    told = shop.service.metrics.render().decode()
    assert 'sensorium_answer_sources_total{modality="text",source="cache"} 1.0' in told
    assert 'sensorium_answer_sources_total{modality="text",source="pipeline"} 1.0' in told


@pytest.mark.parametrize(
    "other",
    [
        ask("frogs"),
        ask("frog", limit=2),
        ask("frog", offset=1),
        ask("frog", mmr_lambda=0.75),
        ask("frog", min_score=0.125),
        ask("frog", target_modalities=[pb.TEXT]),
        ask("frog", filter=pb.Filter(available=True)),
        ask("frog", options=pb.SearchOptions(rerank=True)),
        ask("frog", options=pb.SearchOptions(cache=False)),
        ask("frog", user="ann"),
        pb.SearchRequest(parts=[pb.QueryPart(text="frog", weight=2)]),
        pb.SearchRequest(parts=[pb.QueryPart(text="frog"), pb.QueryPart(text="car")]),
    ],
)
async def test_another_question_gets_an_answer_of_its_own(shop: World, other: pb.SearchRequest) -> None:
    await shop.service.search(ask("frog"), caller=EVERYONE)
    assert not (await shop.service.search(other, caller=EVERYONE)).cached


async def test_what_means_the_same_shares_an_answer(shop: World) -> None:
    await shop.service.search(ask("frog"), caller=EVERYONE)
    for same in (
        ask("frog", limit=10),
        ask("frog", mmr_lambda=0.5),
        ask("frog", target_modalities=[pb.TEXT, pb.IMAGE, pb.AUDIO, pb.VIDEO]),
        ask("frog", priority=pb.Priority.BATCH),
        ask("  frog "),
    ):
        assert (await shop.service.search(same, caller=EVERYONE)).cached


async def test_a_change_of_the_catalogue_is_seen_at_once(shop: World) -> None:
    await shop.service.search(ask("frog"), caller=EVERYONE)
    await shop.add("toad", "green frog and toad")
    after = await shop.service.search(ask("frog"), caller=EVERYONE)
    assert not after.cached
    assert "toad" in [hit.item.id for hit in after.hits]
    await shop.service.delete(pb.DeleteRequest(ids=["toad"]), EVERYONE)
    assert "toad" not in [
        hit.item.id for hit in (await shop.service.search(ask("frog"), caller=EVERYONE)).hits
    ]
    assert (await shop.service.search(ask("frog"), caller=EVERYONE)).cached


async def test_an_answer_begun_before_a_change_is_not_given_after_it(shop: World) -> None:
    shop.items.delay_s["get_many"] = 0.2
    begun = asyncio.create_task(shop.service.search(ask("frog"), caller=EVERYONE))
    await asyncio.sleep(0.1)
    await shop.add("toad", "green frog and toad")
    await begun
    assert "toad" in [hit.item.id for hit in (await shop.service.search(ask("frog"), caller=EVERYONE)).hits]


async def test_what_a_named_user_is_shown_is_theirs_and_recorded(shop: World) -> None:
    await shop.service.search(ask("frog"), caller=EVERYONE)
    answers = [await shop.service.search(ask("frog", user="ann"), caller=EVERYONE) for _ in range(2)]
    assert not any(answer.cached for answer in answers)
    assert shop.feedback.calls["record"] == 2
    assert (await shop.service.search(ask("frog"), caller=EVERYONE)).cached


async def test_an_answer_that_lacks_something_is_not_kept(shop: World) -> None:
    shop.store.fail["vectors"] = UnavailableError("milvus", "down")
    assert (await shop.service.search(ask("green"), caller=EVERYONE)).degraded
    shop.store.fail.clear()
    whole = await shop.service.search(ask("green"), caller=EVERYONE)
    assert (whole.cached, list(whole.degraded)) == (False, [])
    assert (await shop.service.search(ask("green"), caller=EVERYONE)).cached


async def test_a_kept_answer_takes_no_place(make_world: MakeWorld) -> None:
    world = make_world(cache=ON, admission=AdmissionSettings(max_concurrent=1, max_waiting=0))
    await world.add("frog", "green frog")
    await world.service.search(ask("frog"), caller=EVERYONE)
    world.store.delay_s["search"] = 30.0
    busy = asyncio.create_task(world.service.search(ask("slow"), caller=EVERYONE))
    await asyncio.sleep(0.1)
    assert (await world.service.search(ask("frog"), caller=EVERYONE)).cached
    with pytest.raises(OverloadedError):
        await world.service.search(ask("another"), caller=EVERYONE)
    busy.cancel()
    await asyncio.gather(busy, return_exceptions=True)


async def test_equal_questions_at_once_are_worked_out_once(shop: World) -> None:
    shop.store.delay_s["search"] = 0.1
    before = shop.store.calls["search"]
    answers = await asyncio.gather(*(shop.service.search(ask("frog"), caller=EVERYONE) for _ in range(20)))
    assert shop.store.calls["search"] - before == 4  # one per target modality
    assert sum(answer.cached for answer in answers) == 19
    assert len({answer.request_id for answer in answers}) == 20


async def test_nobody_waits_for_the_flight_of_one_who_goes_behind(shop: World) -> None:
    shop.store.delay_s["search"] = 0.1
    answers = await asyncio.gather(
        shop.service.search(ask("frog", priority=pb.Priority.BATCH), caller=EVERYONE),
        shop.service.search(ask("frog"), caller=EVERYONE),
    )
    assert [answer.cached for answer in answers] == [False, False]
    assert (await shop.service.search(ask("frog", priority=pb.Priority.BATCH), caller=EVERYONE)).cached


async def test_when_the_one_who_works_leaves_another_takes_over(shop: World) -> None:
    shop.store.delay_s["search"] = 0.2
    tasks = [asyncio.create_task(shop.service.search(ask("frog"), caller=EVERYONE)) for _ in range(4)]
    await asyncio.sleep(0.05)
    tasks[0].cancel()
    _, *answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(answer.cached for answer in answers if isinstance(answer, pb.SearchResponse)) == [
        False,
        True,
        True,
    ]


async def test_a_deadline_of_the_one_who_works_is_not_the_others(shop: World) -> None:
    shop.store.delay_s["search"] = 0.2
    hurried = asyncio.create_task(shop.service.search(ask("frog"), 0.1, caller=EVERYONE))
    await asyncio.sleep(0.02)
    patient = asyncio.create_task(shop.service.search(ask("frog"), caller=EVERYONE))
    _, answer = await asyncio.gather(hurried, patient, return_exceptions=True)
    assert isinstance(answer, pb.SearchResponse)
    assert hurried.exception() is not None or hurried.result().degraded


async def test_a_failure_is_nobody_elses(shop: World) -> None:
    shop.store.delay_s["search"] = 0.05
    shop.store.fail["search"] = UnavailableError("milvus", "down")
    results = await asyncio.gather(
        *(shop.service.search(ask("x"), caller=EVERYONE) for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(result, UnavailableError) for result in results)
    assert shop.store.calls["search/text"] == 3
    shop.store.fail.clear()
    assert not (await shop.service.search(ask("x"), caller=EVERYONE)).cached


async def test_it_is_bounded_in_bytes(make_world: MakeWorld) -> None:
    world = make_world(cache=CacheSettings(answers_max_bytes=4000))
    for number in range(20):
        await world.add(f"i{number}", f"frog number {number}")
    for number in range(20):
        await world.service.search(ask(f"frog {number}", limit=3), caller=EVERYONE)
        assert world.common.answers.size_bytes <= 4000
    assert world.common.answers.size_bytes > 0
    assert (await world.service.search(ask("frog 19", limit=3), caller=EVERYONE)).cached
    assert not (await world.service.search(ask("frog 0", limit=3), caller=EVERYONE)).cached


async def test_it_is_bounded_in_time(make_world: MakeWorld) -> None:
    world = make_world(cache=CacheSettings(answers_ttl_s=0.05))
    await world.add("frog", "green frog")
    await world.service.search(ask("frog"), caller=EVERYONE)
    await asyncio.sleep(0.1)
    assert not (await world.service.search(ask("frog"), caller=EVERYONE)).cached


async def test_0_bytes_switch_it_off(make_world: MakeWorld) -> None:
    world = make_world(cache=CacheSettings(answers_max_bytes=0))
    await world.add("frog", "green frog")
    assert not any([(await world.service.search(ask("frog"), caller=EVERYONE)).cached for _ in range(3)])


async def test_hits_of_a_zipf_workload(shop: World) -> None:
    """2,000 searches over 1,000 questions, as the load tests draw them: at least 68 % come from the cache."""
    ranks = np.arange(1, 1001) ** -1.1
    drawn = np.random.default_rng(17).choice(1000, 2000, p=ranks / ranks.sum())
    answers = [await shop.answer(query(f"frog {number}")) for number in drawn]
    assert sum(answer.cached for answer in answers) == len(drawn) - len(set(drawn.tolist()))
    assert sum(answer.cached for answer in answers) / len(drawn) >= 0.68


def query(words: str) -> SearchQuery:
    return SearchQuery((QueryPart(words),), options=SearchOptions(rerank=False))


async def test_a_value_that_is_no_answer_is_a_miss(shop: World) -> None:
    async def asked() -> SearchResult:
        return await shop.answer(query("frog"))

    await asked()
    (key,) = shop.common.answers._entries
    shop.common.answers._entries[key] = b"\xff\xffnot a message"
    assert not (await asked()).cached
    assert (await asked()).cached


class Shared:
    """A generation that others may end, and that may be out of reach."""

    def __init__(self) -> None:
        self.now = b"one"
        self.up = True
        self.drawn = 0

    async def get(self, key: bytes) -> bytes | None:
        return None

    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None: ...

    async def generation(self) -> bytes | None:
        return self.now if self.up else None

    async def new_generation(self) -> bytes | None:
        if not self.up:
            return None
        self.drawn += 1
        self.now = f"drawn {self.drawn}".encode()
        return self.now


async def test_a_change_by_another_process_is_known_after_the_bound() -> None:
    shared, now_s = Shared(), [0.0]
    mine = Generations(shared, lambda: now_s[0])
    assert await mine.current() == b"one"
    shared.now = b"two"
    now_s[0] = BOUND_S * 0.99
    assert await mine.current() == b"one"
    now_s[0] = BOUND_S
    assert await mine.current() == b"two"


async def test_until_the_others_know_of_a_change_nothing_is_read_or_kept() -> None:
    shared = Shared()
    mine = Generations(shared)
    assert await mine.current() == b"one"
    shared.up = False
    for _ in range(5):
        mine.changed()
    await asyncio.sleep(0.05)
    assert await mine.current() is None
    shared.up = True
    for _ in range(100):
        if (generation := await mine.current()) is not None:
            break
        await asyncio.sleep(0.05)
    assert generation == b"drawn 1"  # changes that come at once are told once
    mine.changed()
    await mine.close()
