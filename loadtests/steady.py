"""asyncio's open loop: arrivals without end, each asked when it is due, whatever became of the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

from loadtests.arrivals import Arrival, Phase, Traffic

__all__ = ["endless", "send"]

_PLANNED_S = 60.0


def endless(traffic: Traffic, label: str, rate: float) -> Iterator[Arrival]:
    """`rate` a second on average, drawn a minute at a time; due times count from the beginning."""
    number = 0
    while True:
        for arrival in traffic.plan(f"{label} {number}", [Phase("load", rate, _PLANNED_S)]):
            yield arrival._replace(due_s=number * _PLANNED_S + arrival.due_s)
        number += 1


async def send(
    arrivals: Iterable[Arrival],
    ask: Callable[[Arrival, float], Coroutine[Any, Any, None]],
    unsent: Callable[[Arrival], None],
    group: asyncio.TaskGroup,
    max_outstanding: int,
) -> None:
    """Asks in tasks of `group`, until it is cancelled or all are asked; it does not wait for answers.

    `ask` is told when its arrival was due, in seconds of `time.perf_counter`. What is due while
    `max_outstanding` wait for an answer is not sent; `unsent` is told of it.
    """
    began_s = time.perf_counter()
    under_way: set[asyncio.Task[None]] = set()
    for arrival in arrivals:
        due_s = began_s + arrival.due_s
        await asyncio.sleep(max(due_s - time.perf_counter(), 0.0))
        if len(under_way) >= max_outstanding:
            unsent(arrival)
            continue
        task = group.create_task(ask(arrival, due_s))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
