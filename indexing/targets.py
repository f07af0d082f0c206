"""In which embedding versions items are indexed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.types import Encoder

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
        self._uses: Counter[Target] = Counter()

    def change(self, *targets: Target) -> None:
        """From now on changes go to these; one that is under way is completed in those that are new."""
        self.now = targets
        self.behind.set()

    @contextmanager
    def using(self) -> Iterator[tuple[Target, ...]]:
        """The targets of now, for a change that takes as long as the block."""
        targets = self.now
        self._uses.update(targets)
        try:
            yield targets
        finally:
            self._uses.subtract(targets)

    async def unused(self, encoder: Encoder) -> None:
        """Returns when no change asks ``encoder`` any more; its target must be out of ``now``."""
        while any(  # noqa: ASYNC110 - changes take seconds, and nobody else waits for their end
            count and target.encoder is encoder for target, count in self._uses.items()
        ):
            await asyncio.sleep(_LOOK_S)
        for target in [target for target, count in self._uses.items() if not count]:
            del self._uses[target]
