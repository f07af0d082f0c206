"""In which embedding versions items are indexed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.ports import Encoder

__all__ = ["Target", "Targets"]

_LOOK_S = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """``version`` names what ``encoder`` gives; it stands on every row.

    A change of an item fails when it cannot be made in a version that is ``required``. In another it may be
    left for the backfill.
    """

    version: str
    encoder: Encoder
    required: bool = True


class Targets:
    """What is written to at the moment; used on one event loop."""

    def __init__(self, *targets: Target) -> None:
        self.now = targets
        self.behind = asyncio.Event()
        """Set when some item may lack some version."""
        self._under_way: set[object] = set()

    def change(self, *targets: Target) -> None:
        """From now on changes go to these; one that is under way is completed in those that are new."""
        self.now = targets
        self.behind.set()

    @contextmanager
    def using(self) -> Iterator[tuple[Target, ...]]:
        """The targets of now, for a change that takes as long as the block."""
        change = object()
        self._under_way.add(change)
        try:
            yield self.now
        finally:
            self._under_way.discard(change)

    async def settled(self) -> None:
        """Returns when every change that is under way now has ended: none goes by former targets any more."""
        before = set(self._under_way)
        while before & self._under_way:  # noqa: ASYNC110 - changes take seconds, and little waits for their end
            await asyncio.sleep(_LOOK_S)
