"""How many requests one face works on at once, of whatever kind: those beyond are told to come again later.

``gate`` bounds searches, once it is known what they ask for. Here it is before anything is read: a loop that
has hundreds of answers to write finishes all of them late, also those that cost no place.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.errors import OverloadedError

__all__ = ["UnderWay"]


class UnderWay:
    """Used on the event loop only. ``refused`` is told of each request that is turned away."""

    def __init__(self, limit: int, refused: Callable[[], None]) -> None:
        self._limit = limit
        self._refused = refused
        self._count = 0

    def enter(self) -> None:
        """Counts a request, which must ``leave``.

        Raises:
            OverloadedError: there are as many as may be; this one is not counted.
        """
        if self._count >= self._limit:
            self._refused()
            raise OverloadedError("too many requests at once", limit=f"max_requests={self._limit}")
        self._count += 1

    def leave(self) -> None:
        """One that had entered is done, however it ended."""
        self._count -= 1
