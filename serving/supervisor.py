"""Keeps one Triton server answering.

    start -> ready -> canaries pass -> watch
                                        ├── the server ended                    -> start again
                                        ├── it gives no sign of life            -> start again
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
from collections.abc import Coroutine

import structlog

from serving.client import Client
from serving.errors import RestartLimitError, ServerError, ServingError, StartError
from serving.leftovers import mark, sweep
from serving.lock import supervisor_lock
from serving.repository import Repository, read_repository, read_staged
from serving.server import TritonServer, compile_steps
from serving.settings import Settings
from serving.state import ModelState, Phase, ServerState, write_state
from serving.watch import Watch

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
            self._phase(Phase.STARTING)
            processes, regions = await asyncio.to_thread(sweep, mark(self._settings.home), _SWEEP_TIMEOUT_S)
            if processes or regions:
                log.warning("swept", processes=processes, regions=regions)
            await asyncio.to_thread(compile_steps, self._settings.model_repository)
            try:
                await self._ports_free()
                await self._serve_until_stopped()
            except ServingError as error:
                self._phase(Phase.FAILED, str(error))
                raise
            self._phase(Phase.STOPPED)

    async def _serve_until_stopped(self) -> None:
        while not self._stop.is_set():
            repository = read_repository(
                self._settings.model_repository,
                self._settings.config_name,
                allow_random=self._settings.allow_random,
            )
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
        # What releases serve is there as soon as the server answers; Watch tells which of it works.
        staged = read_staged(self._settings.staged, self._settings.config_name)
        server = TritonServer(self._settings, [*repository.steps, *staged])
        self.state.models = {name: ModelState() for name in repository.public}
        self.state.incomplete = dict(repository.incomplete)
        try:
            server.start()
        except OSError as error:
            raise StartError(f"cannot run tritonserver: {error}") from error
        self.state.server_pid = server.pid
        self._phase(Phase.STARTING, self.state.error)
        async with Client(self.state.grpc) as client:
            watch = Watch(self._settings, self.state, repository, server, client, self._publish)
            try:
                await self._until_ready(server, client, watch)
                self._publish()
                log.info("serving", models={name: model.phase for name, model in self.state.models.items()})
                while not self._stop.is_set():
                    if server.exit_code is not None:
                        return f"the server ended with exit code {server.exit_code}"
                    await self._unless_stopped(watch.step())
                    await self._pause(self._settings.watch_period_s)
            finally:
                await watch.end()
                if self._stop.is_set():
                    self._phase(Phase.STOPPING)
                    await server.stop()
                else:
                    await server.kill()
                self.state.server_pid = None
        return ""

    async def _until_ready(self, server: TritonServer, client: Client, watch: Watch) -> None:
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
        await self._unless_stopped(watch.begin(max(deadline - time.monotonic(), 1.0)))

    def _publish(self) -> None:
        """The phase of the whole follows from those of the models."""
        phases = {model.phase for model in self.state.models.values()}
        served = Phase.READY if phases == {Phase.READY} else Phase.DEGRADED
        self._phase(Phase.STARTING if Phase.STARTING in phases else served)

    def _phase(self, phase: Phase, error: str = "") -> None:
        if phase is not self.state.phase:
            log.info("phase", phase=phase, error=error)
        self.state.phase = phase
        self.state.error = error
        if phase in (Phase.STOPPING, Phase.STOPPED, Phase.FAILED):
            for model in self.state.models.values():
                model.phase = phase
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

    async def _unless_stopped(self, work: Coroutine[None, None, None]) -> None:
        """Run `work`; cancel it when asked to stop."""
        task, stop = asyncio.create_task(work), asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            task.cancel()
            stop.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

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


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True
