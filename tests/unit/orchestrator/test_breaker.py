"""Circuit breakers and retries on a clock of our own."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from orchestrator.breaker import Breaker, State
from orchestrator.errors import (
    CircuitOpenError,
    DependencyDeadlineError,
    DependencyError,
    PartError,
    ProtocolError,
    SchemaMismatchError,
    UnavailableError,
)
from orchestrator.retry import Outcome, Retrier
from orchestrator.settings import BreakerSettings, RetrySettings

SETTINGS = BreakerSettings(failures=3, open_s=1.0, max_open_s=4.0, probe_s=2.0)
DOWN = UnavailableError("triton", "down")
LATE = DependencyDeadlineError("triton", "late")


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Circuit:
    """A breaker whose open time has no jitter unless ``draw`` says so, and what it told its listener."""

    def __init__(self, draw: float = 0.5) -> None:
        self.clock = Clock()
        self.states: list[State] = []
        self.breaker = Breaker(
            "triton",
            "embed_image",
            SETTINGS,
            patience_s=0.5,
            listener=lambda _call, state: self.states.append(state),
            clock=self.clock,
            draw=lambda: draw,
        )

    def call(self, error: BaseException | None = None, took_s: float = 0.0, deadline_s: float = 9.0) -> float:
        """Seconds that the call was given."""
        with self.breaker.guard(deadline_s) as left_s:
            self.clock.now_s += took_s
            if error is not None:
                raise error
        return left_s

    def fail(self, error: BaseException = DOWN, took_s: float = 0.0, times: int = 3) -> None:
        for _ in range(times):
            with pytest.raises(type(error)):
                self.call(error, took_s)

    def refused(self) -> CircuitOpenError:
        with pytest.raises(CircuitOpenError) as error:
            self.call()
        return error.value


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    circuit = Circuit()
    circuit.fail(times=2)
    assert circuit.breaker.state is State.CLOSED
    circuit.call()
    circuit.fail(times=2)
    assert circuit.breaker.state is State.CLOSED
    circuit.fail(times=1)
    assert circuit.breaker.state is State.OPEN
    error = circuit.refused()
    assert error.retry_after_s == pytest.approx(1.0)
    assert (error.dependency, error.code) == ("triton", "dependency.circuit_open")


@pytest.mark.parametrize(
    ("error", "took_s", "opens"),
    [
        (DOWN, 0.0, True),
        (ProtocolError("triton", "odd"), 0.0, True),
        (DependencyError("milvus", "failed"), 0.0, True),
        (LATE, 0.6, True),
        (LATE, 0.4, False),
        (TimeoutError(), 0.6, True),
        (asyncio.CancelledError(), 0.6, True),
        (asyncio.CancelledError(), 0.4, False),
        (PartError("media.corrupt", "broken"), 0.6, False),
        (SchemaMismatchError("gone"), 0.0, False),
        (RuntimeError("a defect of ours"), 0.0, False),
    ],
    ids=repr,
)
def test_only_the_servers_own_failures_count(error: BaseException, took_s: float, opens: bool) -> None:
    circuit = Circuit()
    circuit.fail(error, took_s)
    assert circuit.breaker.state is (State.OPEN if opens else State.CLOSED)


def test_refused_content_is_an_answer_but_a_caller_that_left_is_nothing() -> None:
    circuit = Circuit()
    circuit.fail(times=2)
    circuit.fail(asyncio.CancelledError(), times=1)
    circuit.fail(times=1)
    assert circuit.breaker.state is State.OPEN
    circuit = Circuit()
    circuit.fail(times=2)
    circuit.fail(PartError("media.corrupt", "broken"), times=1)
    circuit.fail(times=2)
    assert circuit.breaker.state is State.CLOSED


def test_one_probe_at_a_time_closes_it() -> None:
    circuit = Circuit()
    circuit.fail()
    circuit.clock.now_s += 1.0
    assert circuit.breaker.state is State.HALF_OPEN
    with circuit.breaker.guard(9.0) as left_s:
        assert left_s == SETTINGS.probe_s
        circuit.refused()
    assert circuit.breaker.state is State.CLOSED
    assert circuit.call(deadline_s=9.0) == 9.0
    assert circuit.states == [State.OPEN, State.HALF_OPEN, State.CLOSED]


def test_each_probe_that_fails_doubles_the_open_time_up_to_its_bound() -> None:
    circuit = Circuit()
    circuit.fail()
    waits = []
    for _ in range(4):
        waits.append(circuit.refused().retry_after_s)
        circuit.clock.now_s += waits[-1]
        circuit.fail(times=1)
    assert waits == pytest.approx([1.0, 2.0, 4.0, 4.0])
    circuit.clock.now_s += 4.0
    circuit.call()
    circuit.fail()
    assert circuit.refused().retry_after_s == pytest.approx(1.0)  # it begins anew


@pytest.mark.parametrize(("draw", "wait_s"), [(0.0, 0.75), (1.0, 1.25)])
def test_the_open_time_has_jitter(draw: float, wait_s: float) -> None:
    circuit = Circuit(draw)
    circuit.fail()
    assert circuit.refused().retry_after_s == pytest.approx(wait_s)


def test_a_probe_whose_caller_left_makes_room_for_the_next() -> None:
    circuit = Circuit()
    circuit.fail()
    circuit.clock.now_s += 1.0
    circuit.fail(asyncio.CancelledError(), times=1)
    assert circuit.breaker.state is State.HALF_OPEN
    circuit.call()
    assert circuit.breaker.state is State.CLOSED


def test_calls_from_before_it_opened_do_not_count_after_it_closed() -> None:
    circuit = Circuit()
    old = [circuit.breaker.guard(9.0) for _ in range(4)]
    for call in old:
        call.__enter__()
    for call in old[:3]:
        with suppress(UnavailableError):
            call.__exit__(UnavailableError, DOWN, None)
    assert circuit.breaker.state is State.OPEN
    old[3].__exit__(None, None, None)  # it worked, but was asked before
    assert circuit.breaker.state is State.OPEN
    assert circuit.states == [State.OPEN]


class Reads:
    """Calls that fail as told, a retrier, and what it told its listener."""

    def __init__(self, **settings: float) -> None:
        self.clock = Clock()
        self.slept_s: list[float] = []
        self.given_s: list[float] = []
        self.outcomes: list[Outcome] = []
        self.retrier = Retrier(
            RetrySettings.model_validate({"share": 0.25, "saved": 1, "pause_s": 0.1, **settings}),
            listener=self.outcomes.append,
            clock=self.clock,
            sleep=self._sleep,
            draw=lambda: 0.5,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.clock.now_s += seconds

    async def read(self, *fates: Exception | None, deadline_s: float = 5.0, took_s: float = 0.0) -> int:
        """The place of the try that worked."""
        tries = iter(enumerate(fates))

        async def attempt(left_s: float) -> int:
            self.given_s.append(left_s)
            self.clock.now_s += took_s
            place, error = next(tries)
            if error is not None:
                raise error
            return place

        return await self.retrier.run(attempt, deadline_s)


async def test_a_read_is_tried_once_more_within_its_deadline() -> None:
    reads = Reads()
    assert await reads.read(DOWN, None, deadline_s=5.0, took_s=1.0) == 1
    assert reads.slept_s == pytest.approx([0.1])
    assert reads.given_s == pytest.approx([5.0, 3.9])
    assert reads.outcomes == ["again"]


@pytest.mark.parametrize(
    "error",
    [
        LATE,
        ProtocolError("triton", "odd"),
        CircuitOpenError("triton", "open", retry_after_s=1.0),
        PartError("media.corrupt", "broken"),
    ],
    ids=repr,
)
async def test_what_another_try_would_not_mend_is_not_tried(error: Exception) -> None:
    reads = Reads()
    with pytest.raises(type(error)):
        await reads.read(error)
    assert reads.outcomes == []


async def test_there_are_two_tries_at_most() -> None:
    reads = Reads(saved=5)
    with pytest.raises(UnavailableError):
        await reads.read(DOWN, DOWN)
    assert len(reads.given_s) == 2


async def test_without_time_left_there_is_no_other_try() -> None:
    reads = Reads()
    with pytest.raises(UnavailableError):
        await reads.read(DOWN, deadline_s=1.0, took_s=0.9)
    assert reads.outcomes == ["no_time"]


async def test_retries_are_a_share_of_the_calls() -> None:
    reads = Reads(saved=1, share=0.25)
    assert await reads.read(DOWN, None) == 1  # what was saved up
    for _ in range(40):
        with suppress(UnavailableError):
            await reads.read(DOWN, DOWN)
    assert reads.outcomes.count("again") == 1 + 40 // 4
    assert reads.outcomes.count("no_budget") == 30


async def test_a_share_of_nothing_switches_them_off() -> None:
    reads = Reads(share=0, saved=0)
    with pytest.raises(UnavailableError):
        await reads.read(DOWN)
    assert reads.outcomes == ["no_budget"]
