"""What a process has once, whichever releases it serves: admission, caches, threads, and the catalogue."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from media import Limits
from orchestrator.answer_cache import AnswerCache
from orchestrator.cache import EmbeddingCache, SharedStore
from orchestrator.classify import Classifier
from orchestrator.embed import Cutter
from orchestrator.feedback import FeedbackStore
from orchestrator.gate import Gate
from orchestrator.generations import Generations
from orchestrator.ports import ItemStore
from orchestrator.settings import Settings

__all__ = ["Common"]

_THREADS = 4


class Common:
    """Built once; ``close`` it when no search is under way any more.

    The caches serve every release: what they keep is keyed by embedding version and by release.
    """

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        items: ItemStore,
        feedback: FeedbackStore,
        shared: SharedStore | None = None,
    ) -> None:
        self.settings = settings
        self.items = items
        self.feedback = feedback
        self.gate = Gate(settings.admission)
        self.cache = EmbeddingCache(settings.cache.max_bytes, settings.cache.ttl_s, shared)
        self.generations = Generations(shared)
        self.answers = AnswerCache(settings.cache, self.generations, shared)
        self.executor = ThreadPoolExecutor(_THREADS, "media")
        self.classifier = Classifier(limits, self.executor)
        # A thread cannot be cancelled: what it cuts for a query that has given up must soon end by itself.
        cut_s = min(limits.segment_deadline_s, settings.budget.embed_s)
        self.cutter = Cutter(replace(limits, segment_deadline_s=cut_s), self.executor)

    async def close(self) -> None:
        """Ends what is in the background."""
        await self.cache.close()
        await self.generations.close()
        # A decoder that hangs ends by its own clock; waiting for it here would hold up the stop.
        self.executor.shutdown(wait=False, cancel_futures=True)
