"""One process at a time in a folder."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catalogue.errors import LockTimeoutError

__all__ = ["exclusive"]


@contextmanager
def exclusive(folder: Path, timeout_s: float = 900.0) -> Iterator[None]:
    """Hold `folder`/.lock; the kernel lets go of it when the process dies, however it dies.

    Raises LockTimeoutError when another process does not let go within `timeout_s`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    with (folder / ".lock").open("w") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    message = f"{folder} is in use by another process for more than {timeout_s:.0f} s"
                    raise LockTimeoutError(message) from error
                time.sleep(0.2)
        yield
