"""The feedback store's stand-in: in memory, with failures and delays on request like the other fakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fakes import Faults

from orchestrator.feedback import Erased, Event, EventCounts, History, Impression, StoredEvent

__all__ = ["FakeFeedbackStore"]


class FakeFeedbackStore(Faults):
    """Impressions and events in dicts; ``clock`` gives the time of an event in seconds of the epoch."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        super().__init__()
        self.clock = clock
        self.impressions: dict[str, Impression] = {}
        self.events: dict[tuple[str, str, str], StoredEvent] = {}
        self._erased: dict[str, float] = {}

    async def record(self, impression: Impression) -> None:
        await self._call("record")
        if self._erased.get(impression.user, -1.0) < impression.at_s:
            self.impressions.setdefault(impression.request_id, impression)

    async def add(self, user: str, events: Sequence[Event]) -> EventCounts:
        await self._call("add")
        stored = known = unknown = 0
        for event in events:
            impression = self.impressions.get(event.request_id)
            places = {item.item_id: item.position for item in impression.shown} if impression else {}
            if impression is None or impression.user != user or event.item_id not in places:
                unknown += 1
                continue
            key = (event.request_id, event.item_id, event.kind.value)
            if old := self.events.get(key):
                known += 1
                longest = max(old.event.dwell_ms, event.dwell_ms)
                self.events[key] = replace(old, event=replace(old.event, dwell_ms=longest))
            else:
                stored += 1
                placed = replace(event, position=event.position or places[event.item_id])
                self.events[key] = StoredEvent(placed, self.clock())
        return EventCounts(stored, known, unknown)

    async def history(self, user: str, limit: int) -> History:
        await self._call("history")
        own = sorted(
            (impression for impression in self.impressions.values() if impression.user == user),
            key=lambda impression: (-impression.at_s, impression.request_id),
        )[:limit]
        ids = {impression.request_id for impression in own}
        events = [event for event in self.events.values() if event.event.request_id in ids]
        return History(tuple(own), tuple(sorted(events, key=lambda stored: -stored.at_s)))

    async def erase(self, user: str) -> Erased:
        await self._call("erase")
        self._erased[user] = self.clock()
        gone = {key for key, impression in self.impressions.items() if impression.user == user}
        events = [key for key in self.events if key[0] in gone]
        for key in events:
            del self.events[key]
        for request_id in gone:
            del self.impressions[request_id]
        return Erased(len(gone), len(events))
