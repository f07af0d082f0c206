"""Stage admit, the second half: how much is worked on at once, how much may wait, and who is next.

Every decision to let a query in, to keep it waiting or to turn it away is made here. It is made once the
content of the query is known (``classify`` is cheap beside what follows), so that each modality has places
and a queue of its own: clips cannot fill the house and keep texts out. ``fair_queue`` says who is next.

A query is turned away at once when its queue is full, or when it would have to wait longer than
``max_wait_s`` or than its deadline leaves. What a wait is expected to last follows from how long recent
queries of each modality held their places. A query that need not wait is never turned away and an estimate
fades, so a wrong one corrects itself. A waiting query whose caller leaves is out of the queue at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from media import Modality
from orchestrator.deadlines import Deadline
from orchestrator.errors import OverloadedError
from orchestrator.fair_queue import FairQueue, Ticket
from orchestrator.query import Priority
from orchestrator.settings import AdmissionSettings, ModalityAdmission
from orchestrator.trace import Trace

__all__ = ["Gate", "Listener", "Outcome"]

Outcome: TypeAlias = Literal["entered", "left", "classifying", "queue_full", "displaced", "wait", "deadline"]
"""How a request fared: it got a place; its caller left, or its time ended, while it waited; or why it was
refused."""

Listener: TypeAlias = Callable[[Modality | None, float, Outcome], None]
"""Told of each request: its modality (None while unknown), the seconds that it waited, and how that ended."""

_LEAST_RETRY_S, _MOST_RETRY_S = 0.1, 60.0


@dataclass(eq=False, slots=True)
class _Waiter(Ticket):
    place: asyncio.Future[None] = field(kw_only=True)
    since_s: float = field(kw_only=True)
    granted: bool = False


class Gate:
    """One per process, used on the event loop only. ``clock`` gives seconds that never go back."""

    def __init__(self, settings: AdmissionSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lanes: dict[Modality, ModalityAdmission] = {
            Modality.TEXT: settings.text,
            Modality.IMAGE: settings.image,
            Modality.AUDIO: settings.audio,
            Modality.VIDEO: settings.video,
        }
        self._queue: FairQueue[_Waiter] = FairQueue(settings.batch_share)
        self._active = dict.fromkeys(Modality, 0)
        self._held_s = {modality: _Recent(clock) for modality in Modality}
        self._classifying = 0
        self.listener: Listener = lambda _modality, _waited_s, _outcome: None

    @property
    def active(self) -> int:
        """Requests that hold a place."""
        return sum(self._active.values())

    @property
    def waiting(self) -> int:
        """Requests that wait for one."""
        return len(self._queue)

    def waiting_of(self, modality: Modality) -> int:
        """Those among them whose dearest part is of ``modality``."""
        return self._queue.length(modality)

    @contextmanager
    def classifying(self) -> Iterator[None]:
        """Bounds how many requests have their content looked at.

        Raises:
            OverloadedError: as many as may be are.
        """
        if self._classifying >= self._settings.max_classifying:
            self.listener(None, 0.0, "classifying")
            limit = f"max_classifying={self._settings.max_classifying}"
            raise OverloadedError("too many requests at once", limit=limit)
        self._classifying += 1
        try:
            yield
        finally:
            self._classifying -= 1

    @asynccontextmanager
    async def enter(
        self,
        modalities: Sequence[Modality],
        user: str,
        priority: Priority,
        trace: Trace,
        deadline: Deadline,
        tenant: str = "",
    ) -> AsyncIterator[None]:
        """Holds a place for the block; the wait for it counts for ``trace``'s stage admit.

        ``modalities`` are those of the query's parts, at least one; the dearest says which queue it waits in.
        All that ``tenant`` asks waits for one turn, whoever its users are; "" is none.

        Raises:
            OverloadedError: the queue is full, or the wait would be, or was, too long.
        """
        waiter = _Waiter(
            max(modalities, key=lambda modality: self._lanes[modality].cost),
            sum(self._lanes[modality].cost for modality in modalities),
            user,
            priority,
            tenant,
            place=asyncio.get_running_loop().create_future(),
            since_s=self._clock(),
        )
        with trace.stage("admit"):
            if self._has_place(waiter):
                self._take(waiter)
                self.listener(waiter.modality, 0.0, "entered")
            else:
                await self._wait(waiter, deadline)
        start_s = self._clock()
        cut_short = False
        try:
            yield
        except asyncio.CancelledError:
            cut_short = True
            raise
        finally:
            self._held_s[waiter.modality].add(self._clock() - start_s, at_least=cut_short)
            self._release(waiter)

    def _expected_wait_s(self, waiter: _Waiter) -> float:
        """Seconds that ``waiter`` would wait if it joined its queue now; 0 while nothing is known."""
        own_s = self._held_s[waiter.modality].value
        ahead = list(self._queue.ahead(waiter))
        whole_s = lane_s = 0.0
        if self.active >= self._settings.max_concurrent:
            whole_s = own_s + sum(self._held_s[each.modality].value for each in ahead)
        lane = self._lanes[waiter.modality]
        if self._active[waiter.modality] >= lane.max_concurrent:
            lane_s = own_s * (1 + sum(each.modality is waiter.modality for each in ahead))
        return max(whole_s / self._settings.max_concurrent, lane_s / lane.max_concurrent)

    async def _wait(self, waiter: _Waiter, deadline: Deadline) -> None:
        settings, lane = self._settings, self._lanes[waiter.modality]
        expected_s = self._expected_wait_s(waiter)
        if expected_s > settings.max_wait_s:
            raise self._refusal(waiter, "wait", f"max_wait_s={settings.max_wait_s:g}", expected_s)
        if expected_s + self._held_s[waiter.modality].value > deadline.remaining_s:
            limit = f"deadline={deadline.remaining_s * 1000:.0f} ms"
            raise self._refusal(waiter, "deadline", limit, expected_s)
        if self.waiting_of(waiter.modality) >= lane.max_waiting:
            limit = f"{waiter.modality.value}.max_waiting={lane.max_waiting}"
            self._make_room(waiter, waiter.modality, limit, expected_s)
        if self.waiting >= settings.max_waiting:
            self._make_room(waiter, None, f"max_waiting={settings.max_waiting}", expected_s)
        self._queue.push(waiter)
        try:
            async with asyncio.timeout(settings.max_wait_s):
                await waiter.place
        except BaseException as error:
            if waiter.granted:
                # The place came while the caller was leaving: it goes on to the next.
                self._release(waiter)
            else:
                self._queue.remove(waiter)
            if isinstance(error, TimeoutError):
                limit, expected_s = f"max_wait_s={settings.max_wait_s:g}", self._expected_wait_s(waiter)
                raise self._refusal(waiter, "wait", limit, expected_s) from error
            if waiter.place.done() and not waiter.place.cancelled() and waiter.place.exception():
                raise  # displaced: that was said when it happened
            self.listener(waiter.modality, self._clock() - waiter.since_s, "left")
            raise
        self.listener(waiter.modality, self._clock() - waiter.since_s, "entered")

    def _make_room(self, waiter: _Waiter, lane: Modality | None, limit: str, expected_s: float) -> None:
        """Room for ``waiter`` in a full queue, at the cost of who has less right to it, or its refusal."""
        displaced = self._queue.displace(waiter, lane)
        if displaced is None:
            raise self._refusal(waiter, "queue_full", limit, expected_s)
        if not displaced.place.done():
            wait_s = self._expected_wait_s(displaced)
            displaced.place.set_exception(self._refusal(displaced, "displaced", limit, wait_s))

    def _refusal(self, waiter: _Waiter, why: Outcome, limit: str, expected_s: float) -> OverloadedError:
        self.listener(waiter.modality, self._clock() - waiter.since_s, why)
        return OverloadedError(
            "too many requests at once",
            kind=waiter.modality.value,
            limit=limit,
            retry_after_s=min(max(expected_s, _LEAST_RETRY_S), _MOST_RETRY_S),
        )

    def _has_place(self, waiter: _Waiter) -> bool:
        lane = self._lanes[waiter.modality]
        return (
            self.active < self._settings.max_concurrent
            and self._active[waiter.modality] < lane.max_concurrent
        )

    def _take(self, waiter: _Waiter) -> None:
        waiter.granted = True
        self._active[waiter.modality] += 1

    def _release(self, waiter: _Waiter) -> None:
        """Gives the place up, to whoever is next. A place is handed over: in between nobody can slip in."""
        self._active[waiter.modality] -= 1
        while (following := self._queue.pop(self._has_place)) is not None:
            if not following.place.done():  # else its caller has just left
                self._take(following)
                following.place.set_result(None)


class _Recent:
    """A running mean of durations in seconds that fades while nothing new comes in."""

    _WEIGHT = 0.1
    _HALF_LIFE_S = 30.0

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._mean_s = 0.0
        self._trust = 0.0
        self._at_s = 0.0

    @property
    def value(self) -> float:
        """The mean, halved for every half-life since the last one; 0 before the first."""
        return self._mean_s * self._trusted()

    def add(self, seconds: float, at_least: bool) -> None:
        """Counts a duration; one that was cut short only if it says that the mean is too low."""
        trusted = self._trusted()
        if at_least and trusted and seconds <= self._mean_s:
            return
        self._mean_s += (1.0 - (1.0 - self._WEIGHT) * trusted) * (seconds - self._mean_s)
        self._trust, self._at_s = 1.0, self._clock()

    def _trusted(self) -> float:
        return float(self._trust * 0.5 ** ((self._clock() - self._at_s) / self._HALF_LIFE_S))
