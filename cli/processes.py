"""Background processes that outlive the command which started them, each known by a record file.

A record is `run/<name>.process.json` with the process id and its creation time, so that a reused id is never
taken for ours.

Error tree:

    ProcessError           a process could not be started or stopped; the message names it and its log
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

__all__ = [
    "ProcessError",
    "Record",
    "exclusive",
    "last_lines",
    "python",
    "read_record",
    "resident_bytes",
    "start",
    "stop",
]


class ProcessError(Exception):
    """A process could not be started or stopped."""


@dataclass(frozen=True, slots=True)
class Record:
    """One started process. `created` is its start in seconds since the epoch, as the kernel gives it."""

    name: str
    pid: int
    created: float
    log: str

    def process(self) -> psutil.Process | None:
        """The live process, or None when it ended (or its id belongs to another by now)."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.created) >= 0.01:
                return None
            if process.status() == psutil.STATUS_ZOMBIE:
                with contextlib.suppress(ChildProcessError):  # a child of another command
                    os.waitpid(self.pid, os.WNOHANG)
                return None
        except psutil.NoSuchProcess:
            return None
        return process


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; pages that they share count for each. 0: it ended."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    size = 0
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            size += member.memory_info().rss
    return size


@contextlib.contextmanager
def exclusive(run_dir: Path) -> Iterator[None]:
    """Held while processes are started or stopped: two commands at once would start everything twice."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ProcessError(
                "another command is starting or stopping the system; try again in a moment"
            ) from error
        yield


def start(name: str, command: Sequence[str], run_dir: Path, environ: Mapping[str, str]) -> Record:
    """Starts `command` (its first word a path) in a session of its own, its output in `run/<name>.log`;
    what the one before it wrote is kept as `<name>.previous.log`.

    Raises ProcessError when it cannot be executed.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    log = run_dir / f"{name}.log"
    if log.exists():
        log.replace(run_dir / f"{name}.previous.log")
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        # Not Popen: its object would have to live as long as the process, which outlives this one.
        pid = os.posix_spawn(
            command[0],
            list(command),
            dict(environ),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
    except OSError as error:
        raise ProcessError(f"{name}: {command[0]} cannot be started: {error.strerror}") from error
    record = Record(name, pid, psutil.Process(pid).create_time(), str(log))
    path = run_dir / f"{name}.process.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(record)))
    temporary.replace(path)
    return record


def read_record(name: str, run_dir: Path) -> Record | None:
    """The record of a process that still runs, else None."""
    try:
        record = Record(**json.loads((run_dir / f"{name}.process.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return record if record.process() else None


def stop(name: str, run_dir: Path, timeout_s: float) -> bool:
    """SIGTERM, then after `timeout_s` SIGKILL to it and all its descendants. False if it did not run."""
    record = read_record(name, run_dir)
    process = record.process() if record else None
    stopped = process is not None
    if process is not None:
        family = [process, *process.children(recursive=True)]
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
        psutil.wait_procs([process], timeout=timeout_s)
        _, alive = psutil.wait_procs(family, timeout=1.0)
        for left in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        _, alive = psutil.wait_procs(alive, timeout=5.0)
        if alive:
            raise ProcessError(f"{name}: process {record.pid if record else '?'} does not end")
    (run_dir / f"{name}.process.json").unlink(missing_ok=True)
    return stopped


def last_lines(path: str | Path, count: int = 15) -> str:
    """The end of a log, for an error message."""
    with contextlib.suppress(FileNotFoundError), Path(path).open("rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - 16_384))
        return "\n".join(log.read().decode(errors="replace").splitlines()[-count:])
    return ""


def python(*arguments: str) -> list[str]:
    """A command of this interpreter."""
    return [sys.executable, "-u", *arguments]
