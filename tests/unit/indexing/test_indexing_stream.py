"""The bounded window over a stream."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.locks import ItemLocks
from indexing.stream import ordered


class Source:
    """Numbers, counting how many were taken."""

    def __init__(self, numbers: list[int], fail_at: int | None = None) -> None:
        self.numbers = numbers
        self.fail_at = fail_at
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[int]:
        for number in self.numbers:
            if self.taken == self.fail_at:
                raise ConnectionError("the sender is gone")
            self.taken += 1
            yield number


@settings(deadline=None, max_examples=30)
@given(numbers=st.lists(st.integers(1, 50), max_size=40), max_count=st.integers(1, 8), seed=st.integers())
async def test_answers_are_complete_and_in_order(numbers: list[int], max_count: int, seed: int) -> None:
    source, chance = Source(numbers), random.Random(seed)
    at_once = answered = 0

    async def work(number: int) -> int:
        nonlocal at_once
        at_once += 1
        assert at_once <= max_count
        await asyncio.sleep(chance.random() / 1000)
        at_once -= 1
        return -number

    results = []
    async for result in ordered(source, work, size=lambda n: n, max_count=max_count, max_size=10**9):
        answered += 1
        assert source.taken <= answered + max_count
        results.append(result)
    assert results == [-n for n in numbers]


async def test_size_is_bounded_but_one_may_be_larger() -> None:
    held = most = 0

    async def work(size: int) -> int:
        nonlocal held, most
        held += size
        most = max(most, held)
        await asyncio.sleep(0.001)
        held -= size
        return size

    sizes = [3, 3, 3, 50, 3, 3]
    found = [s async for s in ordered(Source(sizes), work, size=lambda n: n, max_count=100, max_size=6)]
    assert found == sizes
    assert most <= 5 + 50


async def test_an_answer_does_not_wait_for_the_next_question() -> None:
    async def slow_sender() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async def work(number: int) -> int:
        return number

    stream = ordered(slow_sender(), work, size=lambda _: 1, max_count=4, max_size=4)
    async with asyncio.timeout(5):
        assert await anext(stream) == 1
    await stream.aclose()


async def test_an_error_of_the_sender_comes_after_the_answers_before_it() -> None:
    async def work(number: int) -> int:
        await asyncio.sleep(0.01)
        return number

    stream = ordered(Source([1, 2, 3], fail_at=2), work, size=lambda _: 1, max_count=9, max_size=9)
    assert [await anext(stream), await anext(stream)] == [1, 2]
    with pytest.raises(ConnectionError):
        await anext(stream)


async def test_an_error_of_the_work_cancels_what_is_behind_it() -> None:
    cancelled: list[int] = []

    async def work(number: int) -> int:
        if number == 2:
            raise OSError("broken")
        try:
            await asyncio.sleep(0 if number == 1 else 60)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    stream = ordered(Source([1, 2, 3, 4]), work, size=lambda _: 1, max_count=9, max_size=9)
    assert await anext(stream) == 1
    with pytest.raises(OSError, match="broken"):
        await anext(stream)
    assert set(cancelled) <= {3, 4}
    assert not [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]


async def test_locks_are_taken_in_order_and_forgotten() -> None:
    locks = ItemLocks()
    inside: set[str] = set()

    async def use(*ids: str) -> None:
        async with locks.hold(ids):
            assert not inside & set(ids)
            inside.update(ids)
            await asyncio.sleep(0.001)
            inside.difference_update(ids)

    async with asyncio.timeout(10):
        await asyncio.gather(*(use(*random.sample("abcd", 2)) for _ in range(50)))
    assert not locks._locks
    assert not locks._users
