"""Watches one running server: signs of life, its Python processes, and one canary after another."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable

import structlog

from serving.client import LIVE_TIMEOUT_S, CanaryError, CanaryTimeoutError, Client
from serving.errors import ControlError, ServerError
from serving.repository import Repository
from serving.server import Stub, TritonServer
from serving.settings import Settings
from serving.staged import Staged
from serving.state import ModelState, Phase, ServerState

__all__ = ["Watch"]

log = structlog.get_logger("serving")


class Watch:
    """Stubs and canaries of one life of a server."""

    def __init__(
        self,
        settings: Settings,
        state: ServerState,
        repository: Repository,
        server: TritonServer,
        client: Client,
        publish: Callable[[], None],
    ) -> None:
        """`publish` is called whenever `state.models` has changed."""
        self._settings, self._state, self._repository = settings, state, repository
        self._server, self._client, self._publish = server, client, publish
        self._staged = Staged(settings, state, server, client, self._passed, publish)
        self._stubs: dict[int, Stub] = {}
        self._canary: tuple[str, asyncio.Task[float]] | None = None
        self._life: asyncio.Task[bool] | None = None
        self._silences = 0  # in a row
        self._due: dict[str, float] = {}  # public model -> when its next canary may fly
        self._worked: set[str] = set()  # models that answered in this life
        self._timeouts: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._completed: dict[str, int | None] = {}  # answers that a model had given when its canary flew

    async def begin(self, timeout_s: float) -> None:
        """Mark models that did not load; fly the first canary of each of the others."""
        await self._choose_versions(timeout_s)
        reasons = await self._client.loaded(timeout_s)
        self._stubs = self._server.stubs()
        for model, entry in self._state.models.items():
            if problem := reasons.get(model, "not loaded"):
                entry.phase, entry.error = Phase.DEGRADED, problem[:300]
                log.error("model_not_loaded", model=model, reason=problem[:300])
                continue
            try:
                self._passed(
                    model, await self._client.canary(model, min(timeout_s, self._settings.canary_timeout_s))
                )
            except CanaryError as error:
                self._failed(model, error)

    async def _choose_versions(self, timeout_s: float) -> None:
        """The server began with the newest version of each model: puts the released ones in their place."""
        ready = await self._client.versions(timeout_s)
        others = {name for name, version in self._repository.released.items() if ready.get(name) != {version}}
        for model in sorted(others):
            log.warning("released_version", model=model, version=self._repository.released[model])
            try:
                await self._client.load(model, timeout_s, self._repository.configs[model])
            except ControlError as error:
                log.error("released_version_failed", model=model, reason=str(error)[:300])
        if others:
            ready = await self._client.versions(timeout_s)
        for public, steps in self._repository.steps.items():
            if others.intersection(steps) and not ready.get(public):
                with contextlib.suppress(ControlError):  # `loaded` tells
                    await self._client.load(public, timeout_s)

    async def step(self) -> None:
        """Look once, and do what helps.

        Raises:
            ServerError: only a new server helps.
        """
        self._listen()
        await self._follow()
        live, ours = self._server.stubs(), self._ours()
        # One that Triton put another in the place of is not dead.
        there = {stub.instance for stub in live.values()}
        dead = sorted(
            {stub.model for stub in self._stubs.values() if stub.model in ours and stub.instance not in there}
        )
        if dead and self._server.exit_code is None:
            await self.close()
            await self._reload(dead, "its Python process died")
        elif self._canary is None:
            self._stubs = live
            self._launch()
        elif self._canary[1].done():
            (name, task), self._canary = self._canary, None
            await self._judge(name, task)

    async def end(self) -> None:
        """Call back everything."""
        await self._staged.close()
        await self.close()

    async def close(self) -> None:
        """Call back the canary that is in flight, and what asks for a sign of life."""
        tasks = [*([self._canary[1]] if self._canary else []), *([self._life] if self._life else [])]
        self._canary = self._life = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _listen(self) -> None:
        """Asks for a sign of life, one at a time: it finds a server that hangs sooner than canaries do."""
        if self._life is not None and self._life.done():
            self._silences = 0 if self._life.result() else self._silences + 1
            self._life = None
            if self._silences > self._settings.silences_allowed and self._server.exit_code is None:
                raise ServerError(
                    f"the server has given no sign of life {self._silences} times, {LIVE_TIMEOUT_S:g} s each"
                )
        if self._life is None:
            self._life = asyncio.create_task(self._client.is_live())

    @property
    def _steps(self) -> dict[str, tuple[str, ...]]:
        return {**self._repository.steps, **self._staged.working}

    def _ours(self) -> set[str]:
        """Models whose Python processes must live; of a release, once it has answered."""
        steps = self._steps
        return {*steps, *(step for each in steps.values() for step in each)}

    async def _follow(self) -> None:
        """Models of releases come and go."""
        if gone := self._staged.step():
            if self._canary is not None and self._canary[0] in gone:
                await self.close()
            for model in gone:
                self._due.pop(model, None)
                self._state.models.pop(model, None)
                self._worked.discard(model)
            self._publish()

    def _launch(self) -> None:
        due = [name for name, when in self._due.items() if when <= time.monotonic()]
        if due:
            name = min(due, key=self._due.__getitem__)
            self._canary = (name, asyncio.create_task(self._fly(name)))

    async def _fly(self, name: str) -> float:
        self._completed[name] = await self._client.completed(name)
        return await self._client.canary(name, self._settings.canary_timeout_s)

    async def _is_busy(self, name: str) -> bool:
        """Whether the model answered others while its canary waited: a long queue is no reason to kill it."""
        before, now = self._completed.get(name), await self._client.completed(name)
        return before is not None and now is not None and now > before

    async def _judge(self, name: str, task: asyncio.Task[float]) -> None:
        try:
            self._passed(name, task.result())
        except CanaryTimeoutError as error:
            self._failed(name, error)
            if await self._is_busy(name):
                log.warning("model_busy", model=name)
                self._due[name] = time.monotonic() + self._settings.canary_period_s
                return
            self._timeouts[name] = self._timeouts.get(name, 0) + 1
            if self._timeouts[name] > self._settings.canary_timeouts_allowed and name in self._worked:
                raise ServerError(f"{name}: {self._timeouts[name]} canaries in a row timed out") from error
        except CanaryError as error:
            self._failed(name, error)
            if self._failures[name] > 1 and name in self._worked:
                raise ServerError(f"{name}: its canary fails also after a reload: {error}") from error
            await self._reload(self._steps[name] or (name,), str(error))

    def _passed(self, model: str, ms: float) -> None:
        entry = self._state.models.setdefault(model, ModelState())
        if entry.phase is not Phase.READY:
            log.info("model_ready", model=model, canary_ms=round(ms, 1))
        entry.phase, entry.error, entry.canary_ms = Phase.READY, "", round(ms, 2)
        self._worked.add(model)
        self._timeouts[model] = self._failures[model] = 0
        self._due[model] = time.monotonic() + self._settings.canary_period_s
        self._publish()

    def _failed(self, model: str, error: Exception) -> None:
        """The next canary of a model that worked flies at once; of one that never did, ever later."""
        entry = self._state.models[model]
        entry.phase, entry.error = Phase.DEGRADED, str(error)
        self._failures[model] = self._failures.get(model, 0) + 1
        pause_s = self._settings.restart_backoff_s * 2.0 ** min(self._failures[model], 16)
        pause_s = 0.0 if model in self._worked else min(pause_s, 10 * self._settings.restart_backoff_max_s)
        self._due[model] = time.monotonic() + pause_s
        log.error(
            "canary_failed", model=model, error=str(error), timeout=isinstance(error, CanaryTimeoutError)
        )
        self._publish()

    async def _reload(self, models: Iterable[str], reason: str) -> None:
        for model in models:
            log.warning("reload", model=model, reason=reason)
            affected = [p for p, steps in self._steps.items() if p == model or model in steps]
            for name in set(affected) & set(self._state.models):
                entry = self._state.models[name]
                entry.phase, entry.error = Phase.DEGRADED, f"{model} is loaded again: {reason}"
                entry.reloads += 1
                if name in self._worked:
                    self._due[name] = time.monotonic()
            self._state.reloads += 1
            self._publish()
            old = [stub for stub in self._server.stubs().values() if stub.model == model]
            config = self._repository.configs.get(model)
            await self._client.reload(model, self._settings.start_timeout_s, config)
            self._server.kill_stubs(old)  # Triton leaves one that does not answer to itself
        self._stubs = self._server.stubs()
        if not self._staged.is_busy:
            self._server.drop_dead_memory()
