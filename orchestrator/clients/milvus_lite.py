"""What Milvus Lite needs beyond a server: somebody to run it, and care around its writes.

It runs as a child process. Inside this one its searches, which are Python, would hold the interpreter lock
for 10 to 20 ms each at 20,000 rows and stop the event loop as long; in a child they cost the loop nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog

from orchestrator.clients.milvus_errors import NAME
from orchestrator.clients.milvus_spec import FlushPolicy
from orchestrator.errors import ConfigurationError, SensoriumError, UnavailableError

__all__ = ["LiteGuard", "LiteProcess"]

_log = structlog.get_logger(__name__)

_EXIT_LOCKED: Final = 75  # as in milvus_lite_main, whose import would load the engine here

# It loads all collections before it listens. One that is ended sooner would begin again, and never get there.
_START_S: Final = 600.0
_STOP_S: Final = 20.0
_LOCK_WAIT_S: Final = 10.0
_FIRST_PAUSE_S: Final = 0.1
_LAST_PAUSE_S: Final = 10.0
_STEADY_S: Final = 60.0
_ROOM_BYTES: Final = 64 * 1024 * 1024
_NO_ROOM_PAUSE_S: Final = 1.0

# One allocator with one arena, for Arrow's buffers too: ten threads that share an interpreter lock gain
# nothing by more, and each would keep holes of its own where answers were.
_ENVIRONMENT: Final = {
    "GRPC_VERBOSITY": "NONE",
    "MALLOC_ARENA_MAX": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


class LiteProcess:
    """Milvus Lite on ``data_dir``, reached at ``uri`` once started; should it die, it starts again there."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._port = 0
        self._process: Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def uri(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def has_room(self) -> bool:
        """Whether its disk has room for a write. Lite must not meet a full one: a flush that fails makes it
        forget rows that it had stored, until it starts again."""
        disk = os.statvfs(self._data_dir)
        return disk.f_bavail * disk.f_frsize >= _ROOM_BYTES

    def kill(self) -> None:
        """Ends it at once; it starts again and reads its log."""
        if self._process is not None and self.pid is not None:
            self._process.kill()

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    async def start(self, on_restart: Callable[[], Awaitable[None]]) -> None:
        """Returns when it listens. ``on_restart`` is awaited after every later start.

        Raises:
            ConfigurationError: another process keeps the data directory.
            UnavailableError: it did not start.
        """
        await self._start()
        self._watcher = asyncio.create_task(self._watch(on_restart))

    async def stop(self) -> None:
        """Lets it write out and end; kills it if it does not."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            if not isinstance(error, TimeoutError):
                raise

    async def _watch(self, on_restart: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        pause_s = _FIRST_PAUSE_S
        while True:
            assert self._process is not None
            started_s = loop.time()
            code = await self._process.wait()
            if loop.time() - started_s > _STEADY_S:
                pause_s = _FIRST_PAUSE_S
            _log.error("milvus_lite.ended", code=code, restart_in_s=pause_s)
            restored = False
            while not restored:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LAST_PAUSE_S)
                try:
                    if self.pid is None:
                        await self._start()
                    await on_restart()
                    restored = True
                except (SensoriumError, OSError) as error:
                    _log.error("milvus_lite.restart_failed", reason=str(error))

    async def _start(self) -> None:
        await asyncio.to_thread(self._data_dir.mkdir, parents=True, exist_ok=True)
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + _LOCK_WAIT_S
        while True:
            try:
                async with asyncio.timeout(_START_S):
                    code = await self._spawn()
            except TimeoutError as error:
                raise UnavailableError(NAME, f"Milvus Lite did not start within {_START_S:g} s") from error
            if code is None:
                return
            if code != _EXIT_LOCKED:
                raise UnavailableError(NAME, f"Milvus Lite ended with code {code} while starting")
            # The one before may still be writing its last rows out.
            if loop.time() > give_up_s:
                raise ConfigurationError(
                    f"another process has {self._data_dir} open in Milvus Lite: stop it or set SENSORIUM_HOME"
                )
            await asyncio.sleep(0.2)

    async def _spawn(self) -> int | None:
        """The exit code if it ended before it listened."""
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "orchestrator.clients.milvus_lite_main",
            str(self._data_dir.absolute()),
            str(self._port),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,  # its log repeats filters and rows, which are user content
            cwd=Path(__file__).parents[2],
            env={**os.environ, **_ENVIRONMENT},
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            line = await process.stdout.readline()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        if not line:
            return await process.wait()
        self._port = int(line)
        return None


class LiteGuard:
    """Order among the calls to Milvus Lite, per collection.

    - One write at a time: Lite does not lock concurrent writers of a collection against each other.
    - Written rows are flushed soon (``policy``): until then each search reads them one by one.
    - No search during a flush: for a moment Lite 3.2 has the rows neither in memory nor in a segment, and a
      search would miss them silently.
    - Without room on its disk nothing is written and nothing flushed; searches go on.
    """

    def __init__(
        self,
        flush: Callable[[str], Awaitable[None]],
        policy: FlushPolicy,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._flush = flush
        self._policy = policy
        self._has_room = has_room
        self._collections: dict[str, _Turns] = defaultdict(_Turns)
        self._idle: dict[str, asyncio.Task[None]] = {}

    @contextlib.asynccontextmanager
    async def reading(self, collection: str) -> AsyncIterator[None]:
        """Held around a search or a query."""
        turns = self._collections[collection]
        while not turns.may_read.is_set():
            await turns.may_read.wait()
        turns.readers += 1
        turns.no_reader.clear()
        try:
            yield
        finally:
            turns.readers -= 1
            if not turns.readers:
                turns.no_reader.set()

    @contextlib.asynccontextmanager
    async def writing(self, collection: str, rows: int) -> AsyncIterator[None]:
        """Held around a write of ``rows`` rows; may flush before it returns.

        Raises:
            UnavailableError: there is no room.
        """
        turns = self._collections[collection]
        async with turns.writer:
            if not self._has_room():
                raise UnavailableError(NAME, "the disk of Milvus Lite is full")
            turns.unflushed += rows
            turns.last_write_s = asyncio.get_running_loop().time()
            yield
            if turns.unflushed >= self._policy.rows:
                await self._flush_alone(collection, turns)
        if turns.unflushed and (collection not in self._idle or self._idle[collection].done()):
            self._idle[collection] = asyncio.create_task(self._flush_when_idle(collection, turns))

    async def forget(self, collection: str) -> None:
        """Of a collection that is about to be dropped."""
        task = self._idle.pop(collection, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._collections.pop(collection, None)

    async def flush(self, collection: str) -> None:
        """Flushes now, with nobody else at the collection: a write beside it may be lost."""
        turns = self._collections[collection]
        async with turns.writer:
            await self._flush_alone(collection, turns)

    async def close(self) -> None:
        """Stops waiting for quiet; Lite writes out what is left when it ends."""
        for task in self._idle.values():
            task.cancel()
        await asyncio.gather(*self._idle.values(), return_exceptions=True)
        self._idle.clear()

    async def _flush_when_idle(self, collection: str, turns: _Turns) -> None:
        loop = asyncio.get_running_loop()
        while turns.unflushed:
            await asyncio.sleep(max(turns.last_write_s + self._policy.idle_s - loop.time(), 0.01))
            async with turns.writer:
                if turns.unflushed and loop.time() - turns.last_write_s >= self._policy.idle_s:
                    try:
                        await self._flush_alone(collection, turns)
                    except SensoriumError as error:
                        # Nothing is lost: the rows stay in Lite's log, and the next write flushes them.
                        _log.warning("milvus.flush_failed", collection=collection, code=error.code)
                        return
            if turns.unflushed and not self._has_room():
                await asyncio.sleep(_NO_ROOM_PAUSE_S)

    async def _flush_alone(self, collection: str, turns: _Turns) -> None:
        turns.may_read.clear()
        try:
            await turns.no_reader.wait()
            if self._has_room():
                await self._flush(collection)
                turns.unflushed = 0
        finally:
            turns.may_read.set()


class _Turns:
    """Who is at one collection."""

    def __init__(self) -> None:
        self.writer = asyncio.Lock()
        self.readers = 0
        self.no_reader = asyncio.Event()
        self.no_reader.set()
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.unflushed = 0
        self.last_write_s = 0.0
