"""Which queries are asked and what answers them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catalogue.manifest import ManifestItem, read_manifest
from evaluation.queries import PAIRS, Query, Relevance
from evaluation.report import markdown, write_report
from sensorium.v1 import sensorium_pb2 as pb

ITEMS = [
    {"id": "a", "description": "A frog.", "media": ["a.png"]},
    {"id": "b", "description": "The Frog", "media": ["b.png"]},
    {"id": "c", "description": "A toad.", "media": ["c.png", "c.mp4"]},
]


@pytest.fixture
def items(tmp_path: Path) -> list[ManifestItem]:
    lines = []
    for item in ITEMS:
        for name in item["media"]:
            (tmp_path / name).write_bytes(b"x")
        (tmp_path / f"{item['id']}_en.ogg").write_bytes(b"x")
        (tmp_path / f"{item['id']}_fr.ogg").write_bytes(b"x")
        media = [
            {"path": name, "role": "clip"} if name.endswith("mp4") else {"path": name}
            for name in item["media"]
        ]
        queries = [
            {"path": f"{item['id']}_{language}.ogg", "language": language} for language in ("en", "fr")
        ]
        lines.append(json.dumps(item | {"media": media, "queries": queries, "split": "test"}))
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(lines))
    return list(read_manifest(manifest))


def test_items_of_one_meaning_answer_each_other(items: list[ManifestItem]) -> None:
    judged = Relevance(items)
    assert judged.relevant(Query("a", items[0], items[0].description)) == ["a", "b"]
    assert judged.relevant(Query("c", items[2], items[2].description)) == ["c"]


def test_a_copy_of_what_is_indexed_is_taken_out_on_both_sides(items: list[ManifestItem]) -> None:
    judged = Relevance(items)
    query = Query("a", items[0], items[0].description, copy=True)
    assert judged.relevant(query) == ["b"]
    assert judged.ranked(query, ["a", "c", "b"]) == ["c", "b"]
    assert judged.relevant(Query("c", items[2], items[2].description, copy=True)) == []


def test_queries_of_each_pair(items: list[ManifestItem]) -> None:
    made = {pair.name: pair.queries(items) for pair in PAIRS}
    assert [query.content for query in made["text->image"]] == ["A frog.", "The Frog", "A toad."]
    assert {Path(query.content).suffix for query in made["image->text"]} == {".png"}
    assert [Path(query.content).name for query in made["video->text"]] == ["c.mp4"]
    assert [Path(query.content).name for query in made["audio->image"]] == [
        "a_en.ogg",
        "b_en.ogg",
        "c_en.ogg",
    ]
    spoken = [query.name for query in made["audio->image"]]
    assert [query.name for query in made["recorded text->image"]] == spoken
    assert all(query.copy for query in made["image->image"])


def test_only_the_test_split_is_asked_except_for_recordings(items: list[ManifestItem]) -> None:
    known = [item.model_copy(update={"split": "train"}) for item in items]
    for pair in PAIRS:
        recorded = pair.name in ("audio->image", "audio->text", "recorded text->image")
        assert len(pair.queries(known)) == (3 if recorded else 0), pair.name


def test_pairs_look_in_the_modality_that_their_name_says() -> None:
    for pair in PAIRS:
        assert pb.Modality.Name(pair.target).lower() == pair.name.rpartition("->")[2]
    assert len({pair.name for pair in PAIRS}) == len(PAIRS)


def test_report_says_what_was_reached_and_what_was_missed(tmp_path: Path) -> None:
    figures = dict.fromkeys(("ndcg@5", "ndcg@10", "mrr", "p@1", "recall@100"), 0.5)
    pair = {
        **figures,
        "ndcg@10_ci95": [0.4, 0.6],
        "queries": 9,
        "about": "test",
        "latency_ms": {"total": {"p50": 1.0, "p95": 2.0}},
        "degraded": 0,
    }
    report = {
        "catalogue": {"items": 3, "test": 3},
        "embedding_version": "lite-1-0",
        "pairs": {"text->image": pair, "image->text": pair | {"ndcg@10": 0.1}},
        "targets": {"text->image": 0.31, "image->text": 0.23},
        "speech_share": {"ratio": 0.6, "ratio_ci95": [0.5, 0.7], "target": 0.55, "held_out": None},
    }
    table = markdown(report)
    assert "text->image: 0.500, target 0.31: reached" in table
    assert "image->text: 0.100, target 0.23: MISSED" in table
    assert "speech reaches 60%" in table
    written = write_report(report, tmp_path / "reports" / "evaluation.json")
    assert json.loads(written[0].read_text())["pairs"]["text->image"]["ndcg@10"] == 0.5
    assert written[2].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
