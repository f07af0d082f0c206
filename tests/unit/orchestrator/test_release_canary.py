"""A canary beside the current release: who gets it, and what ends it."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from fakes import VERSION
from fixtures_shop import Shop

from orchestrator.access.caller import EVERYONE
from orchestrator.errors import UnavailableError
from orchestrator.lineup import Lineup, in_share
from releases.state import Bounds, Canary, read_state


def test_the_share_of_a_canary_is_stable_and_grows() -> None:
    users = [f"user{number}" for number in range(4000)]
    shares = [{user for user in users if in_share("r1", user, percent)} for percent in (0, 1, 10, 50, 100)]
    assert all(smaller <= greater for smaller, greater in pairwise(shares))
    assert [len(shares[0]), len(shares[-1])] == [0, 4000]
    assert 300 < len(shares[2]) < 500
    assert shares[2] != {user for user in users if in_share("r2", user, 10)}


async def test_a_canary_takes_its_share(shop: Shop) -> None:
    await shop.set(staged=("r1",), canary=Canary(release="r1", percent=30.0))
    by_user = {user: (await shop.ask(user=user)).release for user in (f"user{n}" for n in range(60))}
    assert by_user == {user: (await shop.ask(user=user)).release for user in by_user}
    assert {name: sum(r == name for r in by_user.values()) > 5 for name in ("r1", VERSION)} == {
        "r1": True,
        VERSION: True,
    }
    nameless = [(await shop.ask(f"frog {number}")).release for number in range(200)]
    assert 30 < nameless.count("r1") < 95
    assert (await shop.ask(release=VERSION)).release == VERSION
    told = shop.world.service.metrics.render().decode()
    assert "sensorium_canary_percent 30.0" in told
    assert 'sensorium_release_requests_total{modality="text",outcome="ok",release="canary"}' in told
    assert 'sensorium_release_info{name="r1",release="canary",version="fake-1"} 1.0' in told
    await shop.set(canary=None)
    assert {(await shop.ask(user=user)).release for user in by_user} == {VERSION}


async def test_a_canary_that_fails_is_rolled_back(shop: Shop) -> None:
    bounds = Bounds(min_requests=20, for_s=0.001)
    await shop.set(staged=("r1",), canary=Canary(release="r1", percent=50.0, bounds=bounds))
    shop.encoders["r1"].fail["embed"] = UnavailableError("triton", "broken")
    for number in range(120):
        try:
            await shop.ask(f"frog {number}")
        except UnavailableError:
            continue
    status = await shop.world.service.status(EVERYONE)
    (comparison,) = status.releases["r1"].comparisons
    assert (comparison.modality, list(comparison.breaches)) == ("text", ["errors"])
    assert comparison.canary.error_rate == 1.0
    assert comparison.current.error_rate == 0.0
    await shop.follower.step()
    await asyncio.sleep(0.01)
    await shop.follower.step()
    state = read_state(shop.home)
    assert state.canary is None
    assert "text: errors: 100.0% failed" in str(state.history[-1])
    assert "r1" in state.staged, "it stays loaded, for whoever looks into it"
    assert {(await shop.ask(f"frog {number}")).release for number in range(40)} == {VERSION}


async def test_one_lineup_replaces_another_whole(shop: Shop) -> None:
    own = shop.world.served.current
    other = await shop.build("r1")
    gone = shop.world.served.change(Lineup(other, {"r1": other}))
    assert gone == [own] == shop.world.served.retiring
    assert shop.world.served.lineup.role("r1") == "current"
