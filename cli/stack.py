"""The embedded system: Triton under its supervisor, Milvus if it is a server of ours, and the orchestrator.

Everything is started at once and waited for together; what fails is named with the end of its log.

Error tree:

    StackError             the system could not be brought up; nothing is left running
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cli import processes
from cli.client import Client, ClientError, RefusedError
from orchestrator.settings import Settings
from sensorium.v1 import sensorium_pb2 as pb
from serving.state import Phase, read_state

__all__ = ["COMMANDS", "Stack", "StackError"]

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.2
# Stopped in this order: what asks before what answers.
COMMANDS: dict[str, tuple[str, ...]] = {
    "orchestrator": ("-m", "cli.server"),
    "triton": ("-m", "serving", "run"),
}


class StackError(Exception):
    """The system could not be brought up."""


@dataclass(frozen=True, slots=True)
class Stack:
    """The processes of one SENSORIUM_HOME.

    `environ` is what they are started with, and must say the same as `settings`, which say where the system
    listens and where its state is. `names` are the processes of it that run here; what is left out is
    somebody else's.
    """

    settings: Settings
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    names: tuple[str, ...] = tuple(COMMANDS)

    @property
    def target(self) -> str:
        """host:port of the gRPC API."""
        return f"{bracketed(self.settings.api.host)}:{self.settings.api.grpc_port}"

    @property
    def page(self) -> str:
        """URL of the search page and of REST."""
        scheme = "http" if self.settings.api.tls_certificate_file is None else "https"
        return f"{scheme}://{bracketed(self.settings.api.host)}:{self.settings.api.http_port}"

    @property
    def triton_metrics(self) -> str:
        """URL of the embedded Triton's metrics."""
        return f"http://127.0.0.1:{self.environ.get('SENSORIUM_SERVING_METRICS_PORT', '8002')}/metrics"

    def memory_bytes(self) -> dict[str, int]:
        """Resident memory of each process of this system that runs, with its children."""
        run_dir = self.settings.home / "run"
        records = {name: processes.read_record(name, run_dir) for name in self.names}
        return {name: processes.resident_bytes(record.pid) for name, record in records.items() if record}

    def up(self, waiting: Callable[[str, float], None] = lambda _what, _elapsed_s: None) -> list[str]:
        """Starts what does not run and waits until all of it is ready; `waiting` is told what for.

        Gives the names of what it started. Raises StackError; what this call started is stopped again then.
        """
        run_dir = self.settings.home / "run"
        started: list[str] = []
        with processes.exclusive(run_dir):
            self._require_one_triton()
            if "orchestrator" in self.names and processes.read_record("orchestrator", run_dir) is None:
                self._require_ports()
            try:
                for name in reversed(self.names):
                    if processes.read_record(name, run_dir) is None:
                        command = processes.python(*COMMANDS[name])
                        processes.start(name, command, run_dir, self._environ())
                        started.append(name)
                self._wait(waiting)
                return started
            except BaseException:
                for name in reversed(started):
                    processes.stop(name, run_dir, STOP_TIMEOUT_S)
                raise

    def down(self) -> list[str]:
        """Stops what runs; the names of what was stopped. Raises ProcessError when something will not end."""
        run_dir = self.settings.home / "run"
        with processes.exclusive(run_dir):
            return [name for name in self.names if processes.stop(name, run_dir, STOP_TIMEOUT_S)]

    def status(self) -> pb.Status:
        """What the running system says of itself. Raises NotRunningError."""
        with Client(self.target) as client:
            return client.status()

    def _environ(self) -> dict[str, str]:
        return {**self.environ, "SENSORIUM_HOME": str(self.settings.home.absolute())}

    def _require_one_triton(self) -> None:
        """Raises StackError when the embedded Triton would listen where the orchestrator does not ask."""
        if "triton" not in self.names:
            return
        port = self.environ.get("SENSORIUM_SERVING_GRPC_PORT", "8001")
        if self.settings.triton.url not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            raise StackError(
                f"Triton is asked at {self.settings.triton.url} but the embedded one listens on "
                f"127.0.0.1:{port}: set SENSORIUM_TRITON__URL and SENSORIUM_SERVING_GRPC_PORT to agree"
            )

    def _require_ports(self) -> None:
        """Raises StackError when a port is taken: what answers there would be taken for this system."""
        host = self.settings.api.host
        for port in (self.settings.api.grpc_port, self.settings.api.http_port):
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except OSError as error:
                    raise StackError(
                        f"port {port} of {host} cannot be used ({error.strerror}): stop what listens "
                        "there, or set SENSORIUM_API__GRPC_PORT and SENSORIUM_API__HTTP_PORT"
                    ) from error

    def _wait(self, waiting: Callable[[str, float], None]) -> None:
        run_dir = self.settings.home / "run"
        began = time.monotonic()
        while missing := self._missing():
            elapsed_s = time.monotonic() - began
            for name in self.names:
                if processes.read_record(name, run_dir) is None:
                    raise StackError(f"{name} ended:\n{processes.last_lines(run_dir / f'{name}.log')}")
            if elapsed_s > START_TIMEOUT_S:
                raise StackError(
                    f"not ready after {START_TIMEOUT_S:.0f} s: {missing}. Logs are in {run_dir}:\n"
                    + "\n".join(processes.last_lines(run_dir / f"{name}.log", 5) for name in self.names)
                )
            waiting(missing, elapsed_s)
            time.sleep(POLL_S)

    def _missing(self) -> str:
        """What is not ready yet, "" for nothing."""
        if "orchestrator" in self.names:
            try:
                dependencies = self.status().dependencies
            except RefusedError as error:
                if error.error.code.startswith("auth."):
                    raise StackError(
                        f"it wants a key with the scope read ({error}): set SENSORIUM_CLIENT_CREDENTIAL"
                    ) from error
                return "orchestrator"
            except ClientError:  # not there yet, or too busy to answer in time
                return "orchestrator"
            return ", ".join(sorted(name for name, state in dependencies.items() if state != "ready"))
        state = read_state(self.settings.home / "run")
        return "" if state and state.phase is Phase.READY else "triton"


def bracketed(host: str) -> str:
    """As an address with a port writes it."""
    return f"[{host}]" if ":" in host else host
