"""Releases come and go under searches: who is answered by which, and that no answer is made of two."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest
from fakes import EMBEDDING_SET, VERSION, FakeEncoder, FakeVectorStore, direction
from fixtures_orchestrator import MakeWorld, World

from indexing import Progress
from media import Modality
from orchestrator.access.caller import EVERYONE
from orchestrator.calibrate import EmbeddingSet
from orchestrator.errors import RequestError, SchemaMismatchError, UnavailableError
from orchestrator.follow import Follower
from orchestrator.lineup import Lineup, in_share
from orchestrator.runtime import Runtime
from orchestrator.settings import CacheSettings
from orchestrator.types import Embedding, Encoder, FloatArray, RowHit, Space
from releases.errors import ReleaseError
from releases.state import Bounds, Canary, change_state, read_state
from sensorium.v1 import sensorium_pb2 as pb


class VersionedStore(FakeVectorStore):
    """Rows of several embedding versions side by side, and which of them have collections."""

    def __init__(self) -> None:
        super().__init__()
        self.open: set[str] = {VERSION}
        self.asked: list[tuple[str, FloatArray]] = []

    async def search(
        self,
        space: Space,
        modality: Modality,
        vectors: FloatArray,
        limit: int,
        expression: str,
        embedding_version: str,
        deadline_s: float,
    ) -> list[list[RowHit]]:
        if embedding_version not in self.open:
            raise UnavailableError("milvus", "no collections of this embedding version")
        self.asked.append((embedding_version, vectors))
        return await super().search(
            space, modality, vectors, limit, expression, embedding_version, deadline_s
        )


class VersionedEncoder(FakeEncoder):
    """Its vectors say which embedding version they are of; asked while it is unloaded, it fails."""

    def __init__(self, version: str) -> None:
        super().__init__()
        self.version = version
        self.loaded = True

    async def embed(self, modality: Modality, data: bytes | str, deadline_s: float) -> Embedding:
        if not self.loaded:
            raise UnavailableError("triton", "no such model")
        made = await super().embed(modality, data, deadline_s)
        if not self.loaded:
            raise UnavailableError("triton", "it was unloaded under a request")
        return replace(made, unified=marked(made.unified, self.version))

    async def ready(self) -> bool:
        return self.loaded


def marked(vector: FloatArray, version: str) -> FloatArray:
    """A vector that only its own version's vectors are near to."""
    return (0.8 * direction(f"version-{version}") + 0.6 * vector).astype("float32")


@dataclass
class Shop:
    """A world that serves releases from its home, and what its follower asks of the catalogue."""

    world: World
    store: VersionedStore
    filled: dict[str, Progress] = field(default_factory=dict)
    writes: dict[str, Encoder] = field(default_factory=dict)
    required: str = VERSION
    dropped: list[str] = field(default_factory=list)
    pointed: list[str] = field(default_factory=list)
    broken: dict[str, Exception] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    encoders: dict[str, VersionedEncoder] = field(default_factory=dict)
    built: list[str] = field(default_factory=list)
    now_s: float = 0.0
    follower: Follower = field(init=False)

    def __post_init__(self) -> None:
        self.follower = Follower(
            self.home, self.world.served, VERSION, self.build, self, clock=lambda: self.now_s
        )
        self.world.served.progress = self.progress

    @property
    def home(self) -> Path:
        return self.world.settings.home

    async def build(self, name: str | None) -> Runtime:
        name = name or VERSION
        self.built.append(name)
        if name in self.broken:
            raise self.broken[name]
        version = self.versions.get(name, VERSION)
        embedding_set: EmbeddingSet = replace(EMBEDDING_SET, version=version)
        encoder = self.encoders.setdefault(name, VersionedEncoder(version))
        return Runtime(name, f"digest of {name}", embedding_set, encoder, self.store, self.world.common)

    async def open(self, version: str) -> None:
        self.store.open.add(version)

    def write(self, encoders: Mapping[str, Encoder], required: str) -> None:
        self.writes, self.required = dict(encoders), required

    async def settled(self) -> None:
        pass

    async def drop(self, version: str) -> None:
        self.dropped.append(version)
        self.store.open.discard(version)

    async def drop_all_but(self, *versions: str) -> None:
        pass

    async def point(self, version: str) -> None:
        self.pointed.append(version)

    def progress(self) -> Mapping[str, Progress]:
        return self.filled

    async def set(self, **changes: object) -> None:
        """Another state, and a look at it."""
        change_state(self.home, lambda state: state.model_copy(update=changes), "test")
        await self.follower.step()

    async def ask(self, words: str = "frog", release: str = "", **fields: object) -> pb.SearchResponse:
        request = pb.SearchRequest(parts=[pb.QueryPart(text=words)], **fields)  # type: ignore[arg-type]
        return await self.world.service.search(request, release=release, caller=EVERYONE)


@pytest.fixture
async def shop(make_world: MakeWorld) -> AsyncIterator[Shop]:
    world = make_world(cache=CacheSettings())
    world.store = store = VersionedStore()
    encoder = VersionedEncoder(VERSION)
    world.served = type(world.served)(
        Runtime(VERSION, VERSION, EMBEDDING_SET, encoder, store, world.common, world.personaliser)
    )
    world.service = type(world.service)(world.common, world.served, world.writer, store)
    shop = Shop(world, store, encoders={VERSION: encoder})
    await fill(shop, VERSION)
    yield shop
    await shop.follower.close()


async def fill(shop: Shop, version: str, items: tuple[str, ...] = ("green frog", "red car", "tree")) -> None:
    """Rows of a version, as its own encoder would make them."""
    for title in items:
        await shop.world.add(title.split()[-1], title)
    for key, row in list(shop.world.writer._store.rows.items()):
        unified = marked(row.embedding.unified, version)
        shop.store.rows[f"{version}/{key}"] = replace(
            row, embedding=Embedding(unified, row.embedding.native), embedding_version=version
        )
    shop.filled[version] = Progress(len(items), len(items), 0, 1.0)


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


# ---- the canary ----


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
