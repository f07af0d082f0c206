"""One command at a time that loads or unloads models of releases. Changes of the state alone need no lock of
this kind: ``rollback`` and ``canary`` never wait for a staging that takes hours."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from releases.errors import StateError
from releases.naming import releases_dir

__all__ = ["at_work"]


@contextmanager
def at_work(home: Path, what: str) -> Iterator[None]:
    """Held while ``what`` is done. It ends with the process, however that ends.

    Raises:
        StateError: another command is at work; the message says which, and its process.
    """
    folder = releases_dir(home)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "command.lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise StateError(f"{folder} cannot be used: {error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise StateError(f"another command is at work: {file.read().strip() or 'just begun'}") from error
        file.truncate(0)
        file.write(f"{what} (process {os.getpid()})\n")
        file.flush()
        yield
