"""Other servers of the same model: an environment of its own for each, and its processes.

Error tree:

    PeerError              an environment could not be made, or a server did not answer
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["SCRIPTS", "PeerError", "Server", "environment", "pins", "running"]

SCRIPTS = Path(__file__).parent.parent / "loadtests" / "peers"
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.3
WAKE_S = 0.2


class PeerError(Exception):
    """A peer could not be set up or did not answer; the message names it and its log."""


def pins(name: str) -> dict[str, str]:
    """Every package of the peer's environment with its exact version, from its requirements.txt."""
    lines = (SCRIPTS / name / "requirements.txt").read_text("utf-8").splitlines()
    named = (line.partition("==") for line in lines if line and not line.startswith("#"))
    return {package.lower().replace("_", "-"): version for package, _, version in named}


def environment(name: str, home: Path, base_python: str) -> Path:
    """The interpreter of the peer's own virtual environment below `home`, made anew where its requirements
    changed. Raises PeerError.
    """
    folder = home / name
    wanted = hashlib.sha256((SCRIPTS / name / "requirements.txt").read_bytes()).hexdigest()
    stamp = folder / "requirements.sha256"
    python = folder / "bin" / "python"
    if stamp.is_file() and stamp.read_text() == wanted and python.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = home / f"{name}.install.log"
    with log.open("w") as out:
        for command in (
            [base_python, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "-r", str(SCRIPTS / name / "requirements.txt")],
        ):
            if subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False).returncode:
                raise PeerError(f"{name}: its environment could not be made, see {log}")
    stamp.write_text(wanted)
    return python


@dataclass(frozen=True, slots=True)
class Server:
    """A server and all its processes. One that is `freezable` gets no processor time between its bursts."""

    name: str
    pid: int
    freezable: bool

    def family(self) -> list[psutil.Process]:
        process = psutil.Process(self.pid)
        return [process, *process.children(recursive=True)]

    def cpu_s(self) -> float:
        """User and system seconds so far of all processes that still run."""
        return sum(sum(each.cpu_times()[:2]) for each in self.family())

    def freeze(self) -> None:
        """Returns when every process stands still, which is some time after the signal."""
        self._signal(signal.SIGSTOP)
        began = time.monotonic()
        while self.freezable and any(_awake(each) for each in self.family()):
            if time.monotonic() - began > STOP_TIMEOUT_S:
                raise PeerError(f"{self.name} does not stand still after SIGSTOP")
            time.sleep(0.01)

    def wake(self) -> None:
        self._signal(signal.SIGCONT)
        if self.freezable:
            time.sleep(WAKE_S)

    def _signal(self, number: signal.Signals) -> None:
        if self.freezable:
            for each in self.family():
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.send_signal(number)


def _awake(process: psutil.Process) -> bool:
    try:
        return process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def running(
    name: str,
    command: Sequence[str],
    log: Path,
    answers: Callable[[], object],
    *,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """The server while it runs; it is frozen when this yields, and stopped at the end by its process id.

    `answers` raises OSError or ValueError until the server answers. Raises PeerError.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(name, process.pid, freezable=True)
    try:
        _wait(name, process, log, answers)
        server.freeze()
        yield server
    finally:
        _stop(process, server)


def _wait(name: str, process: subprocess.Popen[bytes], log: Path, answers: Callable[[], object]) -> None:
    began = time.monotonic()
    while True:
        try:
            answers()
            return
        except (OSError, ValueError) as error:
            if process.poll() is not None:
                raise PeerError(f"{name} ended with code {process.returncode}, see {log}") from error
            if time.monotonic() - began > START_TIMEOUT_S:
                raise PeerError(f"{name} does not answer ({error}), see {log}") from error
        time.sleep(POLL_S)


def _stop(process: subprocess.Popen[bytes], server: Server) -> None:
    if process.poll() is not None:
        return
    family = server.family()
    server.wake()
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait(STOP_TIMEOUT_S)
