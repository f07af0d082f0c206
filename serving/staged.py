"""Models of releases, which come and go while the server runs: the folder says which are to be loaded.

Whoever stages a release puts whole models into the folder and reads in the state file what became of them;
nobody else asks this server to load or unload. A model that does not load or fails its first canary is said
so and left alone: what answered before goes on answering.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from serving.client import CanaryError, Client
from serving.errors import ControlError, RepositoryError
from serving.repository import is_random, read_staged
from serving.server import TritonServer
from serving.settings import Settings
from serving.state import ServerState

__all__ = ["LOADING", "UNLOADING", "Staged"]

LOADING, UNLOADING = "loading", "unloading"

_TICK_NS = 100_000_000

log = structlog.get_logger("serving")


class Staged:
    """For one life of a server."""

    def __init__(
        self,
        settings: Settings,
        state: ServerState,
        server: TritonServer,
        client: Client,
        passed: Callable[[str, float], None],
        publish: Callable[[], None],
    ) -> None:
        """`passed` is told each model that has answered its first canary, and the milliseconds it took;
        `publish` is called when `state.staged` has changed."""
        self._settings, self._state, self._server, self._client = settings, state, server, client
        self._passed, self._publish = passed, publish
        self._seen = -1  # of the folder, when it was last read
        self._wanted: Mapping[str, tuple[str, ...]] = {}
        self._task: asyncio.Task[None] | None = None
        self.working: dict[str, tuple[str, ...]] = {}
        """Models that answered -> their own steps."""
        state.staged = {}

    @property
    def is_busy(self) -> bool:
        """Whether a model is being loaded or unloaded."""
        return self._task is not None and not self._task.done()

    def step(self) -> frozenset[str]:
        """Looks once. Models that were taken away: they are unloaded as soon as the caller waits."""
        if self.is_busy:
            return frozenset()
        if self._task is not None:
            task, self._task = self._task, None
            task.result()
        try:
            seen = self._settings.staged.stat().st_mtime_ns
        except FileNotFoundError:
            seen = 0
        if seen == self._seen:
            return frozenset()
        # Another model may still come within the tick of the clock that this time is of.
        self._seen = seen if time.time_ns() - seen > _TICK_NS else -1
        before, self._wanted = self._wanted, read_staged(self._settings.staged, self._settings.config_name)
        gone = {name: steps for name, steps in before.items() if name not in self._wanted}
        new = {name: steps for name, steps in self._wanted.items() if name not in before}
        for name in gone:
            self.working.pop(name, None)
        if not gone and not new:
            return frozenset()
        self._state.staged |= dict.fromkeys(gone, UNLOADING) | dict.fromkeys(new, LOADING)
        self._task = asyncio.create_task(self._change(gone, new))
        return frozenset(gone)

    async def close(self) -> None:
        """Stop waiting for the server."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _change(self, gone: Mapping[str, tuple[str, ...]], new: Mapping[str, tuple[str, ...]]) -> None:
        for name, steps in gone.items():
            for model in (name, *steps):
                try:
                    await self._client.unload(model, self._settings.start_timeout_s)
                except ControlError as error:
                    log.error("not_unloaded", model=model, error=str(error))
            await self._ended({name, *steps})
            self._state.staged.pop(name, None)
            self._publish()
            log.info("unloaded", model=name)
        for name, steps in new.items():
            try:
                if not self._settings.allow_random and is_random(self._settings.staged, name):
                    raise ControlError("its weights are random, and --allow-random was not given")
                await self._client.load(name, self._settings.start_timeout_s)
                ms = await self._client.canary(name, self._settings.canary_timeout_s)
            except (ControlError, CanaryError, RepositoryError) as error:
                self._state.staged[name] = f"failed: {error}"[:300]
                log.error("not_staged", model=name, error=str(error)[:300])
                self._publish()
                continue
            self.working[name] = steps
            self._state.staged.pop(name, None)
            self._passed(name, ms)

    async def _ended(self, models: set[str]) -> None:
        """Triton says that a model is unloaded before its processes have ended."""
        deadline = time.monotonic() + self._settings.stop_timeout_s
        while left := [stub for stub in self._server.stubs().values() if stub.model in models]:
            if time.monotonic() > deadline:
                self._server.kill_stubs(left)
                return
            await asyncio.sleep(self._settings.watch_period_s)
