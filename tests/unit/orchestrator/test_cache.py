"""The embedding cache: bounds, single flight, cancellation."""

import asyncio

import numpy as np
import pytest

from orchestrator.cache import EmbeddingCache
from orchestrator.errors import UnavailableError
from orchestrator.types import Embedding

ENTRY = Embedding(np.ones(1024, np.float32))


class Maker:
    """Makes an entry when told to, and counts."""

    def __init__(self, error: Exception | None = None) -> None:
        self.go = asyncio.Event()
        self.started = 0
        self.cancelled = 0
        self.error = error

    async def __call__(self) -> Embedding:
        self.started += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return ENTRY


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_was_made_is_kept() -> None:
    cache = EmbeddingCache(1 << 20, 60)
    maker = Maker()
    maker.go.set()
    assert await cache.get(b"k", maker) == (ENTRY, False)
    assert await cache.get(b"k", maker) == (ENTRY, True)
    assert maker.started == 1


async def test_callers_at_once_share_one_flight() -> None:
    cache = EmbeddingCache(1 << 20, 60)
    maker = Maker()
    callers = [asyncio.create_task(cache.get(b"k", maker)) for _ in range(20)]
    await settle()
    maker.go.set()
    assert [entry for entry, _ in await asyncio.gather(*callers)] == [ENTRY] * 20
    assert maker.started == 1


async def test_a_caller_that_gives_up_does_not_end_it_for_the_others() -> None:
    cache = EmbeddingCache(1 << 20, 60)
    maker = Maker()
    first = asyncio.create_task(cache.get(b"k", maker))
    second = asyncio.create_task(cache.get(b"k", maker))
    await settle()
    first.cancel()
    await settle()
    maker.go.set()
    assert (await second)[0] is ENTRY
    assert first.cancelled()
    assert (maker.started, maker.cancelled) == (1, 0)


async def test_a_flight_that_nobody_waits_for_is_cancelled() -> None:
    cache = EmbeddingCache(1 << 20, 60)
    maker = Maker()
    callers = [asyncio.create_task(cache.get(b"k", maker)) for _ in range(3)]
    await settle()
    for caller in callers:
        caller.cancel()
    await settle()
    assert maker.cancelled == 1
    assert len(cache) == 0
    again = Maker()
    again.go.set()
    assert await cache.get(b"k", again) == (ENTRY, False)


async def test_a_new_caller_during_the_cancellation_gets_a_new_flight() -> None:
    cache = EmbeddingCache(1 << 20, 60)
    maker = Maker()
    first = asyncio.create_task(cache.get(b"k", maker))
    await settle()
    first.cancel()
    second = asyncio.create_task(cache.get(b"k", maker))
    await settle()
    maker.go.set()
    assert (await second)[0] is ENTRY
    assert (maker.started, maker.cancelled) == (2, 1)


async def test_a_failure_reaches_every_waiter_and_is_forgotten() -> None:
    cache = EmbeddingCache(1 << 20, 60)
    failing = Maker(UnavailableError("triton", "down"))
    callers = [asyncio.create_task(cache.get(b"k", failing)) for _ in range(3)]
    await settle()
    failing.go.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(result, UnavailableError) for result in results)
    working = Maker()
    working.go.set()
    assert await cache.get(b"k", working) == (ENTRY, False)


async def test_bytes_are_bounded_and_the_oldest_goes_first() -> None:
    cache = EmbeddingCache(3 * 5000, 60)
    maker = Maker()
    maker.go.set()
    for key in (b"a", b"b", b"c"):
        await cache.get(key, maker)
    await cache.get(b"a", maker)
    await cache.get(b"d", maker)
    assert cache.size_bytes <= 3 * 5000
    assert (await cache.get(b"a", maker))[1]
    assert not (await cache.get(b"b", maker))[1]


async def test_an_entry_larger_than_the_cache_is_passed_through() -> None:
    cache = EmbeddingCache(100, 60)
    maker = Maker()
    maker.go.set()
    assert await cache.get(b"k", maker) == (ENTRY, False)
    assert len(cache) == 0


async def test_entries_grow_old(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = EmbeddingCache(1 << 20, 0.05)
    maker = Maker()
    maker.go.set()
    await cache.get(b"k", maker)
    await asyncio.sleep(0.1)
    assert await cache.get(b"k", maker) == (ENTRY, False)


async def test_close_ends_every_flight() -> None:
    cache = EmbeddingCache(1 << 20, 60)
    maker = Maker()
    caller = asyncio.create_task(cache.get(b"k", maker))
    await settle()
    await cache.close()
    await asyncio.gather(caller, return_exceptions=True)
    assert maker.cancelled == 1
