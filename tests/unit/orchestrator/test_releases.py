"""Releases come and go under searches: who is answered by which, and that no answer is made of two."""

from __future__ import annotations

import asyncio
import json
import random

import pytest
from fakes import VERSION, direction
from fixtures_shop import Shop, VersionedEncoder, fill

from indexing import Progress
from orchestrator.access.caller import EVERYONE
from orchestrator.errors import RequestError, SchemaMismatchError
from releases.errors import ReleaseError
from releases.state import Canary
from sensorium.v1 import sensorium_pb2 as pb


async def test_without_a_state_the_repositorys_own_set_answers(shop: Shop) -> None:
    await shop.follower.step()
    answer = await shop.ask()
    assert (answer.release, answer.embedding_version) == (VERSION, VERSION)
    assert [hit.item.id for hit in answer.hits][:1] == ["frog"]
    status = await shop.world.service.status(EVERYONE)
    assert status.release == VERSION
    assert {name: (one.role, one.state) for name, one in status.releases.items()} == {
        VERSION: ("current", "ready")
    }


async def test_a_staged_release_answers_whoever_names_it(shop: Shop) -> None:
    await shop.set(staged=("r1",))
    assert (await shop.ask()).release == VERSION
    assert (await shop.ask(release="r1")).release == "r1"
    with pytest.raises(RequestError, match="no such release"):
        await shop.ask(release="r2")
    status = await shop.world.service.status(EVERYONE)
    assert status.releases["r1"].role == "staged"
    assert shop.built == ["r1"]


async def test_promotion_and_rollback(shop: Shop) -> None:
    await shop.set(staged=("r1",))
    await shop.set(current="r1", staged=())
    assert (await shop.ask()).release == "r1"
    status = await shop.world.service.status(EVERYONE)
    assert {name: one.role for name, one in status.releases.items()} == {VERSION: "previous", "r1": "current"}
    await shop.set(current=None, previous="r1")
    assert (await shop.ask()).release == VERSION
    await shop.set(current="r1", previous=None)
    await shop.set(current="r2", previous="r1")
    await asyncio.sleep(0.1)
    assert {runtime.release for runtime in shop.world.served.lineup.runtimes.values()} == {"r1", "r2"}
    assert not shop.world.served.retiring
    assert not shop.dropped, "the version is still in use"
    assert shop.built == ["r1", "r2"]


async def test_releases_share_no_kept_answer(shop: Shop) -> None:
    await shop.set(staged=("r1", "r2"))
    for release in ("", "r1", "r2", "", "r1", "r2"):
        answer = await shop.ask(release=release)
        assert answer.release == (release or VERSION)
    assert answer.cached
    await shop.set(current="r1")
    answer = await shop.ask()
    assert (answer.cached, answer.release) == (True, "r1")


@pytest.mark.parametrize(
    "trouble",
    [ReleaseError("files of r1 are not what its manifest says"), SchemaMismatchError("no"), OSError("disk")],
)
async def test_what_cannot_be_built_changes_nothing_and_is_said(shop: Shop, trouble: Exception) -> None:
    shop.broken["r1"] = trouble
    await shop.set(current="r1")
    assert (await shop.ask()).release == VERSION
    status = await shop.world.service.status(EVERYONE)
    assert (status.release, status.releases["r1"].state) == (VERSION, str(trouble))
    await shop.follower.step()
    assert shop.built == ["r1"], "not again at once"
    shop.now_s += 2
    del shop.broken["r1"]
    await shop.follower.step()
    assert (await shop.ask()).release == "r1"
    told = shop.world.service.metrics.render().decode()
    assert "sensorium_releases_waiting 0.0" in told


async def test_models_that_are_not_loaded_are_waited_for(shop: Shop) -> None:
    shop.encoders["r1"] = VersionedEncoder(VERSION)
    shop.encoders["r1"].loaded = False
    await shop.set(current="r1")
    status = await shop.world.service.status(EVERYONE)
    assert (status.release, status.releases["r1"].state) == (VERSION, "its models are not ready")
    shop.encoders["r1"].loaded = True
    shop.now_s += 2
    await shop.follower.step()
    assert (await shop.ask()).release == "r1"


