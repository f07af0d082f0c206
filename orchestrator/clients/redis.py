"""Redis as a store of cache entries, and as the place where processes tell each other of changes.

A cache may be missing but never in the way: every call ends within a few milliseconds, whatever fails is a
miss, and after a failure Redis is left alone, for longer each time it fails again: one late answer on a busy
machine costs a moment, a Redis that is gone hardly anything. That it does not answer is said once in the log,
and once when it does again; ``failures`` counts.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

__all__ = ["RedisStore"]

_PREFIX = b"sensorium:"
_GENERATION = _PREFIX + b"generation"
_MAX_VALUE_BYTES = 1024 * 1024
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.25, 8.0
_CONNECTIONS = 16

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class RedisStore:
    """One per process. ``url`` is ``redis://...``; ``timeout_s`` bounds each call. ``close`` it."""

    def __init__(self, url: str, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            max_connections=_CONNECTIONS,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis.from_pool(pool)
        self._timeout_s = timeout_s
        self._clock = clock
        self._closed_until_s = 0.0
        self._pause_s = 0.0
        self.failures = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def get(self, key: bytes) -> bytes | None:
        """The value of ``key``; None if there is none or Redis does not answer."""
        return _bytes(await self._call(lambda: self._redis.get(_PREFIX + key.hex().encode())))

    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """Keeps ``value`` for ``ttl_s`` seconds, unless it is larger than 1 MiB or Redis does not answer."""
        if len(value) <= _MAX_VALUE_BYTES:
            name = _PREFIX + key.hex().encode()
            await self._call(lambda: self._redis.set(name, value, px=max(1, round(ttl_s * 1000))))

    async def generation(self) -> bytes | None:
        """The generation that all processes share; None if Redis does not answer.

        It is drawn at random and never counted up: one that was lost is not given out a second time.
        """
        found = _bytes(await self._call(lambda: self._redis.get(_GENERATION)))
        if found is not None or self._pause_s:
            return found
        fresh = os.urandom(16)
        if await self._call(lambda: self._redis.set(_GENERATION, fresh, nx=True)):
            return fresh
        return _bytes(await self._call(lambda: self._redis.get(_GENERATION)))

    async def new_generation(self) -> bytes | None:
        """Begins another generation for all processes; None if Redis does not answer."""
        fresh = os.urandom(16)
        return fresh if await self._call(lambda: self._redis.set(_GENERATION, fresh)) else None

    async def close(self) -> None:
        """Closes all connections."""
        await self._redis.aclose()

    async def _call(self, command: Callable[[], Awaitable[T]]) -> T | None:
        if self._clock() < self._closed_until_s:
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                value = await command()
        except (RedisError, OSError, TimeoutError) as error:
            self.failures += 1
            if not self._pause_s:
                _log.warning("cache store does not answer", error=type(error).__name__)
            if self._clock() >= self._closed_until_s:  # else one of several that failed together
                self._pause_s = min(max(2 * self._pause_s, _FIRST_PAUSE_S), _LAST_PAUSE_S)
                self._closed_until_s = self._clock() + self._pause_s
            return None
        if self._pause_s:
            self._pause_s = 0.0
            _log.info("cache store answers again")
        return value


def _bytes(value: object) -> bytes | None:
    return value if isinstance(value, bytes) else None
