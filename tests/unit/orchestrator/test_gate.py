"""The gate on a clock of its own: bounds, no place lost, and what a flood does to others."""

import asyncio
import random
from collections.abc import Callable

import pytest
from gate_house import SMALL, TEXT, VIDEO, House, house, refusal
from hypothesis import given, settings
from hypothesis import strategies as st

from media import Modality
from orchestrator.deadlines import Deadline
from orchestrator.errors import OverloadedError
from orchestrator.gate import Gate
from orchestrator.query import Priority
from orchestrator.settings import AdmissionSettings, ModalityAdmission
from orchestrator.trace import Trace

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
