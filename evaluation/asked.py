"""The sets of queries of the stamps, and what each is asked of.

A set belongs to one split (test, unless another is asked for), which nothing was trained or selected on.
Recordings are the exception: there are only 65, none of them was ever trained on, so all are asked, and those
of items outside the train split are told apart. The gallery is always the whole catalogue.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from catalogue.manifest import ManifestItem
from catalogue.split import Split
from evaluation.judgements import Query
from queries import make_queries
from queries.recordings import recordings
from queries.types import HasHome, MadeQuery
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["HEADLINE", "HOLDING", "PAIRS", "QUICK_PAIRS", "Pair", "QuerySets"]

QUICK_QUERIES = 24
"""Of each set, when only a few are asked."""

HEADLINE = {
    "paraphrase": "descriptions in other words of WordNet",
    "photograph": "pictures as a user would take them",
    "speech": "descriptions read by espeak-ng",
    "speech of paraphrases": "paraphrases read by espeak-ng",
    "recording": "human English recordings, all splits",
    "clip": "clips cut, scaled and encoded anew",
    "effect": "sound effects cut, noisy and encoded anew",
    "mix": "a photograph and a paraphrase together",
}
"""Kinds of queries that are asked of whole items, with everything that an item has."""


@dataclass(frozen=True)
class Pair:
    """One set of queries against one modality of the items, the others hidden."""

    name: str
    kind: str
    target: pb.Modality
    about: str


_SETS = (
    ("text", "description", "descriptions as they are indexed"),
    ("paraphrase", "paraphrase", "descriptions in other words"),
    ("image", "picture", "pictures as they are stored"),
    ("photograph", "photograph", "pictures as a user would take them"),
    ("audio", "recording", "human English recordings, all splits"),
    ("speech", "speech", "descriptions read by espeak-ng"),
    ("effect", "effect", "sound effects cut, noisy and encoded anew"),
    ("video", "clip", "clips cut, scaled and encoded anew"),
)
PAIRS = (
    *(
        Pair(f"{name}->{pb.Modality.Name(target).lower()}", kind, target, about)
        for name, kind, about in _SETS
        for target in (pb.TEXT, pb.IMAGE, pb.AUDIO, pb.VIDEO)
        if (kind, target) != ("picture", pb.IMAGE)
    ),
    # what is indexed itself is no answer
    Pair("image->image", "picture among pictures", pb.IMAGE, "pictures with another of the same meaning"),
    Pair("recorded text->image", "recorded text", pb.IMAGE, "what the recordings say, as text"),
)
QUICK_PAIRS = frozenset(("text->image", "image->text", "video->text", "audio->image", "recorded text->image"))
HOLDING = {pb.AUDIO: "effect", pb.VIDEO: "clip"}
"""The role of the files without which an item has nothing of a modality; text and picture all have."""


class QuerySets:
    """The queries of a catalogue by kind, made when they are first asked for."""

    def __init__(
        self, items: Sequence[ManifestItem], settings: HasHome, split: Split, quick: bool = False
    ) -> None:
        self._items = items
        self._settings = settings
        self._split = split
        self._quick = quick
        self._makers: dict[str, Callable[[], list[Query]]] = {
            "description": lambda: [Query(item.id, item, (item.description,)) for item in self._own],
            "picture": lambda: self._pictures(copy=False),
            "picture among pictures": lambda: self._pictures(copy=True),
            "paraphrase": lambda: self._made("paraphrase"),
            "photograph": lambda: self._made("photograph"),
            "speech": lambda: [query for query in self._made("speech") if query.way == "description"],
            "speech of paraphrases": lambda: [
                query for query in self._made("speech") if query.way == "paraphrase"
            ],
            "clip": lambda: self._made("clip"),
            "effect": lambda: self._made("effect"),
            "mix": lambda: self._made("mix"),
            "recording": self._recordings,
            "recorded text": lambda: [
                Query(query.name, query.item, (query.item.description,)) for query in self._recordings()
            ],
        }

    @functools.cached_property
    def _own(self) -> list[ManifestItem]:
        return [item for item in self._items if item.split == self._split]

    def of(self, kind: str) -> list[Query]:
        """In the order of the catalogue; of a quick set a few, chosen by the hash of their names.

        Raises:
            QueriesError, CatalogueError: they cannot be made.
        """
        found = self._makers[kind]()
        if not self._quick:
            return found
        few = set(sorted((query.item.id for query in found), key=_spread)[:QUICK_QUERIES])
        return [query for query in found if query.item.id in few]

    def _pictures(self, copy: bool) -> list[Query]:
        return [Query(item.id, item, item.paths("")[:1], copy) for item in self._own if item.paths("")]

    def _made(self, kind: str) -> list[Query]:
        made = make_queries(kind, self._items, self._settings, split=self._split)
        return [_query(each) for each in made]

    def _recordings(self) -> list[Query]:
        heard = [_query(made) for made in recordings(self._items)]
        # whoever asks another split is not done yet: what is measured last stays out
        return [query for query in heard if self._split == "test" or query.item.split != "test"]


def _query(made: MadeQuery) -> Query:
    return Query(made.name, made.item, made.parts, way=made.way)


def _spread(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
