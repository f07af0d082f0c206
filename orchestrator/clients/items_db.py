"""The item store's SQL. Everything here blocks; ``items.ItemStore`` runs it on threads of its own."""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.types import CatalogueItem, MediaInfo, Modality

__all__ = ["ItemsDb", "StoredState"]

_SCHEMA_VERSION: Final = 2
_PER_QUERY: Final = 500
_PHRASE_CHARACTERS: Final = 64
_SHARED_TAG: Final = 0.01
_SCHEMA: Final = Path(__file__).with_name("items_schema.sql")
_LACKS: Final = "NOT EXISTS (SELECT 1 FROM rows WHERE item_id = items.id AND row_id >= ? AND row_id < ?)"


@dataclass(frozen=True, slots=True)
class StoredState:
    """What is known of an item. ``row_ids`` are all rows of it that may stand in Milvus, of every embedding
    version.

    ``item`` is None when its first indexing was begun and not ended. ``pending`` says that a change was begun
    and not ended, so that Milvus may not agree with ``item``.
    """

    item: CatalogueItem | None
    row_ids: tuple[str, ...]
    pending: bool


class ItemsDb:
    """One connection, used by one thread at a time.

    Raises ``sqlite3.Error``; ``ValueError`` for a file of another schema version.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._connection.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
        )
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._connection.executescript(_SCHEMA.read_text("utf-8"))
            self._connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        elif version == 1:
            # An item had one embedding version then; its rows have said so ever since.
            self._connection.executescript(
                "BEGIN; ALTER TABLE items DROP COLUMN embedding_version; "
                f"PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
            )
        elif version != _SCHEMA_VERSION:
            self._connection.close()
            raise ValueError(f"schema version {version} instead of {_SCHEMA_VERSION}")

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()

    # ---- reading ----

    def items(self, ids: Sequence[str]) -> dict[str, CatalogueItem]:
        """The stored items among ``ids``."""
        found: dict[str, CatalogueItem] = {}
        for start in range(0, len(ids), _PER_QUERY):
            some = list(ids[start : start + _PER_QUERY])
            marks = ", ".join("?" * len(some))
            media: dict[str, list[MediaInfo]] = {}
            for item_id, modality, format_, sha256, duration_s in self._connection.execute(
                f"SELECT item_id, modality, format, sha256, duration_s FROM media WHERE item_id IN ({marks}) "  # noqa: S608 - only question marks
                "ORDER BY item_id, position",
                some,
            ):
                media.setdefault(item_id, []).append(
                    MediaInfo(Modality(modality), format_, sha256, duration_s)
                )
            for id_, title, description, category, tags, price, available in self._connection.execute(
                "SELECT id, title, description, category, tags, price, available FROM items "  # noqa: S608 - the same
                f"WHERE id IN ({marks})",
                some,
            ):
                found[id_] = CatalogueItem(
                    id=id_,
                    title=title,
                    description=description,
                    category=category,
                    tags=tuple(json.loads(tags)),
                    price=price,
                    available=bool(available),
                    media=tuple(media.get(id_, ())),
                )
        return found

    def state(self, item_id: str) -> StoredState:
        """What is known of an item, known or not."""
        execute = self._connection.execute
        rows = execute("SELECT row_id FROM rows WHERE item_id = ? ORDER BY row_id", (item_id,)).fetchall()
        pending = execute("SELECT 1 FROM pending WHERE item_id = ?", (item_id,)).fetchone()
        return StoredState(
            item=self.items([item_id]).get(item_id),
            row_ids=tuple(row[0] for row in rows),
            pending=pending is not None,
        )

    def count(self) -> int:
        """Number of items."""
        return int(self._connection.execute("SELECT count(*) FROM items").fetchone()[0])

    def row_count(self, embedding_version: str) -> int:
        """Number of rows of that version that may stand in Milvus."""
        found = self._connection.execute(
            "SELECT count(*) FROM rows WHERE row_id >= ? AND row_id < ?", _range(embedding_version)
        )
        return int(found.fetchone()[0])

    def versions(self) -> set[str]:
        """The embedding versions of all rows."""
        found = self._connection.execute(
            "SELECT DISTINCT substr(row_id, 1, instr(row_id, '/') - 1) FROM rows"
        )
        return {row[0] for row in found}

    def ids(self, after: str, limit: int) -> list[str]:
        """The next ids in order."""
        found = self._connection.execute(
            "SELECT id FROM items WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
        )
        return [row[0] for row in found]

    def pending(self) -> list[str]:
        """Ids of items of which a change was begun and not ended."""
        return [row[0] for row in self._connection.execute("SELECT item_id FROM pending ORDER BY item_id")]

    def lacking(self, embedding_version: str, after: str, limit: int) -> list[str]:
        """The next ids, in order, of items that have no row of that version."""
        found = self._connection.execute(
            f"SELECT id FROM items WHERE id > ? AND {_LACKS} ORDER BY id LIMIT ?",  # noqa: S608 - constants
            (after, *_range(embedding_version), limit),
        )
        return [row[0] for row in found]

    def lacking_count(self, embedding_version: str) -> int:
        """Number of items that have no row of that version."""
        found = self._connection.execute(
            f"SELECT count(*) FROM items WHERE {_LACKS}",  # noqa: S608 - constants
            _range(embedding_version),
        )
        return int(found.fetchone()[0])

    def hashes(self) -> set[str]:
        """Hashes of all media."""
        return {row[0] for row in self._connection.execute("SELECT DISTINCT sha256 FROM media")}

    def unused(self, hashes: Iterable[str]) -> list[str]:
        """Those of ``hashes`` that no item has."""
        query = "SELECT 1 FROM media WHERE sha256 = ? LIMIT 1"
        return [h for h in set(hashes) if self._connection.execute(query, (h,)).fetchone() is None]

    def phrases(self, limit: int) -> list[str]:
        """What a speaker may name: tags that many items share, then titles; each once whatever its case.

        Both the most frequent first, then the shortest. A tag of one item in a hundred (at least two) counts
        as shared; rarer ones are mostly words out of titles, and half a title draws speech away from the
        whole one (docs/adr/0007-expected-phrases.md).
        """
        titles: Counter[str] = Counter()
        tags: Counter[str] = Counter()
        spelling: dict[str, str] = {}
        items = 0
        for title, tagged in self._connection.execute("SELECT title, tags FROM items ORDER BY id"):
            items += 1
            for counts, phrases in ((titles, [title]), (tags, json.loads(tagged))):
                for phrase in phrases:
                    text = " ".join(phrase.split())
                    if 0 < len(text) <= _PHRASE_CHARACTERS:
                        key = text.casefold()
                        spelling.setdefault(key, text)
                        counts[key] += 1
        least = max(2, math.ceil(items * _SHARED_TAG))
        shared = {key: count for key, count in tags.items() if count >= least}
        ranked = [
            key
            for counts in (shared, titles)
            for key in sorted(counts, key=lambda key: (-counts[key], len(key), key))
        ]
        return [spelling[key] for key in dict.fromkeys(ranked)][:limit]

    # ---- writing ----

    def begin(self, item_id: str, row_ids: Iterable[str]) -> None:
        """Notes that an item is about to change, and rows that are about to be sent to Milvus."""
        with self._transaction():
            self._connection.execute("INSERT OR IGNORE INTO pending VALUES (?)", (item_id,))
            self._connection.executemany(
                "INSERT OR IGNORE INTO rows VALUES (?, ?)", [(item_id, row_id) for row_id in row_ids]
            )

    def commit(self, item: CatalogueItem, row_ids: Iterable[str]) -> list[str]:
        """Stores an item whose rows are exactly those of ``row_ids`` that were noted before. Hashes of media
        that it no longer has.

        What is not noted any more is of a version that was forgotten while the item changed.
        """
        with self._transaction():
            before = self._hashes_of(item.id)
            found = self._connection.execute("SELECT row_id FROM rows WHERE item_id = ?", (item.id,))
            noted = {row[0] for row in found}
            self._erase(item.id)
            self._connection.execute(
                "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    item.id,
                    item.title,
                    item.description,
                    item.category,
                    json.dumps(item.tags, ensure_ascii=False),
                    item.price,
                    int(item.available),
                ),
            )
            self._connection.executemany(
                "INSERT INTO media VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (item.id, i, m.modality.value, m.format, m.sha256, m.duration_s)
                    for i, m in enumerate(item.media)
                ],
            )
            self._connection.executemany(
                "INSERT INTO rows VALUES (?, ?)", [(item.id, row_id) for row_id in row_ids if row_id in noted]
            )
        return sorted(before - {m.sha256 for m in item.media})

    def erase(self, item_id: str) -> list[str]:
        """Forgets an item and its rows. Hashes of the media that it had."""
        with self._transaction():
            before = self._hashes_of(item_id)
            self._erase(item_id)
        return sorted(before)

    def forget_version(self, embedding_version: str) -> None:
        """Forgets all rows of that version."""
        with self._transaction():
            self._connection.execute(
                "DELETE FROM rows WHERE row_id >= ? AND row_id < ?", _range(embedding_version)
            )

    def mark_open(self) -> bool:
        """Notes that the store is in use; whether it was noted already, which tells of a crash."""
        with self._transaction():
            found = self._connection.execute("INSERT OR IGNORE INTO marks VALUES ('open')").rowcount == 0
        return found

    def mark_closed(self) -> None:
        """Notes an end in order."""
        self._connection.execute("DELETE FROM marks WHERE name = 'open'")

    def _hashes_of(self, item_id: str) -> set[str]:
        found = self._connection.execute("SELECT sha256 FROM media WHERE item_id = ?", (item_id,))
        return {row[0] for row in found}

    def _erase(self, item_id: str) -> None:
        self._connection.execute("DELETE FROM items WHERE id = ?", (item_id,))  # and its media
        self._connection.execute("DELETE FROM rows WHERE item_id = ?", (item_id,))
        self._connection.execute("DELETE FROM pending WHERE item_id = ?", (item_id,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def _range(embedding_version: str) -> tuple[str, str]:
    """The first row id of a version and the first one behind all of them: "0" follows "/"."""
    return f"{embedding_version}/", f"{embedding_version}0"
