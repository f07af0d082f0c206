"""Which queries are asked and what answers them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catalogue.manifest import ManifestItem, read_manifest
from evaluation.asked import HEADLINE, PAIRS, QUICK_PAIRS, QUICK_QUERIES, QuerySets
from evaluation.judgements import Condition, Query, Relevance
from sensorium.v1 import sensorium_pb2 as pb

ITEMS = [
    {"id": "a", "description": "A frog.", "media": ["a.png"], "split": "test"},
    {"id": "b", "description": "The Frog", "media": ["b.png"], "split": "test"},
    {"id": "c", "description": "A toad.", "media": ["c.png", "c.mp4"], "split": "train"},
    {"id": "d", "description": "A newt.", "media": ["d.png"], "split": "validation"},
]


class Home:
    def __init__(self, home: Path) -> None:
        self.home = home


@pytest.fixture
def items(tmp_path: Path) -> list[ManifestItem]:
    lines = []
    for item in ITEMS:
        for name in item["media"]:
            (tmp_path / str(name)).write_bytes(b"x")
        for language in ("en", "fr"):
            (tmp_path / f"{item['id']}_{language}.ogg").write_bytes(b"x")
        media = [
            {"path": name, "role": "clip"} if str(name).endswith("mp4") else {"path": name}
            for name in item["media"]
        ]
        queries = [
            {"path": f"{item['id']}_{language}.ogg", "language": language} for language in ("en", "fr")
        ]
        lines.append(json.dumps(item | {"media": media, "queries": queries}))
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(lines))
    return list(read_manifest(manifest))


def test_items_of_one_meaning_answer_each_other(items: list[ManifestItem]) -> None:
    judged = Relevance(items)
    assert judged.relevant(Query("a", items[0], ("whatever",))) == ["a", "b"]
    assert judged.relevant(Query("c", items[2], ("whatever",))) == ["c"]


def test_a_copy_of_what_is_indexed_is_taken_out_on_both_sides(items: list[ManifestItem]) -> None:
    judged = Relevance(items)
    query = Query("a", items[0], (), copy=True)
    assert judged.relevant(query) == ["b"]
    assert judged.ranked(query, ["a", "c", "b"]) == ["c", "b"]
    assert judged.relevant(Query("c", items[2], (), copy=True)) == []


def test_a_set_is_of_the_split_that_is_asked(items: list[ManifestItem], tmp_path: Path) -> None:
    test, validation = (QuerySets(items, Home(tmp_path), split) for split in ("test", "validation"))
    assert [query.parts for query in test.of("description")] == [("A frog.",), ("The Frog",)]
    assert [query.name for query in validation.of("description")] == ["d"]
    assert all(query.copy for query in test.of("picture among pictures"))
    assert not any(query.copy for query in test.of("picture"))


def test_only_pictures_among_pictures_are_copies(items: list[ManifestItem], tmp_path: Path) -> None:
    sets = QuerySets(items, Home(tmp_path), "test")
    for pair in PAIRS:
        if pair.name.startswith("image->"):
            assert all(query.copy == (pair.name == "image->image") for query in sets.of(pair.kind))


def test_recordings_are_of_all_splits_but_while_test_is_not_asked(
    items: list[ManifestItem], tmp_path: Path
) -> None:
    test, validation = (QuerySets(items, Home(tmp_path), split) for split in ("test", "validation"))
    assert [query.item.id for query in test.of("recording")] == ["a", "b", "c", "d"]
    assert [query.item.id for query in validation.of("recording")] == ["c", "d"]
    assert all(Path(query.parts[0]).name.endswith("_en.ogg") for query in test.of("recording"))
    assert [query.name for query in test.of("recorded text")] == [
        query.name for query in test.of("recording")
    ]


def test_a_quick_set_is_a_few_and_always_the_same(items: list[ManifestItem], tmp_path: Path) -> None:
    many = [
        items[0].model_copy(update={"id": f"n{number}", "description": f"A frog {number}."})
        for number in range(80)
    ]
    few = [query.name for query in QuerySets(many, Home(tmp_path), "test", quick=True).of("description")]
    again = QuerySets(many[::-1], Home(tmp_path), "test", quick=True).of("description")
    assert len(few) == QUICK_QUERIES
    assert sorted(query.name for query in again) == sorted(few)


def test_every_modality_is_asked_of_every_modality() -> None:
    names = [pair.name for pair in PAIRS]
    assert len(set(names)) == len(names)
    modalities = ("text", "image", "audio", "video")
    assert {f"{one}->{other}" for one in modalities for other in modalities} <= set(names)
    assert set(names) >= QUICK_PAIRS
    for pair in PAIRS:
        assert pb.Modality.Name(pair.target).lower() == pair.name.rpartition("->")[2]


def test_every_set_that_is_named_can_be_made(items: list[ManifestItem], tmp_path: Path) -> None:
    known = QuerySets(items, Home(tmp_path), "test")._makers
    assert {pair.kind for pair in PAIRS} | set(HEADLINE) <= set(known)


def test_an_attribute_query_needs_every_attribute(items: list[ManifestItem]) -> None:
    cup = items[0].model_copy(update={"attributes": {"shape": "mug", "colour": "red", "pattern": "striped"}})
    assert Condition({"shape": "mug", "colour": "red"}, {}).holds(cup)
    assert not Condition({"shape": "mug", "colour": "blue"}, {}).holds(cup)
    assert not Condition({"shape": "mug"}, {"pattern": "striped"}).holds(cup)
    assert Condition({}, {"pattern": "dotted"}).holds(cup)
