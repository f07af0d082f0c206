"""The connection to Milvus under the vector store: which server, its start and end, deadlines, and the order
of calls that Milvus Lite needs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

from pymilvus import AsyncMilvusClient

from orchestrator.clients.milvus_errors import NAME, translated
from orchestrator.clients.milvus_lite import LiteGuard, LiteProcess
from orchestrator.clients.milvus_setup import adopt, collection_name, drop, ensure, point
from orchestrator.clients.milvus_spec import FlushPolicy, IndexStep, load_spec
from orchestrator.errors import ConfigurationError, UnavailableError
from orchestrator.settings import MilvusSettings
from orchestrator.types import Space

__all__ = ["CALL_S", "ONCE", "Connection"]

CALL_S: Final = 30.0
"""Deadline of a call that is not part of a search."""

ONCE: Final[dict[str, Any]] = {"retry_times": 1}
"""pymilvus would try for minutes; callers have deadlines and decide for themselves."""

_START_S: Final = 120.0
_LOOK_S: Final = 0.02

# pymilvus logs failed requests with their filters; failures reach our log as errors of ours.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL + 1)


class Connection:
    """One client, and Milvus Lite as a child process where ``settings`` name no server."""

    def __init__(self, settings: MilvusSettings, home: Path) -> None:
        if (settings.uri is None) != (settings.parameters == "lite"):
            raise ConfigurationError(
                "SENSORIUM_MILVUS__PARAMETERS must be standalone or cluster with SENSORIUM_MILVUS__URI, "
                "and lite without"
            )
        self.spec = load_spec(settings.parameters)
        self._steps: dict[str, dict[Space, IndexStep]] = {}
        self.uri = settings.uri or ""
        self._lite = None if settings.uri else LiteProcess(home / "data" / "milvus")
        self._guard = LiteGuard(self._flush, self.spec.flush or FlushPolicy(rows=1, idle_s=1))
        self._client: AsyncMilvusClient | None = None
        self._under_way: set[object] = set()

    @property
    def is_lite(self) -> bool:
        """Whether the server is Milvus Lite."""
        return self._lite is not None

    @property
    def client(self) -> AsyncMilvusClient:
        """The client; UnavailableError before the start and after the end."""
        if self._client is None:
            raise UnavailableError(NAME, "the vector store is not started")
        return self._client

    async def start(self) -> None:
        """See ``VectorStore.start``."""
        try:
            if self._lite is not None:
                await self._lite.start(on_restart=self._prepare)
                self.uri = self._lite.uri
            with translated("start"):
                self._client = AsyncMilvusClient(
                    uri=self.uri,
                    dedicated=True,
                    grpc_options={
                        # Pings without calls make a gRPC server with default settings hang up.
                        "grpc.keepalive_time_ms": 2**31 - 1,
                        "grpc.max_reconnect_backoff_ms": 1000,
                        "grpc.enable_http_proxy": 0,
                    },
                )
            await self._prepare()
        except BaseException:
            await self.close()
            raise

    # ---- embedding versions ----

    @property
    def versions(self) -> tuple[str, ...]:
        """The embedding versions whose collections are ready."""
        return tuple(self._steps)

    def step(self, space: Space, version: str) -> IndexStep:
        """The index in use; UnavailableError for an embedding version that is not prepared."""
        if version not in self._steps:
            raise UnavailableError(NAME, "the vector store has no collections of this embedding version")
        return self._steps[version][space]

    async def prepare(self, version: str) -> None:
        """See ``VectorStore.prepare``."""
        async with self.call("start", _START_S) as client:
            self._steps[version] = await ensure(client, self.spec, version)
            if self.is_lite:
                for space in self.spec.collections:
                    # What its log brought back after a crash is slow to search until flushed.
                    await client.flush(collection_name(space, version))

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Held around what goes over the collections of all versions: none of them goes meanwhile."""
        call = object()
        self._under_way.add(call)
        try:
            yield
        finally:
            self._under_way.discard(call)

    async def drop(self, version: str) -> None:
        """See ``VectorStore.drop``."""
        self._steps.pop(version, None)
        before = set(self._under_way)
        while before & self._under_way:  # noqa: ASYNC110 - each ends soon by its own deadline
            await asyncio.sleep(_LOOK_S)
        async with self.call("drop") as client:
            for space in self.spec.collections:
                await self._guard.forget(collection_name(space, version))
            await drop(client, self.spec, version)

    async def point(self, version: str) -> None:
        """See ``VectorStore.point``."""
        async with self.call("alias") as client:
            await point(client, self.spec, version)

    async def close(self) -> None:
        """See ``VectorStore.close``."""
        await self._guard.close()
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        if self._lite is not None:
            await self._lite.stop()

    @asynccontextmanager
    async def call(self, operation: str, deadline_s: float = CALL_S) -> AsyncIterator[AsyncMilvusClient]:
        """The client, for ``deadline_s`` seconds; whatever comes out of it is an error of ours."""
        with translated(operation):
            async with asyncio.timeout(deadline_s):
                yield self.client

    def reading(self, collection: str) -> AbstractAsyncContextManager[None]:
        """Held around a search or query."""
        return self._guard.reading(collection) if self.is_lite else nullcontext()

    def writing(self, collection: str, rows: int) -> AbstractAsyncContextManager[None]:
        """Held around a write of ``rows`` rows."""
        return self._guard.writing(collection, rows) if self.is_lite else nullcontext()

    async def _flush(self, collection: str) -> None:
        async with self.call("flush") as client:
            await client.flush(collection)

    async def _prepare(self) -> None:
        """All that was prepared, again: the server may have started anew."""
        async with self.call("start", _START_S) as client:
            await adopt(client, self.spec)
        for version in self.versions:
            await self.prepare(version)
