"""Arrivals without end, and that no answer holds up the next request."""

from __future__ import annotations

import asyncio
import time
from itertools import islice, takewhile

import pytest

from loadtests.arrivals import Arrival, Traffic
from loadtests.steady import endless, send

TRAFFIC = Traffic({"text": 3, "image": 2}, zipf=0.0, rest_share=0.0, mix={"text": 2 / 3, "image": 1 / 3})


def at(*due_s: float) -> list[Arrival]:
    return [Arrival(each, "load", "text", place, "grpc") for place, each in enumerate(due_s)]


def test_arrivals_go_on_in_order_at_their_rate_and_are_those_of_their_label() -> None:
    found = list(takewhile(lambda each: each.due_s < 300, endless(TRAFFIC, "a", 10.0)))
    due = [each.due_s for each in found]
    assert due == sorted(due)
    assert len(found) == pytest.approx(3000, rel=0.1)
    assert sum(each.modality == "text" for each in found) == pytest.approx(2000, rel=0.1)
    assert list(islice(endless(TRAFFIC, "a", 10.0), 900)) == found[:900]
    assert list(islice(endless(TRAFFIC, "b", 10.0), 900)) != found[:900]


async def test_what_is_due_is_sent_though_nothing_is_answered() -> None:
    sent: list[tuple[int, float]] = []
    unsent: list[int] = []
    answered = asyncio.Event()
    began_s = time.perf_counter()

    async def ask(arrival: Arrival, due_s: float) -> None:
        sent.append((arrival.query, due_s - began_s))
        await answered.wait()

    async with asyncio.TaskGroup() as group:
        arrivals = at(0.0, 0.01, 0.02, 0.03, 0.04)
        await send(arrivals, ask, lambda arrival: unsent.append(arrival.query), group, 3)
        assert [query for query, _ in sent] == [0, 1, 2]
        assert unsent == [3, 4]
        answered.set()
    assert [due_s for _, due_s in sent] == pytest.approx([0.0, 0.01, 0.02], abs=0.01)


async def test_a_late_sender_counts_from_when_it_was_due() -> None:
    late_s: list[float] = []

    async def ask(_arrival: Arrival, due_s: float) -> None:
        late_s.append(time.perf_counter() - due_s)

    async with asyncio.TaskGroup() as group:
        sending = asyncio.create_task(send(at(0.0, 0.01), ask, lambda _arrival: None, group, 9))
        await asyncio.sleep(0)
        time.sleep(0.1)  # noqa: ASYNC251 (the loop itself is held up)
        await sending
    assert late_s[1] > 0.08
