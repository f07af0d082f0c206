"""A small file that may be replaced while the process runs: a list of keys, a certificate."""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["WatchedFile"]

_EVERY_S = 1.0


class WatchedFile:
    """Tells when the file behind ``path`` is another one; it is looked at once a second at most.

    Links are followed, so the swapped folders of a mounted Kubernetes secret are noticed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = self._stamp()
        self._next_s = time.monotonic() + _EVERY_S

    def changed(self) -> bool:
        """Whether there is another file since the last True; one that is missing is no change."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + _EVERY_S
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return False
        self._seen = stamp
        return True

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
