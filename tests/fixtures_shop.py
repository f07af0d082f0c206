"""A shop with releases of two embedding versions, over fakes that tell the versions apart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from fakes import EMBEDDING_SET, VERSION, FakeEncoder, FakeVectorStore, direction
from fixtures_orchestrator import MakeWorld, World

from indexing import Progress
from media import Modality
from orchestrator.access.caller import EVERYONE
from orchestrator.calibrate import EmbeddingSet
from orchestrator.errors import UnavailableError
from orchestrator.follow import Follower
from orchestrator.ports import Encoder
from orchestrator.runtime import Runtime
from orchestrator.settings import AdmissionSettings, CacheSettings
from orchestrator.types import Embedding, FloatArray, RowHit, Space
from releases.state import change_state
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
    # What is asked at once is what the tests are about, not how long a busy machine lets it wait.
    world = make_world(cache=CacheSettings(), admission=AdmissionSettings(max_wait_s=30))
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
