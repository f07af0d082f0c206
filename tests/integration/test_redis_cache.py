"""Both caches on a real redis-server: shared by processes, out of the way when it is gone."""

import asyncio
import time
from collections.abc import Callable

import numpy as np
from fixtures_orchestrator import MakeWorld, World
from fixtures_redis import redis_contents
from redis import Redis

from cli.redis_server import RedisServer
from media import Modality
from orchestrator.access.caller import EVERYONE
from orchestrator.cache import EmbeddingCache
from orchestrator.cache_keys import embedding_key
from orchestrator.clients.redis import RedisStore
from orchestrator.settings import CacheSettings
from orchestrator.types import Embedding
from sensorium.v1 import sensorium_pb2 as pb

MakeStore = Callable[[], RedisStore]
WORDS = "a very private question"


def ask(words: str = WORDS) -> pb.SearchRequest:
    return pb.SearchRequest(parts=[pb.QueryPart(text=words)])


async def known(world: World) -> None:
    """Waits until the store knows the last change of ``world``'s catalogue."""
    for _ in range(200):
        if await world.common.generations.current() is not None:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the change was never told")


def two_processes(make_world: MakeWorld, redis_store: MakeStore) -> tuple[World, World]:
    """Two orchestrators on one catalogue, each with a connection of its own."""
    one, other = (make_world(cache=CacheSettings(), shared=redis_store()) for _ in range(2))
    other.store.rows, other.items.items = one.store.rows, one.items.items
    return one, other


async def test_processes_share_answers_and_embeddings(make_world: MakeWorld, redis_store: MakeStore) -> None:
    one, other = two_processes(make_world, redis_store)
    await one.add("frog", "green frog")
    await known(one)
    first = await one.service.search(ask(), caller=EVERYONE)
    second = await other.service.search(ask(), caller=EVERYONE)
    assert (first.cached, second.cached) == (False, True)
    assert second.hits == first.hits
    assert other.encoder.calls["embed"] == 0
    # Another question about the same content: the embedding alone is shared.
    third = await other.service.search(
        pb.SearchRequest(parts=[pb.QueryPart(text=WORDS)], limit=3), caller=EVERYONE
    )
    assert not third.cached
    assert other.encoder.calls["embed"] == 0


async def test_a_change_reaches_the_other_process_within_the_bound(
    make_world: MakeWorld, redis_store: MakeStore
) -> None:
    one, other = two_processes(make_world, redis_store)
    await one.add("frog", "green frog")
    await known(one)
    await one.service.search(ask(), caller=EVERYONE)
    assert (await other.service.search(ask(), caller=EVERYONE)).cached
    await one.add("toad", f"toad {WORDS}")
    await known(one)
    assert "toad" in [hit.item.id for hit in (await one.service.search(ask(), caller=EVERYONE)).hits]
    other.common.generations._clock = lambda: time.monotonic() + 1.0  # one bound later
    assert "toad" in [hit.item.id for hit in (await other.service.search(ask(), caller=EVERYONE)).hits]


async def test_nothing_of_a_question_stands_in_a_key(
    make_world: MakeWorld, redis_store: MakeStore, redis_server: RedisServer
) -> None:
    world = make_world(cache=CacheSettings(), shared=redis_store())
    await world.service.search(ask(), caller=EVERYONE)
    contents = redis_contents(redis_server)
    assert len(contents) == 3  # generation, embedding, answer
    for key, value in contents.items():
        assert key.startswith(b"sensorium:")
        assert WORDS.encode() not in key + value
        assert b"private" not in key + value
    with Redis(port=redis_server.port) as client:
        lives = {key: client.ttl(key) for key in contents}
    assert sorted(lives.values())[0] == -1  # the generation; it may be lost, and then another is drawn
    assert all(0 < int(str(ttl)) <= 3600 for key, ttl in lives.items() if key != b"sensorium:generation")


async def test_a_lost_generation_is_never_given_out_again(
    redis_store: MakeStore, redis_server: RedisServer
) -> None:
    store = redis_store()
    seen = {await store.generation()}
    for _ in range(5):
        with Redis(port=redis_server.port) as client:
            client.delete("sensorium:generation")
        fresh = await store.generation()
        assert fresh is not None
        assert fresh not in seen
        assert await store.generation() == fresh
        seen.add(fresh)
    assert await store.new_generation() not in seen


async def test_an_entry_comes_back_as_it_was(redis_store: MakeStore) -> None:
    rng = np.random.default_rng(0)
    for native in (None, rng.standard_normal(512).astype(np.float32)):
        entry = Embedding(rng.standard_normal(1024).astype(np.float32), native)
        key = embedding_key(Modality.AUDIO, rng.bytes(32), "v1")

        async def make(entry: Embedding = entry) -> Embedding:
            return entry

        async def never() -> Embedding:
            raise AssertionError("it is in the store")

        await EmbeddingCache(1 << 20, 60, redis_store()).get(key, make)
        found, _ = await EmbeddingCache(1 << 20, 60, redis_store()).get(key, never)
        np.testing.assert_array_equal(found.unified, entry.unified)
        assert (found.native is None) is (native is None)
        if native is not None and found.native is not None:
            np.testing.assert_array_equal(found.native, native)


async def test_values_are_bounded(redis_store: MakeStore) -> None:
    store = redis_store()
    await store.put(b"small", bytes(1000), 60)
    await store.put(b"large", bytes(2 << 20), 60)
    assert (await store.get(b"small"), await store.get(b"large")) == (bytes(1000), None)


async def test_a_redis_that_goes_away_is_a_miss_and_then_left_alone(
    make_world: MakeWorld, redis_store: MakeStore, redis_server: RedisServer
) -> None:
    store = redis_store()
    now_s = [0.0]
    store._clock = lambda: now_s[0]
    world = make_world(cache=CacheSettings(), shared=store)
    await world.add("frog", "green frog")
    await known(world)
    await world.service.search(ask("frog"), caller=EVERYONE)
    assert (await world.service.search(ask("frog"), caller=EVERYONE)).cached
    redis_server.kill()
    try:
        for _ in range(5):
            answer = await world.service.search(ask("frog"), caller=EVERYONE)
            assert answer.hits
            assert (answer.cached, list(answer.degraded)) == (False, [])
        assert store.failures == 1
        for pause_s in (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0):
            failures = store.failures
            now_s[0] += pause_s - 0.01
            assert (await world.service.search(ask("frog"), caller=EVERYONE)).hits
            assert store.failures == failures
            now_s[0] += 0.02
            assert (await world.service.search(ask("frog"), caller=EVERYONE)).hits
            assert store.failures == failures + 1
    finally:
        redis_server.start()
    now_s[0] += 10.0
    world.common.generations._clock = lambda: time.monotonic() + 10.0
    await world.service.search(ask("frog"), caller=EVERYONE)
    assert (await world.service.search(ask("frog"), caller=EVERYONE)).cached


async def test_a_redis_that_hangs_costs_one_timeout(redis_server: RedisServer) -> None:
    assert redis_server.process is not None
    async with RedisStore(redis_server.url, 0.05, lambda: 0.0) as store:
        store._timeout_s = 5.0  # the connection is made while it answers, however busy the machine
        await store.put(b"k", b"v", 60)
        store._timeout_s = 0.05
        redis_server.process.send_signal(19)  # SIGSTOP
        try:
            assert [await store.get(b"k") for _ in range(50)] == [None] * 50
            assert store.failures == 1
        finally:
            redis_server.process.send_signal(18)  # SIGCONT
