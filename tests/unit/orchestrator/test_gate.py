"""The gate on a clock of its own: bounds, no place lost, early refusals, and what a flood does to others."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media import Modality
from orchestrator.deadlines import Deadline
from orchestrator.errors import OverloadedError
from orchestrator.gate import Gate
from orchestrator.query import Priority
from orchestrator.settings import AdmissionSettings, ModalityAdmission
from orchestrator.trace import Trace

TEXT, VIDEO = Modality.TEXT, Modality.VIDEO


class House:
    """A gate, a clock that stands still, and callers that stay inside until they are let go."""

    def __init__(self, admission: AdmissionSettings) -> None:
        self.now_s = 1000.0
        self.gate = Gate(admission, lambda: self.now_s)
        self.outcomes: Counter[str] = Counter()
        self.gate.listener = lambda _modality, _waited_s, outcome: self.outcomes.update([outcome])
        self.inside: list[asyncio.Task[None]] = []
        self.served: list[str] = []
        self._leave: dict[asyncio.Task[None], asyncio.Event] = {}

    async def come(
        self,
        user: str = "",
        modality: Modality = TEXT,
        priority: Priority = Priority.INTERACTIVE,
        deadline_s: float = 3600.0,
    ) -> asyncio.Task[None]:
        event = asyncio.Event()

        async def visit() -> None:
            mine = asyncio.current_task()
            assert mine is not None
            async with self.gate.enter([modality], user, priority, Trace(), Deadline(deadline_s)):
                self.inside.append(mine)
                self.served.append(user)
                try:
                    await event.wait()
                finally:
                    self.inside.remove(mine)

        task = asyncio.create_task(visit())
        self._leave[task] = event
        await self.settle()
        return task

    async def let_go(self, task: asyncio.Task[None], after_s: float = 0.0) -> None:
        self.now_s += after_s
        self._leave[task].set()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)

    async def close(self) -> None:
        for task in self._leave:
            task.cancel()
        await asyncio.gather(*self._leave, return_exceptions=True)


def lane(max_concurrent: int, max_waiting: int, cost: float = 1) -> ModalityAdmission:
    return ModalityAdmission(max_concurrent=max_concurrent, max_waiting=max_waiting, cost=cost)


SMALL = AdmissionSettings(
    max_concurrent=3,
    max_waiting=5,
    max_wait_s=3600,
    text=lane(3, 4),
    image=lane(2, 3, 2),
    audio=lane(1, 2, 8),
    video=lane(1, 2, 8),
)


@asynccontextmanager
async def house(admission: AdmissionSettings = SMALL) -> AsyncIterator[House]:
    made = House(admission)
    try:
        yield made
    finally:
        await made.close()


def refusal(task: asyncio.Task[None]) -> OverloadedError:
    error = task.exception() if task.done() else None
    assert isinstance(error, OverloadedError), error
    return error


# ---- bounds ----

steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("come"),
            st.sampled_from(["", "ann", "ben"]),
            st.sampled_from(Modality),
            st.sampled_from(Priority),
        ),
        st.tuples(st.just("go"), st.integers(0, 50)),
        st.tuples(st.just("cancel"), st.integers(0, 50)),
        # A caller leaves in the very moment in which a place becomes free.
        st.tuples(st.just("go and cancel"), st.integers(0, 50), st.integers(0, 50)),
    ),
    max_size=60,
)


@given(steps)
@settings(deadline=None, max_examples=150)
def test_bounds_hold_and_no_place_is_lost(steps: list[tuple[object, ...]]) -> None:
    async def play() -> None:
        async with house() as inn:
            came: list[asyncio.Task[None]] = []
            for name, *values in steps:
                under_way = [task for task in came if not task.done()]
                if name == "come":
                    came.append(await inn.come(*values))  # type: ignore[arg-type]
                elif name == "go" and inn.inside:
                    await inn.let_go(inn.inside[int(str(values[0])) % len(inn.inside)])
                elif name == "cancel" and under_way:
                    under_way[int(str(values[0])) % len(under_way)].cancel()
                elif name == "go and cancel" and inn.inside:
                    going = inn.inside[int(str(values[0])) % len(inn.inside)]
                    inn._leave[going].set()
                    await asyncio.sleep(0)
                    under_way[int(str(values[1])) % len(under_way)].cancel()
                await inn.settle()
                check(inn)
            for task in came:
                await inn.let_go(task)
            assert (inn.gate.active, inn.gate.waiting) == (0, 0)
            assert all(task.done() for task in came)
            # Every place can be had again.
            for _ in range(SMALL.max_concurrent):
                await inn.come("later")
            assert inn.gate.active == SMALL.max_concurrent
            assert sum(inn.outcomes.values()) == len(came) + SMALL.max_concurrent

    def check(inn: House) -> None:
        gate = inn.gate
        assert gate.active == len(inn.inside) <= SMALL.max_concurrent
        assert gate.waiting <= SMALL.max_waiting
        for modality in Modality:
            bounds: ModalityAdmission = getattr(SMALL, modality.value)
            assert gate._active[modality] <= bounds.max_concurrent
            assert gate.waiting_of(modality) <= bounds.max_waiting
            if gate.waiting_of(modality):  # nobody waits beside a place that stands empty
                assert gate.active == SMALL.max_concurrent or gate._active[modality] == bounds.max_concurrent

    asyncio.run(play())


async def test_one_modality_does_not_shut_out_another() -> None:
    async with house() as inn:
        for _ in range(3):
            await inn.come("eve", VIDEO)
        assert (inn.gate.active, inn.gate.waiting_of(VIDEO)) == (1, 2)
        refused = refusal(await inn.come("eve", VIDEO))
        assert (refused.kind, refused.limit) == ("video", "video.max_waiting=2")
        text = await inn.come("ann", TEXT)
        assert text in inn.inside


async def test_a_mixed_query_waits_with_its_dearest_part_and_costs_them_all() -> None:
    gate = Gate(SMALL)
    async with gate.enter([TEXT, VIDEO, TEXT], "", Priority.INTERACTIVE, Trace(), Deadline(5)):
        assert gate._active[VIDEO] == 1
        assert gate._active[TEXT] == 0


async def test_content_is_looked_at_for_so_many_at_once() -> None:
    gate = Gate(AdmissionSettings(max_classifying=1))
    with gate.classifying(), pytest.raises(OverloadedError), gate.classifying():
        pass
    with gate.classifying():
        pass


# ---- shares ----


async def test_a_flood_of_one_user_leaves_another_their_share() -> None:
    async with house(AdmissionSettings(max_concurrent=2, max_waiting=8, max_wait_s=3600)) as inn:
        mine: list[asyncio.Task[None]] = [await inn.come("ann")]
        draw = random.Random(7)
        for _ in range(200):
            for _ in range(3):
                await inn.come("eve")
            if mine[-1].done():
                mine.append(await inn.come("ann"))
            await inn.let_go(draw.choice(inn.inside))
        assert all(task.exception() is None for task in mine if task.done())
        # One request at a time gets a turn for each of the flood's, so a third of a house of two places.
        assert inn.served.count("ann") >= len(inn.served) / 4
        assert inn.outcomes["queue_full"] > 100


async def test_a_full_queue_takes_a_newcomer_in_place_of_the_floods_last() -> None:
    async with house(AdmissionSettings(max_concurrent=1, max_waiting=3, max_wait_s=3600)) as inn:
        eve = [await inn.come("eve") for _ in range(4)]
        assert inn.gate.waiting == 3
        mine = await inn.come("ann")
        assert refusal(eve[3]).retry_after_s > 0
        assert inn.outcomes["displaced"] == 1
        refusal(await inn.come("eve"))
        await inn.let_go(eve[0])
        await inn.let_go(eve[1])
        assert mine in inn.inside


async def test_interactive_goes_before_batch() -> None:
    async with house(AdmissionSettings(max_concurrent=1, max_wait_s=3600)) as inn:
        first = await inn.come("x")
        night = await inn.come("ann", TEXT, Priority.BATCH)
        day = await inn.come("ben")
        await inn.let_go(first)
        assert (day in inn.inside, night in inn.inside) == (True, False)
        await inn.let_go(day)
        assert night in inn.inside


# ---- waits that would be too long ----


async def filled(inn: House, held_s: float) -> None:
    """All places taken, after some searches that each held theirs for ``held_s``."""
    for _ in range(5):
        await inn.let_go(await inn.come(), after_s=held_s)
    for _ in range(inn.gate._settings.max_concurrent):
        await inn.come()


async def test_a_wait_beyond_the_deadline_is_refused_at_once_with_the_time_to_come_back() -> None:
    async with house(AdmissionSettings(max_concurrent=2, max_waiting=50, max_wait_s=3600)) as inn:
        await filled(inn, held_s=1.0)
        for _ in range(9):
            await inn.come()
        # Nine wait and two places turn over in 1 s: about 5 s, and then 1 s of work.
        assert inn.gate.waiting == 9
        refused = refusal(await inn.come(deadline_s=4.0))
        assert refused.limit.startswith("deadline=")
        assert 3.0 <= refused.retry_after_s <= 7.0
        assert not (await inn.come(deadline_s=8.0)).done()
        assert inn.outcomes["deadline"] == 1


async def test_a_wait_beyond_the_servers_own_bound_is_refused() -> None:
    async with house(AdmissionSettings(max_concurrent=1, max_waiting=50, max_wait_s=3)) as inn:
        await filled(inn, held_s=1.0)
        waiting = [await inn.come() for _ in range(10)]
        refused = [task for task in waiting if task.done()]
        assert 1 <= inn.gate.waiting <= 4
        assert len(refused) + inn.gate.waiting == 10
        assert {refusal(task).limit for task in refused} == {"max_wait_s=3"}


async def test_who_has_waited_too_long_is_turned_away() -> None:
    async with house(AdmissionSettings(max_concurrent=1, max_wait_s=0.02)) as inn:
        await inn.come()
        late = await inn.come()
        await asyncio.wait([late], timeout=5)
        assert refusal(late).limit == "max_wait_s=0.02"
        assert inn.gate.waiting == 0
        assert inn.outcomes["wait"] == 1


async def test_whoever_need_not_wait_is_let_in_whatever_is_expected() -> None:
    async with house(AdmissionSettings(max_concurrent=2)) as inn:
        await inn.let_go(await inn.come(), after_s=500.0)
        assert (await inn.come(deadline_s=0.5)) in inn.inside


async def test_an_estimate_fades_so_that_a_bad_minute_is_forgotten() -> None:
    async with house(AdmissionSettings(max_concurrent=1, max_waiting=50, max_wait_s=10)) as inn:
        await inn.let_go(await inn.come(), after_s=100.0)
        await inn.come()
        refusal(await inn.come())
        inn.now_s += 300.0
        assert not (await inn.come()).done()


@pytest.mark.parametrize("left", [True, False])
async def test_a_caller_that_left_early_does_not_make_searches_look_short(left: bool) -> None:
    async with house(AdmissionSettings(max_concurrent=1, max_wait_s=3600)) as inn:
        await inn.let_go(await inn.come(), after_s=8.0)
        for _ in range(30):
            short = await inn.come()
            if left:
                short.cancel()
                await inn.settle()
            else:
                await inn.let_go(short, after_s=0.0)
        await inn.come()
        late = await inn.come(deadline_s=5.0)
        assert late.done() is left


def test_the_listener_hears_every_end_once() -> None:
    heard: list[tuple[Modality | None, float, str]] = []

    async def play() -> None:
        now_s = [0.0]
        clock: Callable[[], float] = lambda: now_s[0]  # noqa: E731
        gate = Gate(AdmissionSettings(max_concurrent=1, max_waiting=1), clock)
        gate.listener = lambda *said: heard.append(said)

        async def visit(stay: asyncio.Event) -> None:
            async with gate.enter([TEXT], "", Priority.INTERACTIVE, Trace(), Deadline(9)):
                await stay.wait()

        go = asyncio.Event()
        tasks = [asyncio.create_task(visit(go)) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        now_s[0] = 0.5
        tasks[1].cancel()
        go.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(play())
    assert heard == [(TEXT, 0.0, "entered"), (TEXT, 0.0, "queue_full"), (TEXT, 0.5, "left")]
