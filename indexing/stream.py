"""A bounded window over a stream: many at work, answers in the order of the questions."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import TypeVar

__all__ = ["ordered"]

T = TypeVar("T")
R = TypeVar("R")


async def ordered(
    source: AsyncIterable[T],
    work: Callable[[T], Awaitable[R]],
    *,
    size: Callable[[T], int],
    max_count: int,
    max_size: int,
) -> AsyncGenerator[R]:
    """``work`` of each of ``source``, in its order, each as soon as it and those before it are done.

    At most ``max_count`` are taken from ``source`` and not yet answered, and together they are of
    ``max_size`` at most; one alone may be larger. An error of ``work`` or ``source`` comes out in its place;
    what is behind it is cancelled, as it is when the caller stops.
    """
    iterator = aiter(source)
    window: deque[tuple[asyncio.Task[R], int]] = deque()
    fetching: asyncio.Task[T | None] | None = None
    ended, held = False, 0

    async def fetch() -> T | None:
        return await anext(iterator, None)

    async def run(value: T) -> R:
        return await work(value)

    try:
        while True:
            if not ended and fetching is None and len(window) < max_count and held < max_size:
                fetching = asyncio.create_task(fetch())
            waiting: set[asyncio.Task[R] | asyncio.Task[T | None]] = set()
            if window:
                waiting.add(window[0][0])
            if fetching is not None and not fetching.done():
                waiting.add(fetching)
            if waiting:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            elif fetching is None:
                return
            while window and window[0][0].done():
                task, amount = window.popleft()
                held -= amount
                yield task.result()
            if fetching is None or not fetching.done() or (window and fetching.exception()):
                continue
            value, fetching = fetching.result(), None
            if value is None:
                ended = True
            else:
                amount = size(value)
                held += amount
                window.append((asyncio.create_task(run(value)), amount))
    finally:
        tasks: list[asyncio.Task[R] | asyncio.Task[T | None]] = [task for task, _ in window]
        if fetching is not None:
            tasks.append(fetching)
        for pending in tasks:
            pending.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
