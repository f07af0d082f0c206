"""What was shown to users and what they did with it, in ``feedback.sqlite`` beside the item store.

Bounded by age and by number; both bounds are kept at the start and while it is written to. Every failure of
disk or database is a ``DependencyError``.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from cachetools import TTLCache

from orchestrator.clients.feedback_db import FeedbackDb
from orchestrator.errors import ConfigurationError, DependencyError, UnavailableError
from orchestrator.feedback import Erased, Event, EventCounts, History, Impression
from orchestrator.settings import FeedbackSettings

__all__ = ["FeedbackStore"]

_NAME: Final = "feedback store"
_DAY_S: Final = 86_400.0
_PRUNE_EVERY: Final = 256
_ERASED_S: Final = 3600.0
"""No search takes as long: whoever was erased so long ago has none under way from before."""

T = TypeVar("T")


class FeedbackStore:
    """The store below ``directory`` (``data`` in the home); on one event loop from ``start`` to ``close``."""

    def __init__(
        self, directory: Path, settings: FeedbackSettings, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = directory / "feedback.sqlite"
        self._settings = settings
        self._clock = clock
        # One thread: everything is short, and what was recorded is there for the feedback that follows.
        self._thread = ThreadPoolExecutor(1, "feedback")
        self._db: FeedbackDb | None = None
        self._recorded = 0
        self._erased: TTLCache[str, float] = TTLCache(100_000, _ERASED_S)

    async def start(self) -> None:
        """Opens or creates the store. The item store's lock keeps other processes out.

        Raises:
            ConfigurationError: it is of another version of Sensorium.
        """
        await self._run(self._open)

    async def close(self) -> None:
        """Ends what is under way and closes. May be called at any time, and again."""
        await asyncio.get_running_loop().run_in_executor(None, self._shut)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def record(self, impression: Impression) -> None:
        """Keeps an answer, unless its user was erased after they asked."""
        await self._run(lambda: self._record(impression))

    async def add(self, user: str, events: Sequence[Event]) -> EventCounts:
        """Stores events about what was shown to ``user``; one that is known already changes nothing.

        Of two dwells with the same item of the same answer the longer one stays.
        """
        return await self._run(lambda: self._opened().add(user, events, self._clock()))

    async def history(self, user: str, limit: int) -> History:
        """The newest ``limit`` answers that ``user`` was shown, and what they did with those."""
        return await self._run(lambda: self._opened().history(user, limit))

    async def erase(self, user: str) -> Erased:
        """Removes everything of ``user``, from the disk too."""
        return await self._run(lambda: self._erase(user))

    # ---- the thread ----

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = FeedbackDb(self._path)
        except ValueError as error:
            raise ConfigurationError(f"{self._path} is of another version of Sensorium: {error}") from error
        self._prune(self._db)

    def _record(self, impression: Impression) -> None:
        if self._erased.get(impression.user, -1.0) >= impression.at_s:
            return
        db = self._opened()
        db.record(impression)
        self._recorded += 1
        if self._recorded % _PRUNE_EVERY == 0:
            self._prune(db)

    def _erase(self, user: str) -> Erased:
        self._erased[user] = self._clock()
        return self._opened().erase(user)

    def _prune(self, db: FeedbackDb) -> None:
        db.prune(self._clock() - self._settings.retention_days * _DAY_S, self._settings.max_requests)

    def _opened(self) -> FeedbackDb:
        if self._db is None:
            raise UnavailableError(_NAME, "the feedback store is not open")
        return self._db

    def _shut(self) -> None:
        self._thread.shutdown(wait=True)
        db, self._db = self._db, None
        if db is not None:
            db.close()

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError) as error:
            raise DependencyError(_NAME, "the feedback store failed") from error
        except RuntimeError as error:  # the thread takes nothing after `close`
            raise UnavailableError(_NAME, "the feedback store is closed") from error
