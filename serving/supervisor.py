"""Keeps one Triton server answering.

    start -> ready -> canaries pass -> watch
                                        ├── the server ended                    -> start again
                                        ├── a Python stub died                  -> reload its model
                                        ├── a canary came back as an error      -> reload the model's steps
                                        └── canaries of a model that had worked
                                            time out, or fail after a reload    -> start again

Triton itself says "ready" of a model whose Python process is dead, so only processes and real answers count
here. Starts again are spaced by a growing back-off and limited in number within a window. A model that never
worked since the server started is left degraded and tried again at growing intervals: it does not take the
others down.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Iterable

import structlog

from serving.client import CanaryError, CanaryTimeoutError, Client
from serving.errors import RestartLimitError, ServerError, ServingError, StartError
from serving.leftovers import mark, sweep
from serving.lock import supervisor_lock
from serving.repository import Repository, read_repository
from serving.server import Stub, TritonServer
from serving.settings import Settings
from serving.state import ModelState, Phase, ServerState, write_state

__all__ = ["Supervisor"]

_HOST = "127.0.0.1"
_SWEEP_TIMEOUT_S = 5.0
_READY_POLL_S = 0.1
_PORT_WAIT_S = 3.0

log = structlog.get_logger("serving")


class Supervisor:
    """Runs until `request_stop` or until it gives up. One use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._starts: deque[float] = deque()  # times of starts after the first, within the window
        self.state = ServerState(
            supervisor_pid=0,
            http=f"{_HOST}:{settings.http_port}",
            grpc=f"{_HOST}:{settings.grpc_port}",
            metrics=f"{_HOST}:{settings.metrics_port}",
        )

    def request_stop(self) -> None:
        """Drain and end. From the event loop's thread."""
        self._stop.set()

    async def run(self, pid: int) -> None:
        """Supervise. `pid` is written to the state file.

        Raises:
            AlreadyRunningError: another supervisor has this SENSORIUM_HOME; nothing was touched.
            RepositoryError: nothing to serve.
            StartError: a port is taken.
            RestartLimitError: the server ended too often.
        """
        self.state.supervisor_pid = pid
        with supervisor_lock(self._settings.run):
            processes, regions = await asyncio.to_thread(sweep, mark(self._settings.home), _SWEEP_TIMEOUT_S)
            if processes or regions:
                log.warning("swept", processes=processes, regions=regions)
            try:
                await self._ports_free()
                await self._serve_until_stopped()
            except ServingError as error:
                self._phase(Phase.FAILED, str(error))
                raise
            self._phase(Phase.STOPPED)

    async def _serve_until_stopped(self) -> None:
        while not self._stop.is_set():
            repository = read_repository(self._settings.model_repository)
            try:
                reason = await self._serve(repository)
            except ServerError as error:
                reason = str(error)
            if self._stop.is_set():
                return
            pause_s = self._next_pause(reason)
            self.state.restarts += 1
            self._phase(Phase.STARTING, reason)
            log.error("restart", reason=reason, pause_s=pause_s, restarts=self.state.restarts)
            await self._pause(pause_s)

    async def _serve(self, repository: Repository) -> str:
        """One life of a server, and why it ended."""
        server = TritonServer(self._settings, repository.steps)
        self.state.models = {name: ModelState() for name in repository.public}
        self.state.incomplete = dict(repository.incomplete)
        try:
            server.start()
        except OSError as error:
            raise StartError(f"cannot run tritonserver: {error}") from error
        self.state.server_pid = server.pid
        self._phase(Phase.STARTING, self.state.error)
        async with Client(self.state.grpc) as client:
            try:
                watch = _Watch(self._settings, self.state, repository, server, client)
                await self._until_ready(server, client, watch)
                self._phase(self._served_phase())
                log.info("serving", models={name: model.phase for name, model in self.state.models.items()})
                while not self._stop.is_set():
                    if server.exit_code is not None:
                        return f"the server ended with exit code {server.exit_code}"
                    if await watch.step():
                        self._phase(self._served_phase())
                    await self._pause(self._settings.watch_period_s)
            finally:
                if self._stop.is_set():
                    self._phase(Phase.STOPPING)
                    await server.stop()
                else:
                    await server.kill()
                self.state.server_pid = None
        return ""

    async def _until_ready(self, server: TritonServer, client: Client, watch: _Watch) -> None:
        deadline = time.monotonic() + self._settings.start_timeout_s
        while not await client.is_ready():
            if self._stop.is_set():
                return
            if server.exit_code is not None:
                raise StartError(
                    f"the server ended with exit code {server.exit_code}; see run/tritonserver.log"
                )
            if time.monotonic() > deadline:
                raise StartError(f"the server was not ready within {self._settings.start_timeout_s:g} s")
            await self._pause(_READY_POLL_S)
        await watch.begin(max(deadline - time.monotonic(), 1.0))

    def _served_phase(self) -> Phase:
        return (
            Phase.READY if all(m.phase is Phase.READY for m in self.state.models.values()) else Phase.DEGRADED
        )

    def _phase(self, phase: Phase, error: str = "") -> None:
        if phase is not self.state.phase:
            log.info("phase", phase=phase, error=error)
        self.state.phase = phase
        self.state.error = error
        self.state.updated_at = time.time()
        write_state(self._settings.run, self.state)

    def _next_pause(self, reason: str) -> float:
        now, settings = time.monotonic(), self._settings
        self._starts.append(now)
        while self._starts[0] < now - settings.restart_window_s:
            self._starts.popleft()
        if len(self._starts) > settings.restarts_allowed:
            raise RestartLimitError(
                f"{len(self._starts)} failures within {settings.restart_window_s:g} s; the last: {reason}"
            )
        return float(
            min(settings.restart_backoff_s * 2 ** (len(self._starts) - 1), settings.restart_backoff_max_s)
        )

    async def _pause(self, seconds: float) -> None:
        """Sleep, or less when asked to stop."""
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return

    async def _ports_free(self) -> None:
        """Raise StartError for a port that stays taken: Triton's own message about it is easily missed."""
        deadline = time.monotonic() + _PORT_WAIT_S
        for port in (self._settings.http_port, self._settings.grpc_port, self._settings.metrics_port):
            while not _is_free(port):
                if time.monotonic() > deadline:
                    raise StartError(f"port {port} on {_HOST} is taken by another program")
                await self._pause(_READY_POLL_S)


