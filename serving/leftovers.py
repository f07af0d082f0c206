"""Finds and removes processes and shared memory of a server, its own or one whose supervisor was killed.

Everything of one SENSORIUM_HOME carries one mark: the prefix of its shared memory regions, which also stands
in the command lines of the server and of its Python stubs. Process ids are not trusted: they are reused.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import psutil

__all__ = ["mark", "remove_shared_memory", "server_processes", "sweep"]

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - POSIX shared memory on Linux, not a temporary file


def mark(home: Path) -> str:
    """The prefix of the shared memory regions of servers of this home."""
    return f"sensorium_{hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:12]}_"


def server_processes(mark: str) -> list[psutil.Process]:
    """Live servers and stubs that carry the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if process.name().startswith(("tritonserver", "triton_python")) and any(
                mark in c for c in command
            ):
                found.append(process)
        except psutil.Error:
            continue  # gone, or not ours to look at
    return found


def remove_shared_memory(mark: str, keep: frozenset[str] = frozenset()) -> int:
    """Unlink regions that carry the mark and are not in `keep`; the count. What is mapped stays mapped."""
    removed = 0
    for region in _SHARED_MEMORY.glob(f"{mark}*"):
        if region.name not in keep:
            region.unlink(missing_ok=True)
            removed += 1
    return removed


def sweep(mark: str, timeout_s: float) -> tuple[int, int]:
    """Kill what carries the mark, then unlink its memory: (processes, regions).

    Only for a caller that holds the lock of the home: nothing that carries the mark may be in use.
    """
    processes = server_processes(mark)
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=timeout_s)
    return len(processes), remove_shared_memory(mark)
