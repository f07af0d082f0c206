"""Time left, and work done side by side.

Every request has one point in time by which it must have answered; every stage gets what is left of it, at
most its own budget and at most a share, so that later stages still have time to answer without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

__all__ = ["Deadline", "together"]

T = TypeVar("T")


class Deadline:
    """A point in time on the running loop's clock."""

    def __init__(self, seconds: float) -> None:
        self.at_s = asyncio.get_running_loop().time() + seconds

    @property
    def remaining_s(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.at_s - asyncio.get_running_loop().time())

    def budget_s(self, stage_s: float, share: float = 1.0) -> float:
        """Seconds that a stage may take: at most ``stage_s`` and at most ``share`` of what is left."""
        return min(stage_s, self.remaining_s * share)


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all, run at once, in the order given.

    When one raises, the others are cancelled and awaited, and its error is raised as it is
    (``asyncio.gather`` would leave them running, a bare ``TaskGroup`` would wrap it).
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as errors:
        first = errors.exceptions[0]
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from first.__cause__
    return [task.result() for task in tasks]
