"""One more try of a read whose server could not be reached, within the deadline and a budget.

The budget is a share of the calls made: each pays a part of a retry in, each retry takes one out. So retries
help while few calls fail, and add next to nothing to the load of a server that is down. Only reads come here;
what indexing does when Triton is away, it decides for itself.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias, TypeVar

from orchestrator.errors import CircuitOpenError, UnavailableError
from orchestrator.settings import RetrySettings

__all__ = ["Listener", "Outcome", "Retrier"]

T = TypeVar("T")

Outcome: TypeAlias = Literal["again", "no_budget", "no_time"]
"""What became of a failure that another try might mend."""

Listener: TypeAlias = Callable[[Outcome], None]


class Retrier:
    """Of one dependency. ``clock``, ``sleep`` and ``draw`` are time, and numbers in 0..1."""

    def __init__(
        self,
        settings: RetrySettings,
        *,
        listener: Listener = lambda _outcome: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._clock = clock
        self._sleep = sleep
        self._draw = draw
        self._saved = float(settings.saved)

    async def run(self, attempt: Callable[[float], Awaitable[T]], deadline_s: float) -> T:
        """What ``attempt`` gives for the seconds it is told, or gives the second time.

        Raises:
            whatever ``attempt`` raises last.
        """
        self._saved = min(self._saved + self._settings.share, self._settings.saved)
        end_s = self._clock() + deadline_s
        try:
            return await attempt(deadline_s)
        except CircuitOpenError:
            raise
        except UnavailableError:
            pause_s = self._settings.pause_s * (0.5 + self._draw())
            if end_s - self._clock() <= 2 * pause_s:
                self._listener("no_time")
                raise
            if self._saved < 1:
                self._listener("no_budget")
                raise
            self._saved -= 1
            self._listener("again")
        await self._sleep(pause_s)
        return await attempt(max(end_s - self._clock(), 0.0))
