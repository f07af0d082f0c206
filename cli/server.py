"""The orchestrator's process: builds every part once, wires them, serves until SIGTERM, closes in reverse.

python -m cli.server
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack

from cli.runtimes import RuntimeBuilder
from indexing import EmbeddingVersions, Indexer, IndexingSettings, Maintenance, Target, Targets
from media import Limits
from orchestrator import logs
from orchestrator.access.control import AccessControl
from orchestrator.clients.feedback import FeedbackStore
from orchestrator.clients.items import ItemStore
from orchestrator.clients.milvus import VectorStore
from orchestrator.clients.redis import RedisStore
from orchestrator.clients.triton import TritonClient
from orchestrator.common import Common
from orchestrator.errors import ConfigurationError, DependencyError
from orchestrator.follow import Follower
from orchestrator.guarded import GuardedStore
from orchestrator.lineup import Served
from orchestrator.server import serve
from orchestrator.service import Service
from orchestrator.settings import Settings, load_settings
from orchestrator.spans import Tracing
from releases.errors import ReleaseError
from releases.state import read_state

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
    async with AsyncExitStack() as held:
        access = AccessControl(settings.access)
        held.callback(access.close)
        triton = await held.enter_async_context(TritonClient(settings.triton))
        store = VectorStore(settings.milvus, settings.home)
        held.push_async_callback(store.close)
        await store.start()
        items = await held.enter_async_context(ItemStore(settings.home / "data"))
        feedback = await held.enter_async_context(FeedbackStore(settings.home / "data", settings.feedback))
        shared = None
        if settings.cache.redis_url:
            shared = RedisStore(settings.cache.redis_url, settings.cache.redis_timeout_s)
            held.push_async_callback(shared.close)
        common = Common(settings, limits, items, feedback, shared)
        held.push_async_callback(common.close)
        # Indexing stands on the clients themselves: it waits for a server that is away as long as it takes.
        searched_in = GuardedStore(store, settings)
        builder = RuntimeBuilder(common, triton, searched_in)
        current = await builder.build(read_state(settings.home).current)
        version = current.embedding_set.version
        targets = Targets(Target(version, current.encoder))
        indexer = Indexer(targets, store, items, limits=limits, settings=indexing)
        maintenance = Maintenance(
            indexer,
            store,
            items,
            targets,
            compact_every_s=indexing.compact_every_s,
            backfill_share=indexing.backfill_share,
        )
        versions = EmbeddingVersions(store, items, targets, maintenance)
        await versions.open_all(version)
        maintenance.start()
        store.on_restart(maintenance.verify)
        held.push_async_callback(maintenance.close)
        items.changed = common.generations.changed
        # What changed while no process told of it, as in one that was killed, is told now.
        common.generations.changed()
        served = Served(current)
        served.progress = versions.progress
        tracing = Tracing(settings.tracing)
        held.push_async_callback(asyncio.to_thread, tracing.close)
        service = Service(common, served, indexer, store, access, tracing)
        searched_in.guards.report_to(service.metrics)
        builder.report_to(service.metrics, served)
        follower = Follower(settings.home, served, builder.own, builder.build, versions)
        follower.failed = service.metrics.releases.failures.inc
        follower.rolled_back = service.metrics.releases.rollbacks.inc
        follower.start()
        held.push_async_callback(follower.close)
        if shared is not None:
            service.metrics.cache_store_failures.set_function(lambda: shared.failures)
        await serve(settings.api, service, items, limits, stop)


def main() -> int:
    try:
        settings = load_settings()
        logs.configure(settings.log)
        limits = Limits.from_environment(os.environ)
        asyncio.run(run(settings, limits, IndexingSettings()))
    except (ConfigurationError, DependencyError, ReleaseError, ValueError) as error:
        print(f"orchestrator: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
