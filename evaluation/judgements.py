"""What answers a query: the one definition of relevance.

**Stamps.** An item is relevant to a query when its normalised description (`catalogue.split.normalise`) is
that of the item the query was made from; all relevant items count the same. Where a query is a file that is
itself indexed (a stored picture searched among pictures), that item is taken out of both the ranking and the
judgements, and only queries with another relevant item are asked.

**Attribute queries of the generated catalogue.** An item is relevant when every asked attribute holds, as the
catalogue itself drew and wrote it: "a red metal cup" is answered by whatever is red, of metal and a cup.
Composed queries ("this image, but blue") ask two conditions, each of them attributes; an item is relevant
when both hold, and the share of the first ten that satisfy each is reported beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalogue.manifest import ManifestItem
from catalogue.split import normalise

__all__ = ["Condition", "Query", "Relevance"]


@dataclass(frozen=True)
class Query:
    """Parts are asked together: text or the path of a file. `copy` says that the file itself is indexed;
    `way` how the query was made, where a kind has several ways."""

    name: str
    item: ManifestItem
    parts: tuple[str | Path, ...]
    copy: bool = False
    way: str = ""


class Relevance:
    """The judgements of a catalogue whose descriptions say what an item is."""

    def __init__(self, items: Sequence[ManifestItem]) -> None:
        self._of: dict[str, list[str]] = {}
        for item in items:
            self._of.setdefault(normalise(item.description), []).append(item.id)

    def relevant(self, query: Query) -> list[str]:
        """Ids of the items that answer the query."""
        found = self._of[normalise(query.item.description)]
        return [item for item in found if not (query.copy and item == query.item.id)]

    def ranked(self, query: Query, ids: Sequence[str]) -> list[str]:
        """What was found, without the item whose own file was asked."""
        return [item for item in ids if not (query.copy and item == query.item.id)]


@dataclass(frozen=True)
class Condition:
    """Attributes that an item must have, and values that it must not have."""

    has: Mapping[str, str]
    lacks: Mapping[str, str]

    def holds(self, item: ManifestItem) -> bool:
        return all(item.attributes.get(name) == value for name, value in self.has.items()) and not any(
            item.attributes.get(name) == value for name, value in self.lacks.items()
        )
