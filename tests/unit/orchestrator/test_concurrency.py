"""Deadlines, work side by side, and the stopwatch."""

import asyncio
import time

import pytest

from orchestrator.deadlines import Deadline, together
from orchestrator.errors import DependencyDeadlineError, RequestError, UnavailableError
from orchestrator.trace import Trace, reason


async def test_results_come_in_order() -> None:
    async def late(value: int) -> int:
        await asyncio.sleep(0.03 - value / 100)
        return value

    assert await together(late(i) for i in range(3)) == [0, 1, 2]


async def test_one_error_cancels_the_others_and_comes_out_as_it_is() -> None:
    cancelled = asyncio.Event()

    async def waits() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise RequestError("no") from KeyError("why")

    with pytest.raises(RequestError) as raised:
        await together([waits(), fails()])
    assert isinstance(raised.value.__cause__, KeyError)
    assert cancelled.is_set()


async def test_a_cancelled_caller_cancels_all() -> None:
    running = 0

    async def waits() -> None:
        nonlocal running
        running += 1
        try:
            await asyncio.sleep(30)
        finally:
            running -= 1

    task = asyncio.create_task(together([waits(), waits()]))
    await asyncio.sleep(0.01)
    assert running == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert running == 0


async def test_a_budget_is_bounded_three_ways() -> None:
    deadline = Deadline(10)
    assert deadline.budget_s(2) == 2
    assert deadline.budget_s(100) <= 10
    assert deadline.budget_s(100, 0.5) <= 5
    assert Deadline(-1).remaining_s == 0


def test_overlapping_blocks_of_a_stage_count_once() -> None:
    trace = Trace()
    with trace.stage("embed"), trace.waiting("embed", "triton"):
        first = trace.waiting("embed", "triton")
        first.__enter__()
        time.sleep(0.02)
        first.__exit__(None, None, None)
    times = {stage.stage: stage.ms for stage in trace.stages()}
    assert list(times) == ["embed", "embed/triton"]
    assert times["embed/triton"] <= times["embed"] <= trace.total_ms


def test_a_note_is_kept_once() -> None:
    trace = Trace()
    for _ in range(3):
        trace.degrade("retrieve", "image: deadline")
    assert trace.degraded == ["retrieve: image: deadline"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), "deadline"),
        (DependencyDeadlineError("milvus", "x"), "deadline"),
        (UnavailableError("milvus", "x"), "milvus unavailable"),
        (RequestError("secret"), "request.invalid"),
        (KeyError("secret"), "failed"),
    ],
)
def test_reasons_are_short_and_hold_no_messages(error: Exception, said: str) -> None:
    assert reason(error) == said
