"""One supervisor for each SENSORIUM_HOME: an advisory lock, which the kernel frees when its holder ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import AlreadyRunningError

__all__ = ["is_supervised", "supervisor_lock"]

_LOCK_FILE = "tritonserver.lock"


@contextmanager
def supervisor_lock(run: Path) -> Iterator[None]:
    """Hold the lock. Raises AlreadyRunningError when another process has it."""
    run.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise AlreadyRunningError(f"a supervisor already runs for {run.parent}") from error
    try:
        yield
    finally:
        os.close(descriptor)


def is_supervised(run: Path) -> bool:
    """Whether a supervisor lives; only then is the state file of today."""
    try:
        with supervisor_lock(run):
            return False
    except AlreadyRunningError:
        return True
