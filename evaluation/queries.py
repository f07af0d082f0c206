"""What is asked, and what answers it.

Relevance, for every pair: an item is relevant to a query when its normalised description
(`catalogue.split.normalise`) equals that of the item the query was made from; all relevant items count the
same. Where a query is a file that is itself indexed (a picture searched among pictures), that item is taken
out of both the ranking and the judgements, and only queries with another relevant item are asked.

Queries come from the test split, which nothing is trained or selected on; recordings are the exception: all
English ones are asked, because there are only 66, none of them was ever trained on, and their measure is a
share of what the same texts reach. The gallery is always the whole catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalogue.manifest import ManifestItem
from catalogue.split import normalise
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["PAIRS", "Pair", "Query", "Relevance"]

LANGUAGE = "en"


@dataclass(frozen=True)
class Query:
    """`content` is text or the path of a file; `copy` is the item whose own file is asked, if that is
    indexed."""

    name: str
    item: ManifestItem
    content: str | Path
    copy: bool = False


@dataclass(frozen=True)
class Pair:
    """One query modality against one item modality."""

    name: str
    target: pb.Modality
    queries: Callable[[Sequence[ManifestItem]], list[Query]]
    about: str


class Relevance:
    """The judgements of a catalogue."""

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


def _test(items: Sequence[ManifestItem]) -> list[ManifestItem]:
    return [item for item in items if item.split == "test"]


def _texts(items: Sequence[ManifestItem]) -> list[Query]:
    return [Query(item.id, item, item.description) for item in _test(items)]


def _pictures(copy: bool) -> Callable[[Sequence[ManifestItem]], list[Query]]:
    def made(items: Sequence[ManifestItem]) -> list[Query]:
        return [Query(item.id, item, path, copy) for item in _test(items) for path in item.paths("")[:1]]

    return made


def _clips(items: Sequence[ManifestItem]) -> list[Query]:
    return [Query(item.id, item, path) for item in _test(items) for path in item.paths("clip")]


def _recordings(items: Sequence[ManifestItem]) -> list[Query]:
    return [
        Query(item.id, item, query.path)
        for item in items
        for query in item.queries
        if query.language == LANGUAGE
    ]


def _recorded_texts(items: Sequence[ManifestItem]) -> list[Query]:
    return [Query(query.name, query.item, query.item.description) for query in _recordings(items)]


PAIRS = (
    Pair("text->image", pb.IMAGE, _texts, "test descriptions"),
    Pair("image->text", pb.TEXT, _pictures(copy=False), "test pictures"),
    Pair("audio->image", pb.IMAGE, _recordings, "human English recordings, all splits"),
    Pair("recorded text->image", pb.IMAGE, _recorded_texts, "what those recordings say, as text"),
    Pair("audio->text", pb.TEXT, _recordings, "human English recordings, all splits"),
    Pair("text->text", pb.TEXT, _texts, "test descriptions as they are indexed: an upper bound"),
    Pair(
        "image->image",
        pb.IMAGE,
        _pictures(copy=True),
        "test pictures with a second picture of the same meaning",
    ),
    Pair("video->text", pb.TEXT, _clips, "test clips"),
    Pair("video->image", pb.IMAGE, _clips, "test clips, made from the pictures that are looked for"),
    Pair("text->video", pb.VIDEO, _texts, "test descriptions of items with a clip"),
    Pair("text->audio", pb.AUDIO, _texts, "test descriptions of items with a sound"),
)
