"""A whole orchestrator on fakes: pipeline, service, and both servers on free ports."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_feedback import FakeFeedbackStore
from fakes import EMBEDDING_SET, FakeEncoder, FakeItemStore, FakeVectorStore, FakeWriter

from media import Limits
from orchestrator.access.control import AccessControl
from orchestrator.cache import SharedStore
from orchestrator.calibrate import EmbeddingSet
from orchestrator.common import Common
from orchestrator.lineup import Served
from orchestrator.personalise import Personaliser
from orchestrator.pipeline import Pipeline
from orchestrator.query import QueryPart, SearchQuery, SearchResult
from orchestrator.runtime import Runtime
from orchestrator.server import Ports, serve
from orchestrator.service import Service
from orchestrator.settings import CacheSettings, Settings
from orchestrator.strengths import Strengths
from orchestrator.trace import Trace
from orchestrator.types import ItemDraft

STRENGTHS = Strengths(
    {"taste": 2.0, "category": 1.0, "tags": 1.0, "modality": 0.5}, {}, tuple(1 / k for k in range(1, 11))
)


@dataclass
class World:
    """The fakes and what was built on them."""

    settings: Settings
    encoder: FakeEncoder
    store: FakeVectorStore
    items: FakeItemStore
    feedback: FakeFeedbackStore
    embedding_set: EmbeddingSet = EMBEDDING_SET
    shared: SharedStore | None = None
    writer: FakeWriter = field(init=False)
    personaliser: Personaliser = field(init=False)
    common: Common = field(init=False)
    pipeline: Pipeline = field(init=False)
    served: Served = field(init=False)
    service: Service = field(init=False)

    def __post_init__(self) -> None:
        self.writer = FakeWriter(self.encoder, self.store, self.items)
        self.personaliser = Personaliser(
            self.feedback,
            self.items,
            self.store,
            self.embedding_set.version,
            STRENGTHS,
            self.settings.personalise,
        )
        self.common = Common(self.settings, Limits(), self.items, self.feedback, self.shared)
        self.pipeline = Pipeline(self.common)
        self.items.changed = self.common.generations.changed
        self.served = Served(self.runtime(self.embedding_set, self.personaliser))
        access = AccessControl(self.settings.access)
        self.service = Service(self.common, self.served, self.writer, self.store, access)

    def runtime(self, embedding_set: EmbeddingSet, personaliser: Personaliser | None = None) -> Runtime:
        """A runtime of its own for ``embedding_set``, on the same fakes."""
        version = embedding_set.version
        return Runtime(version, version, embedding_set, self.encoder, self.store, self.common, personaliser)

    async def add(self, item_id: str, title: str, *media: bytes, **fields: object) -> None:
        """Indexes one item."""

        async def one() -> AsyncGenerator[ItemDraft]:
            yield ItemDraft(id=item_id, title=title, media=media, **fields)  # type: ignore[arg-type]

        async for outcome in self.writer.upsert_many(one()):
            if outcome.error is not None:
                raise outcome.error

    async def search(self, *parts: str | bytes | QueryPart, **options: object) -> SearchResult:
        """Runs one query through the pipeline; plain contents have the weight 1."""
        made = tuple(part if isinstance(part, QueryPart) else QueryPart(part) for part in parts)
        query = SearchQuery(parts=made, **options)  # type: ignore[arg-type]
        return await self.answer(query)

    async def answer(self, query: SearchQuery, timeout_s: float | None = None) -> SearchResult:
        """Runs one query through the pipeline, by the current release."""
        return await self.pipeline.search(query, self.served.current, Trace(), timeout_s)


MakeWorld = Callable[..., World]


@pytest.fixture
async def make_world(tmp_path: Path) -> AsyncGenerator[MakeWorld]:
    """Worlds with settings of one's choice, and no task left over when the test is done.

    They keep no answers unless asked to: most tests look at what a search does.
    """
    worlds: list[World] = []

    def make(
        embedding_set: EmbeddingSet = EMBEDDING_SET, shared: SharedStore | None = None, **settings: object
    ) -> World:
        settings.setdefault("cache", CacheSettings(answers_max_bytes=0))
        world = World(
            Settings(home=tmp_path, **settings),  # type: ignore[arg-type]
            FakeEncoder(),
            FakeVectorStore(),
            FakeItemStore(tmp_path),
            FakeFeedbackStore(time.time),
            embedding_set,
            shared,
        )
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        await world.common.close()
        world.service.access.close()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not [task for task in left if "async_generator_athrow" not in repr(task)], left


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world()


Serving = Callable[[World], AbstractAsyncContextManager[Ports]]


@pytest.fixture
def serving() -> Serving:
    """Serves a world on free ports for the length of a block."""

    @asynccontextmanager
    async def run(world: World) -> AsyncGenerator[Ports]:
        stop = asyncio.Event()
        ready: asyncio.Future[Ports] = asyncio.get_running_loop().create_future()
        settings = world.settings.api.model_copy(update={"grpc_port": 0, "http_port": 0})
        task = asyncio.create_task(
            serve(settings, world.service, world.items, Limits(), stop, ready.set_result)
        )
        try:
            await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
            yield await ready
        finally:
            stop.set()
            await task

    return run
