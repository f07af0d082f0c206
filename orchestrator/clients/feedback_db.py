"""The feedback store's SQL. Everything here blocks; ``feedback.FeedbackStore`` runs it on a thread."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from orchestrator.feedback import (
    Erased,
    Event,
    EventCounts,
    EventKind,
    History,
    Impression,
    Shown,
    StoredEvent,
)

__all__ = ["FeedbackDb"]

_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = Path(__file__).with_name("feedback_schema.sql")


class FeedbackDb:
    """One connection, used by one thread at a time.

    Raises ``sqlite3.Error``; ``ValueError`` for a file of another schema version.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        # A log that loses its last seconds with the power is still a log: no sync for every answer. What is
        # deleted is overwritten with zeros.
        self._connection.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; "
            "PRAGMA secure_delete = ON;"
        )
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._connection.executescript(_SCHEMA.read_text("utf-8"))
            self._connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        elif version != _SCHEMA_VERSION:
            self._connection.close()
            raise ValueError(f"schema version {version} instead of {_SCHEMA_VERSION}")

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()

    # ---- writing ----

    def record(self, impression: Impression) -> None:
        """Keeps an answer; one that is there already stays as it is."""
        with self._transaction():
            added = self._connection.execute(
                "INSERT OR IGNORE INTO impressions VALUES (?, ?, ?, ?)",
                (impression.request_id, impression.user, impression.at_s, impression.query),
            ).rowcount
            if added:
                self._connection.executemany(
                    "INSERT OR IGNORE INTO shown VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [
                        (
                            impression.request_id,
                            item.item_id,
                            item.position,
                            item.score,
                            item.base,
                            json.dumps(dict(item.evidence)),
                            json.dumps(dict(item.features)),
                        )
                        for item in impression.shown
                    ],
                )

    def add(self, user: str, events: Sequence[Event], at_s: float) -> EventCounts:
        """Stores events that are new and about what ``user`` was shown; of two dwells the longer stays."""
        stored = known = unknown = 0
        with self._transaction():
            for event in events:
                place = self._connection.execute(
                    "SELECT shown.position FROM shown JOIN impressions USING (request_id) "
                    "WHERE request_id = ? AND item_id = ? AND user = ?",
                    (event.request_id, event.item_id, user),
                ).fetchone()
                if place is None:
                    unknown += 1
                    continue
                key = (event.request_id, event.item_id, event.kind.value)
                values = (*key, event.position or place[0], event.dwell_ms, at_s)
                if self._connection.execute(
                    "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?)", values
                ).rowcount:
                    stored += 1
                    continue
                known += 1
                self._connection.execute(
                    "UPDATE events SET dwell_ms = max(dwell_ms, ?) "
                    "WHERE request_id = ? AND item_id = ? AND kind = ?",
                    (event.dwell_ms, *key),
                )
        return EventCounts(stored, known, unknown)

    def erase(self, user: str) -> Erased:
        """Removes everything of ``user``, from the write-ahead log too."""
        with self._transaction():
            events = self._connection.execute(
                "SELECT count(*) FROM events JOIN impressions USING (request_id) WHERE user = ?", (user,)
            ).fetchone()[0]
            requests = self._connection.execute("DELETE FROM impressions WHERE user = ?", (user,)).rowcount
        self._checkpoint()
        return Erased(requests, events)

    def prune(self, before_s: float, most: int) -> int:
        """Removes answers older than ``before_s``, and the oldest above ``most``. How many it removed."""
        with self._transaction():
            old = self._connection.execute("DELETE FROM impressions WHERE at_s < ?", (before_s,)).rowcount
            over = self._connection.execute(
                "DELETE FROM impressions WHERE request_id IN "
                "(SELECT request_id FROM impressions ORDER BY at_s DESC LIMIT -1 OFFSET ?)",
                (most,),
            ).rowcount
        if old or over:
            self._checkpoint()
        return int(old + over)

    # ---- reading ----

    def history(self, user: str, limit: int) -> History:
        """The newest ``limit`` answers of ``user``, and what was done with those; newest first."""
        impressions = []
        events = []
        for request_id, at_s, query in self._connection.execute(
            "SELECT request_id, at_s, query FROM impressions WHERE user = ? "
            "ORDER BY at_s DESC, request_id LIMIT ?",
            (user, limit),
        ).fetchall():
            shown = tuple(
                Shown(item_id, position, score, base, json.loads(evidence), json.loads(features))
                for item_id, position, score, base, evidence, features in self._connection.execute(
                    "SELECT item_id, position, score, base, evidence, features FROM shown "
                    "WHERE request_id = ? ORDER BY position",
                    (request_id,),
                )
            )
            impressions.append(Impression(request_id, user, at_s, query, shown))
            events += [
                StoredEvent(Event(request_id, item_id, EventKind(kind), position, dwell_ms), done_s)
                for item_id, kind, position, dwell_ms, done_s in self._connection.execute(
                    "SELECT item_id, kind, position, dwell_ms, at_s FROM events WHERE request_id = ? "
                    "ORDER BY item_id, kind",
                    (request_id,),
                )
            ]
        events.sort(key=lambda stored: -stored.at_s)
        return History(tuple(impressions), tuple(events))

    def _checkpoint(self) -> None:
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
