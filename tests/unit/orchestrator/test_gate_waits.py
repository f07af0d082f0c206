"""Waits that would be too long, on a clock of the test's own: who is refused at once, and who is let in."""

import asyncio

import pytest
from gate_house import House, house, refusal

from orchestrator.settings import AdmissionSettings


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
