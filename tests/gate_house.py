"""A gate with callers that come and stay, for the tests of admission."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from media import Modality
from orchestrator.deadlines import Deadline
from orchestrator.errors import OverloadedError
from orchestrator.gate import Gate
from orchestrator.query import Priority
from orchestrator.settings import AdmissionSettings, ModalityAdmission
from orchestrator.trace import Trace

TEXT, VIDEO = Modality.TEXT, Modality.VIDEO


class House:
    """A gate, a clock that stands still, and callers that stay inside until they are let go."""

    def __init__(self, admission: AdmissionSettings) -> None:
        self.now_s = 1000.0
        self.gate = Gate(admission, lambda: self.now_s)
        self.outcomes: Counter[str] = Counter()
        self.gate.listener = lambda _modality, _waited_s, outcome: self.outcomes.update([outcome])
        self.inside: list[asyncio.Task[None]] = []
        self.served: list[str] = []
        self._leave: dict[asyncio.Task[None], asyncio.Event] = {}

    async def come(
        self,
        user: str = "",
        modality: Modality = TEXT,
        priority: Priority = Priority.INTERACTIVE,
        deadline_s: float = 3600.0,
    ) -> asyncio.Task[None]:
        event = asyncio.Event()

        async def visit() -> None:
            mine = asyncio.current_task()
            assert mine is not None
            async with self.gate.enter([modality], user, priority, Trace(), Deadline(deadline_s)):
                self.inside.append(mine)
                self.served.append(user)
                try:
                    await event.wait()
                finally:
                    self.inside.remove(mine)

        task = asyncio.create_task(visit())
        self._leave[task] = event
        await self.settle()
        return task

    async def let_go(self, task: asyncio.Task[None], after_s: float = 0.0) -> None:
        self.now_s += after_s
        self._leave[task].set()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)

    async def close(self) -> None:
        for task in self._leave:
            task.cancel()
        await asyncio.gather(*self._leave, return_exceptions=True)


def lane(max_concurrent: int, max_waiting: int, cost: float = 1) -> ModalityAdmission:
    return ModalityAdmission(max_concurrent=max_concurrent, max_waiting=max_waiting, cost=cost)


SMALL = AdmissionSettings(
    max_concurrent=3,
    max_waiting=5,
    max_wait_s=3600,
    text=lane(3, 4),
    image=lane(2, 3, 2),
    audio=lane(1, 2, 8),
    video=lane(1, 2, 8),
)


@asynccontextmanager
async def house(admission: AdmissionSettings = SMALL) -> AsyncIterator[House]:
    made = House(admission)
    try:
        yield made
    finally:
        await made.close()


def refusal(task: asyncio.Task[None]) -> OverloadedError:
    error = task.exception() if task.done() else None
    assert isinstance(error, OverloadedError), error
    return error
