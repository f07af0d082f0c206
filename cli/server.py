"""The orchestrator's process: builds every part once, wires them, serves until SIGTERM, closes in reverse.

python -m cli.server
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack

from indexing import Indexer, IndexingSettings, Maintenance
from media import Limits
from orchestrator import logs
from orchestrator.calibrate import load_embedding_set
from orchestrator.clients.feedback import FeedbackStore
from orchestrator.clients.items import ItemStore
from orchestrator.clients.milvus import VectorStore
from orchestrator.clients.redis import RedisStore
from orchestrator.clients.triton import TritonClient
from orchestrator.errors import ConfigurationError, DependencyError
from orchestrator.personalise import Personaliser
from orchestrator.pipeline import Pipeline
from orchestrator.server import serve
from orchestrator.service import Service
from orchestrator.settings import Settings, load_settings
from orchestrator.spans import Tracing
from orchestrator.strengths import load_strengths

__all__ = ["run"]


async def run(settings: Settings, limits: Limits, indexing: IndexingSettings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: settings, models or collections do not fit; nothing was changed.
        DependencyError: Milvus cannot be reached.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    embedding_set = load_embedding_set(settings.model_repository)
    strengths = load_strengths(settings.home, settings.model_repository)
    async with AsyncExitStack() as held:
        encoder = await held.enter_async_context(TritonClient(settings.triton))
        store = VectorStore(settings.milvus, settings.home)
        held.push_async_callback(store.close)
        await store.start()
        items = await held.enter_async_context(ItemStore(settings.home / "data"))
        indexer = Indexer(
            encoder,
            store,
            items,
            embedding_version=embedding_set.version,
            limits=limits,
            settings=indexing,
        )
        maintenance = Maintenance(
            indexer,
            store,
            items,
            embedding_version=embedding_set.version,
            compact_every_s=indexing.compact_every_s,
        )
        maintenance.start()
        held.push_async_callback(maintenance.close)
        feedback = await held.enter_async_context(FeedbackStore(settings.home / "data", settings.feedback))
        personaliser = None
        if strengths is not None:
            personaliser = Personaliser(
                feedback, items, store, embedding_set.version, strengths, settings.personalise
            )
        shared = None
        if settings.cache.redis_url:
            shared = RedisStore(settings.cache.redis_url, settings.cache.redis_timeout_s)
            held.push_async_callback(shared.close)
        pipeline = Pipeline(
            settings, limits, embedding_set, encoder, store, items, feedback, personaliser, shared
        )
        held.push_async_callback(pipeline.close)
        items.changed = pipeline.generations.changed
        # What changed while no process told of it, as in one that was killed, is told now.
        pipeline.generations.changed()
        tracing = Tracing(settings.tracing)
        held.push_async_callback(asyncio.to_thread, tracing.close)
        service = Service(pipeline, indexer, encoder, store, items, feedback, personaliser, tracing)
        if shared is not None:
            service.metrics.cache_store_failures.set_function(lambda: shared.failures)
        await serve(settings.api, service, items, limits, stop)


def main() -> int:
    try:
        settings = load_settings()
        logs.configure(settings.log)
        limits = Limits.from_environment(os.environ)
        asyncio.run(run(settings, limits, IndexingSettings()))
    except (ConfigurationError, DependencyError, ValueError) as error:
        print(f"orchestrator: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
