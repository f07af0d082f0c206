"""The faults of `make faults`: each does harm to one process of an embedded system, and takes the cause away.

Error tree:

    FaultError             a fault cannot be made here; the message says why
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from cli import processes
from cli.stack import Stack
from serving.leftovers import mark, server_processes
from serving.state import read_state

__all__ = ["FAULTS", "Fault", "FaultError", "Patient", "child_pids", "no_room", "small_disk"]

MILVUS_LITE = "orchestrator.clients.milvus_lite_main"
DISK_MIB = 256
HELD_S = 10.0
"""How long a fault lasts that somebody has to mend."""
HANG_S = 90.0
"""How long to wait for the supervisor to end a server that hangs."""
SLOW_S, STOPPED_S, RUNNING_S = 10.0, 0.4, 0.1
CORRUPT_MODEL = "encode_image"


class FaultError(Exception):
    """A fault cannot be made here."""


@dataclass(frozen=True, slots=True)
class Patient:
    """The system that is harmed. `disk` is the mount under Milvus Lite, None where there is none of its own;
    `repository` is a copy of the model repository that may be spoilt; `redis` ends and starts its cache."""

    stack: Stack
    repository: Path
    disk: Path | None
    redis: tuple[Callable[[], None], Callable[[], None]] | None = None

    def triton_pid(self) -> int:
        state = read_state(self.stack.settings.home / "run")
        if state is None or state.server_pid is None:
            raise FaultError("tritonserver does not run")
        return state.server_pid

    def stub_pids(self, model: str) -> list[int]:
        found = server_processes(mark(self.stack.settings.home))
        pids = [each.pid for each in found if f"/{model}/" in " ".join(each.cmdline()[1:2])]
        if not pids:
            raise FaultError(f"no Python process serves {model}")
        return pids

    def milvus_pid(self) -> int:
        pids = child_pids(self.stack, MILVUS_LITE)
        if not pids:
            raise FaultError("Milvus Lite does not run")
        return pids[0]


@dataclass(frozen=True, slots=True)
class Fault:
    """`harm` returns when the cause is gone. `what` is for the report. `deaf`: the watcher makes it."""

    name: str
    what: str
    harm: Callable[[Patient], None]
    deaf: bool = False


def child_pids(stack: Stack, module: str) -> list[int]:
    """Processes that the orchestrator has started to run `module`."""
    record = processes.read_record("orchestrator", stack.settings.home / "run")
    if record is None:
        return []
    children = psutil.Process(record.pid).children(recursive=True)
    return [child.pid for child in children if child.is_running() and module in child.cmdline()]


def _kill_stub(patient: Patient) -> None:
    for pid in patient.stub_pids("decode_image"):
        os.kill(pid, signal.SIGKILL)


def _kill_triton(patient: Patient) -> None:
    os.kill(patient.triton_pid(), signal.SIGKILL)


def _kill_milvus(patient: Patient) -> None:
    os.kill(patient.milvus_pid(), signal.SIGKILL)


def _kill_redis(patient: Patient) -> None:
    if patient.redis is None:
        raise FaultError("no Redis belongs to this system")
    kill, start = patient.redis
    kill()
    time.sleep(HELD_S)
    start()


def _slow_milvus(patient: Patient) -> None:
    """Four fifths of the time it stands still."""
    pid = patient.milvus_pid()
    end_s = time.monotonic() + SLOW_S
    try:
        while time.monotonic() < end_s:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(STOPPED_S)
            os.kill(pid, signal.SIGCONT)
            time.sleep(RUNNING_S)
    finally:
        os.kill(pid, signal.SIGCONT)


def _hang_triton(patient: Patient) -> None:
    """Until the supervisor has put another server in its place."""
    pid = patient.triton_pid()
    os.kill(pid, signal.SIGSTOP)
    give_up_s = time.monotonic() + HANG_S
    while psutil.pid_exists(pid) and psutil.Process(pid).status() == psutil.STATUS_STOPPED:
        if time.monotonic() > give_up_s:
            os.kill(pid, signal.SIGCONT)
            return
        time.sleep(0.1)


def _fill_disk(patient: Patient) -> None:
    if patient.disk is None:
        raise FaultError("Milvus has no small disk of its own here: mounting one needs root")
    filler = patient.disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        time.sleep(HELD_S)
    finally:
        filler.unlink()


def _corrupt_version(patient: Patient) -> None:
    """A version whose graph is noise, newer than the one that is served; then what serves the model dies, so
    that it has to be loaded again."""
    folder = patient.repository / CORRUPT_MODEL
    newest = max(int(each.name) for each in folder.iterdir() if each.name.isdecimal())
    corrupt = folder / str(newest + 1)
    corrupt.mkdir()
    try:
        (corrupt / "model.onnx").write_bytes(os.urandom(1 << 16))
        time.sleep(HELD_S / 2)
        for pid in patient.stub_pids(CORRUPT_MODEL):
            os.kill(pid, signal.SIGKILL)
        time.sleep(HELD_S * 2)
    finally:
        shutil.rmtree(corrupt)


def _deaf(_patient: Patient) -> None:
    time.sleep(HELD_S)


FAULTS = (
    Fault("stub", "kill -9 of the Python process of `decode_image`", _kill_stub),
    Fault("triton", "kill -9 of tritonserver", _kill_triton),
    Fault("milvus", "kill -9 of Milvus Lite", _kill_milvus),
    Fault("milvus-slow", f"Milvus Lite stopped for {STOPPED_S:g} s of every 0.5 s", _slow_milvus),
    Fault("triton-hangs", "SIGSTOP of tritonserver", _hang_triton),
    Fault("disk-full", f"no room under Milvus Lite for {HELD_S:g} s", _fill_disk),
    Fault(
        "corrupt-version",
        f"a corrupt newer version of `{CORRUPT_MODEL}`, whose process dies",
        _corrupt_version,
    ),
    Fault("never-reads", "16 clients that never read their answers", _deaf, deaf=True),
    Fault("redis", f"kill -9 of redis-server, started again after {HELD_S:g} s", _kill_redis),
)


def no_room() -> str | None:
    """Why no small disk can be mounted here; None where it can."""
    if os.geteuid() != 0:
        return "mounting a small disk needs root"
    return None if shutil.which("mount") else "there is no `mount`"


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A tmpfs of DISK_MIB at `folder`. Raises FaultError."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True, timeout=10)
    if mounted.returncode:
        raise FaultError(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True, timeout=10)