class _Watch:
    """Stubs and canaries of one life of a server."""

    def __init__(
        self,
        settings: Settings,
        state: ServerState,
        repository: Repository,
        server: TritonServer,
        client: Client,
    ) -> None:
        self._settings, self._state, self._repository = settings, state, repository
        self._server, self._client = server, client
        self._stubs: dict[int, Stub] = {}
        self._canary: tuple[str, asyncio.Task[float]] | None = None
        self._due: dict[str, float] = {}  # public model -> when its next canary may fly
        self._worked: set[str] = set()  # models that answered in this life
        self._timeouts: dict[str, int] = {}
        self._failures: dict[str, int] = {}

    async def begin(self, timeout_s: float) -> None:
        """Mark models that did not load; fly the first canary of each of the others."""
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

    async def step(self) -> bool:
        """Look once. True when the state may have changed.

        Raises:
            ServerError: only a new server helps.
        """
        live = self._server.stubs()
        dead = sorted({stub.model for pid, stub in self._stubs.items() if pid not in live})
        self._stubs = live
        if dead:
            self._drop_canary()
            await self._reload(dead, "its Python process died")
            return True
        if self._canary is None:
            due = [name for name, when in self._due.items() if when <= time.monotonic()]
            if due:
                name = min(due, key=self._due.__getitem__)
                flight = self._client.canary(name, self._settings.canary_timeout_s)
                self._canary = (name, asyncio.create_task(flight))
            return False
        name, task = self._canary
        if not task.done():
            return False
        self._canary = None
        try:
            self._passed(name, task.result())
        except CanaryTimeoutError as error:
            self._failed(name, error)
            self._timeouts[name] = self._timeouts.get(name, 0) + 1
            if self._timeouts[name] > self._settings.canary_timeouts_allowed and name in self._worked:
                raise ServerError(f"{name}: {self._timeouts[name]} canaries in a row timed out") from error
        except CanaryError as error:
            self._failed(name, error)
            if self._failures[name] > 1 and name in self._worked:
                raise ServerError(f"{name}: its canary fails also after a reload: {error}") from error
            await self._reload(self._repository.steps[name] or (name,), str(error))
        return True

    def _passed(self, model: str, ms: float) -> None:
        entry = self._state.models[model]
        if entry.phase is not Phase.READY:
            log.info("model_ready", model=model, canary_ms=round(ms, 1))
        entry.phase, entry.error, entry.canary_ms = Phase.READY, "", round(ms, 2)
        self._worked.add(model)
        self._timeouts[model] = self._failures[model] = 0
        self._due[model] = time.monotonic() + self._settings.canary_period_s

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

    async def _reload(self, models: Iterable[str], reason: str) -> None:
        for model in models:
            log.warning("reload", model=model, reason=reason)
            affected = [p for p, steps in self._repository.steps.items() if p == model or model in steps]
            for name in set(affected) & set(self._state.models):
                entry = self._state.models[name]
                entry.phase, entry.error = Phase.DEGRADED, f"{model} is loaded again: {reason}"
                entry.reloads += 1
                if name in self._worked:
                    self._due[name] = time.monotonic()
            self._state.reloads += 1
            await self._client.reload(model, self._settings.start_timeout_s)
        self._stubs = self._server.stubs()
        self._server.drop_dead_memory()

    def _drop_canary(self) -> None:
        if self._canary is not None:
            self._canary[1].cancel()
            self._canary = None


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True
