"""The feedback store, real and fake by the same tests, and what the real one leaves on the disk."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_feedback import FakeFeedbackStore

from orchestrator.clients.feedback import FeedbackStore as RealFeedbackStore
from orchestrator.errors import ConfigurationError, DependencyError, UnavailableError
from orchestrator.feedback import (
    Erased,
    Event,
    EventCounts,
    EventKind,
    FeedbackStore,
    History,
    Impression,
    Shown,
)
from orchestrator.settings import FeedbackSettings

DAY_S = 86_400.0


@dataclass
class Clock:
    now_s: float = 1000 * DAY_S

    def __call__(self) -> float:
        return self.now_s


def answer(request_id: str, user: str = "ann", at_s: float = 999 * DAY_S, items: str = "ab") -> Impression:
    shown = tuple(
        Shown(item, place, 0.5, 0.25, {"text->image": 1.0}, {"taste": 0.5})
        for place, item in enumerate(items, 1)
    )
    return Impression(request_id, user, at_s, "0f" * 16, shown)


def event(
    request_id: str, item: str = "a", kind: EventKind = EventKind.CLICK, dwell_ms: float = 0.0
) -> Event:
    return Event(request_id, item, kind, 0, dwell_ms)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["real", "fake"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncGenerator[FeedbackStore]:
    if request.param == "fake":
        yield FakeFeedbackStore(clock)
        return
    async with RealFeedbackStore(tmp_path, FeedbackSettings(), clock) as real:
        yield real


async def test_an_answer_and_what_was_done_with_it_come_back(store: FeedbackStore) -> None:
    await store.record(answer("r1"))
    await store.record(answer("r2", at_s=999.5 * DAY_S))
    await store.record(answer("r3", user="bob"))
    assert await store.add("ann", [event("r1", "b")]) == EventCounts(stored=1)
    history = await store.history("ann", 10)
    assert history.impressions == (answer("r2", at_s=999.5 * DAY_S), answer("r1"))
    assert [(s.event, s.at_s) for s in history.events] == [
        (Event("r1", "b", EventKind.CLICK, 2, 0.0), 1000 * DAY_S)
    ]
    assert [i.request_id for i in (await store.history("ann", 1)).impressions] == ["r2"]
    assert (await store.history("ann", 1)).events == ()
    assert await store.history("nobody", 10) == History()


async def test_an_event_sent_again_changes_nothing(store: FeedbackStore) -> None:
    await store.record(answer("r"))
    assert await store.add("ann", [event("r"), event("r")]) == EventCounts(stored=1, known=1)
    before = await store.history("ann", 10)
    assert await store.add("ann", [event("r")]) == EventCounts(known=1)
    assert await store.history("ann", 10) == before
    assert await store.add("ann", [event("r", kind=EventKind.ADD)]) == EventCounts(stored=1)


async def test_of_two_dwells_the_longer_stays(store: FeedbackStore) -> None:
    await store.record(answer("r"))
    for dwell_ms in (500.0, 900.0, 100.0):
        await store.add("ann", [event("r", kind=EventKind.DWELL, dwell_ms=dwell_ms)])
    (stored,) = (await store.history("ann", 10)).events
    assert stored.event.dwell_ms == 900.0


async def test_what_was_not_shown_to_that_user_is_not_stored(store: FeedbackStore) -> None:
    await store.record(answer("r"))
    wrong = [event("other"), event("r", item="z")]
    assert await store.add("ann", wrong) == EventCounts(unknown=2)
    assert await store.add("bob", [event("r")]) == EventCounts(unknown=1)
    assert (await store.history("ann", 10)).events == ()


async def test_an_answer_recorded_twice_stays_as_it_was_first(store: FeedbackStore) -> None:
    await store.record(answer("r"))
    await store.record(answer("r", user="bob", items="cd"))
    assert (await store.history("ann", 10)).impressions == (answer("r"),)
    assert await store.history("bob", 10) == History()


async def test_erasing_forgets_one_user_and_no_other(store: FeedbackStore, clock: Clock) -> None:
    await store.record(answer("r1"))
    await store.record(answer("r2", user="bob"))
    await store.add("ann", [event("r1"), event("r1", "b")])
    await store.add("bob", [event("r2")])
    assert await store.erase("ann") == Erased(requests=1, events=2)
    assert await store.erase("ann") == Erased()
    assert await store.history("ann", 10) == History()
    assert len((await store.history("bob", 10)).events) == 1
    # A search that was under way when its user was erased ends later: it must not bring them back.
    await store.record(answer("late", at_s=clock.now_s - 1))
    assert await store.history("ann", 10) == History()
    clock.now_s += 10
    await store.record(answer("new", at_s=clock.now_s))
    assert len((await store.history("ann", 10)).impressions) == 1


async def test_erased_bytes_are_gone_from_the_files(tmp_path: Path) -> None:
    async with RealFeedbackStore(tmp_path, FeedbackSettings()) as store:
        name = "somebody-quite-unmistakable"
        for number in range(300):
            await store.record(answer(f"r{number}", user=name, at_s=2e9))
        await store.add(name, [event("r7")])
        assert name.encode() in _bytes(tmp_path)
        await store.erase(name)
        assert name.encode() not in _bytes(tmp_path)


async def test_old_answers_and_too_many_are_dropped_with_their_events(tmp_path: Path, clock: Clock) -> None:
    settings = FeedbackSettings(retention_days=10, max_requests=2)
    async with RealFeedbackStore(tmp_path, settings, clock) as store:
        for number, days in enumerate((985, 996, 997, 998)):
            await store.record(answer(f"r{number}", at_s=days * DAY_S))
            await store.add("ann", [event(f"r{number}")])
    async with RealFeedbackStore(tmp_path, settings, clock) as store:
        history = await store.history("ann", 10)
        assert [i.request_id for i in history.impressions] == ["r3", "r2"]
        assert {s.event.request_id for s in history.events} == {"r3", "r2"}


async def test_it_is_pruned_while_it_is_written_to(tmp_path: Path, clock: Clock) -> None:
    async with RealFeedbackStore(tmp_path, FeedbackSettings(max_requests=5), clock) as store:
        for number in range(256):
            await store.record(answer(f"r{number}", at_s=990 * DAY_S + number))
        assert len((await store.history("ann", 1000)).impressions) == 5


async def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    async with RealFeedbackStore(tmp_path, FeedbackSettings()) as store:
        await store.record(answer("r", at_s=2e9))
        await store.add("ann", [event("r")])
    async with RealFeedbackStore(tmp_path, FeedbackSettings()) as store:
        history = await store.history("ann", 10)
    assert len(history.impressions) == len(history.events) == 1


async def test_a_failure_is_typed(tmp_path: Path) -> None:
    store = RealFeedbackStore(tmp_path, FeedbackSettings())
    with pytest.raises(UnavailableError):
        await store.history("ann", 1)
    await store.start()
    await _break(tmp_path, lambda c: c.execute("DROP TABLE shown"))
    with pytest.raises(DependencyError):
        await store.record(answer("r", at_s=2e9))
    await store.close()
    with pytest.raises(UnavailableError):
        await store.erase("ann")


async def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    await _break(tmp_path, lambda c: c.execute("PRAGMA user_version = 99"))
    store = RealFeedbackStore(tmp_path, FeedbackSettings())
    with pytest.raises(ConfigurationError, match="version"):
        await store.start()
    await store.close()


def _bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("feedback.sqlite*"))


async def _break(folder: Path, how: Callable[[sqlite3.Connection], object]) -> None:
    connection = sqlite3.connect(folder / "feedback.sqlite")
    try:
        connection.execute("PRAGMA foreign_keys = OFF")
        how(connection)
        connection.commit()
    finally:
        connection.close()
