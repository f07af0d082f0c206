"""How often: the generic cell rate algorithm (ITU-T I.371), a number per name, in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Callable

from cachetools import LRUCache

__all__ = ["Rates"]

_WINDOW_S = 60.0
_MOST_NAMES = 16_384


class Rates:
    """Each name has ``per_minute`` requests in hand, which come back evenly.

    A name that was not seen for longest is forgotten when there are too many, and begins anew.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, most_names: int = _MOST_NAMES) -> None:
        self._clock = clock
        self._due_s: LRUCache[str, float] = LRUCache(most_names)

    def __len__(self) -> int:
        return len(self._due_s)

    def take(self, name: str, per_minute: int) -> float:
        """Takes one request of ``name``: 0, or the seconds after which there will be one; then none is
        taken.
        """
        now_s, step_s = self._clock(), _WINDOW_S / per_minute
        due_s = max(self._due_s.get(name, 0.0), now_s)
        wait_s = due_s + step_s - now_s - _WINDOW_S
        if wait_s > 1e-9:
            return wait_s
        self._due_s[name] = due_s + step_s
        return 0.0
