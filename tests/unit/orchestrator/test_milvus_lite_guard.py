"""The order among calls to Milvus Lite."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.clients.milvus_lite import LiteGuard
from orchestrator.clients.milvus_spec import FlushPolicy
from orchestrator.errors import UnavailableError
from orchestrator.types import Space


class Flushes:
    """Counts flushes, holds them up on request, and notes what else goes on meanwhile."""

    def __init__(self) -> None:
        self.count = 0
        self.free = asyncio.Event()
        self.free.set()
        self.running = False
        self.fail = False

    async def __call__(self, space: Space) -> None:
        self.running = True
        try:
            await self.free.wait()
            if self.fail:
                raise UnavailableError("milvus", "gone")
            self.count += 1
        finally:
            self.running = False


def guard(flushes: Flushes, rows: int = 10, idle_s: float = 60.0) -> LiteGuard:
    return LiteGuard(flushes, FlushPolicy(rows=rows, idle_s=idle_s))


async def write(one: LiteGuard, rows: int, space: Space = "unified") -> None:
    async with one.writing(space, rows):
        pass


async def test_flushes_after_so_many_rows() -> None:
    flushes = Flushes()
    one = guard(flushes)
    await write(one, 9)
    assert flushes.count == 0
    await write(one, 9, "audio")
    assert flushes.count == 0
    await write(one, 1)
    assert flushes.count == 1
    await one.close()


async def test_flushes_when_quiet() -> None:
    flushes = Flushes()
    one = guard(flushes, idle_s=0.05)
    await write(one, 1)
    async with asyncio.timeout(5):
        while not flushes.count:  # noqa: ASYNC110 - nothing else tells of it
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert flushes.count == 1
    await one.close()


async def test_no_search_during_a_flush_and_no_flush_during_a_search() -> None:
    flushes = Flushes()
    flushes.free.clear()
    one = guard(flushes, rows=1)
    searching = asyncio.Event()

    async def search() -> None:
        async with one.reading("unified"):
            assert not flushes.running
            searching.set()
            await asyncio.sleep(0.05)
            assert not flushes.running

    first = asyncio.create_task(search())
    await searching.wait()
    writer = asyncio.create_task(write(one, 1))
    await first
    await asyncio.sleep(0.01)
    assert flushes.running
    second = asyncio.create_task(search())
    other = asyncio.create_task(_read(one, "audio"))
    await other  # another collection is not held up
    await asyncio.sleep(0.05)
    assert not second.done()
    flushes.free.set()
    await asyncio.gather(writer, second)
    await one.close()


async def test_one_writer_at_a_time() -> None:
    one = guard(Flushes(), rows=1000)
    inside = 0

    async def writer() -> None:
        nonlocal inside
        async with one.writing("unified", 1):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0.001)
            inside -= 1

    await asyncio.gather(*(writer() for _ in range(20)))
    await one.close()


async def test_a_cancelled_wait_for_readers_lets_searches_on() -> None:
    one = guard(Flushes(), rows=1)
    async with one.reading("unified"):
        writer = asyncio.create_task(write(one, 1))
        await asyncio.sleep(0.01)
        writer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writer
        async with asyncio.timeout(1):
            await _read(one, "unified")
    await one.close()


async def test_a_flush_that_failed_is_tried_again() -> None:
    flushes = Flushes()
    flushes.fail = True
    one = guard(flushes, rows=5, idle_s=0.01)
    with pytest.raises(UnavailableError):
        await write(one, 5)
    async with asyncio.timeout(1):
        await _read(one, "unified")
    flushes.fail = False
    await write(one, 1)
    assert flushes.count == 1
    await one.close()


async def _read(one: LiteGuard, space: Space) -> None:
    async with one.reading(space):
        pass


async def test_without_room_nothing_is_written_and_nothing_flushed() -> None:
    flushes, room = Flushes(), True
    one = LiteGuard(flushes, FlushPolicy(rows=2, idle_s=60.0), lambda: room)
    await write(one, 1)
    room = False
    with pytest.raises(UnavailableError):
        await write(one, 1)
    await one.flush("unified")
    async with one.reading("unified"):
        pass
    assert flushes.count == 0
    room = True
    await write(one, 1)
    assert flushes.count == 1
    await one.close()


async def test_a_flush_on_demand_waits_for_a_write() -> None:
    flushes = Flushes()
    one = guard(flushes)
    async with one.writing("unified", 1):
        asked = asyncio.create_task(one.flush("unified"))
        await asyncio.sleep(0)
        assert not flushes.running
    await asked
    assert flushes.count == 1
    await one.close()