async def test_another_version_answers_nobody_until_it_is_filled(shop: Shop) -> None:
    shop.versions["r1"] = "other-2"
    shop.filled["other-2"] = Progress(3, 1, 0, 0.5)
    (shop.home / "releases/r1").mkdir(parents=True)
    await shop.set(staged=("r1",))
    assert set(shop.writes) == {VERSION, "other-2"}
    assert shop.required == VERSION
    written = json.loads((shop.home / "releases/r1/progress.json").read_text())
    assert (written["done"], written["total"], written["eta_s"], written["complete"]) == (1, 3, 4.0, False)
    for changes in ({"current": "r1"}, {"current": None, "canary": Canary(release="r1", percent=100.0)}):
        await shop.set(**changes)
        answer = await shop.ask()
        assert (answer.release, answer.embedding_version) == (VERSION, VERSION)
        status = await shop.world.service.status(EVERYONE)
        assert status.releases["r1"].state == "backfill"
        assert (status.releases["r1"].items_done, status.releases["r1"].items_total) == (1, 3)
    await fill(shop, "other-2")
    await shop.set(current="r1", canary=None, staged=())
    answer = await shop.ask()
    assert (answer.release, answer.embedding_version, answer.hits[0].item.id) == ("r1", "other-2", "frog")
    assert shop.required == "other-2"
    assert shop.pointed == ["other-2"]
    await shop.set(current="r1", previous="r2")
    await asyncio.sleep(0.1)
    assert shop.dropped == []
    shop.versions["r2"] = "other-2"
    shop.now_s += 2
    await shop.set(previous="r1", current="r1")
    await asyncio.sleep(0.1)
    assert shop.dropped == [VERSION], "nothing is of it any more"
    assert set(shop.writes) == {"other-2"}


async def test_a_search_keeps_the_release_it_began_with(shop: Shop) -> None:
    shop.versions["r1"] = "other-2"
    await fill(shop, "other-2")
    await shop.set(staged=("r1",))
    own = shop.encoders[VERSION]
    own.delay_s["embed"] = 0.15
    task = asyncio.create_task(shop.ask("green"))
    await asyncio.sleep(0.05)
    await shop.set(current="r1", previous="r1", staged=())
    status = await shop.world.service.status(EVERYONE)
    assert (status.release, status.releases[VERSION].role) == ("r1", "retiring")
    assert not shop.dropped
    answer = await task
    assert (answer.release, answer.embedding_version) == (VERSION, VERSION)
    await asyncio.sleep(0.1)
    assert shop.dropped == [VERSION]
    assert VERSION not in (await shop.world.service.status(EVERYONE)).releases


async def test_swaps_under_searches(shop: Shop) -> None:
    """Releases of three embedding versions take turns, models are unloaded as soon as Status allows it: no
    search fails, none is answered by rows, vectors and names of different releases."""
    shop.versions |= {"r1": "other-2", "r2": "third-3", "r3": "other-2"}
    for version in ("other-2", "third-3"):
        await fill(shop, version)
    answers: list[pb.SearchResponse] = []
    stop = asyncio.Event()

    async def user(number: int) -> None:
        dice = random.Random(number)
        while not stop.is_set():
            words = dice.choice(["frog", "red car", "tree", f"green {dice.random()}"])
            answers.append(await shop.ask(words, user=dice.choice(["", f"u{number}"])))

    users = [asyncio.create_task(user(number)) for number in range(8)]
    names = [None, "r1", "r2", "r3"]
    before: str | None = None
    for turn in range(40):
        name = names[(turn * 3 + 1) % 4]
        if name == before:
            continue
        encoder = shop.encoders.get(name or VERSION)
        if encoder is not None:
            encoder.loaded = True
        shop.store.open |= {shop.versions.get(name or "", VERSION)}
        await shop.set(current=name, previous=before or name, staged=())
        await shop.set(previous=name)
        async with asyncio.timeout(5):
            while shop.world.served.retiring:  # noqa: ASYNC110 - as a command would look at Status
                await asyncio.sleep(0.01)
        for each, encoder in shop.encoders.items():
            encoder.loaded = each in shop.world.served.lineup.runtimes
        before = name
    stop.set()
    await asyncio.gather(*users)
    assert len(answers) > 100
    assert {answer.release for answer in answers} == {VERSION, "r1", "r2", "r3"}
    for answer in answers:
        assert answer.embedding_version == shop.versions.get(answer.release, VERSION)
        assert answer.hits
        # A vector of another version has a cosine of 0.36 at most with such a row.
        assert answer.hits[0].signals[0].similarity > 0.6
        assert not answer.degraded
    for version, vectors in shop.store.asked:
        assert all(float(vector @ direction(f"version-{version}")) > 0.7 for vector in vectors)
