"""What the re-ranker learns from and what it is given when it serves are built by two rooms: they agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeVectorStore, direction

from benchmarks.candidates import candidates
from benchmarks.triton import rerank_request
from export.reranker import KINDS, ROWS, Reranker, Shape
from export.reranker_steps import reranker_graph
from media import Modality
from orchestrator.calibrate import Calibration
from orchestrator.compose import EmbeddedPart, compose
from orchestrator.fusion import fuse
from orchestrator.query import Candidate
from orchestrator.rerank import rerank_inputs
from orchestrator.retrieve import Retriever
from orchestrator.settings import RerankSettings
from orchestrator.trace import Trace
from orchestrator.types import RERANK_KINDS, Embedding, RerankInputs, Row
from sensorium.v1 import sensorium_pb2 as pb
from training.catalogue_data import Stamp
from training.rerank_data import POOL, Gallery, example_of

PAIRS = {f"{q.value}->{i.value}": (12.0, -6.0) for q in Modality for i in Modality}
PAIRS |= {"audio->audio/native": (12.0, -6.0), "video->video/native": (12.0, -6.0)}


def test_both_rooms_number_kinds_and_places_alike() -> None:
    assert ("padding", *RERANK_KINDS) == KINDS
    assert list(RERANK_KINDS.values()) == list(range(1, len(KINDS)))
    assert tuple(modality.value for modality in Modality) == ROWS
    assert RerankSettings().pool == POOL


def test_the_graph_takes_what_is_sent() -> None:
    graph = reranker_graph(Reranker(Shape(layers=1, width=8, heads=1, hidden=8)))
    assert list(graph.inputs) == [field.name for field in dataclasses.fields(RerankInputs)]


def test_the_bench_sends_what_a_query_of_one_vector_sends() -> None:
    sent = candidates(2)
    assert list(sent) == [field.name for field in dataclasses.fields(RerankInputs)]
    assert sent["rows"].shape == (2, POOL, len(ROWS), 1024)
    assert sent["evidence"].shape == (2, POOL, 1, len(ROWS))
    request = rerank_request()
    assert [tensor.name for tensor in request.inputs] == list(sent)
    assert [len(raw) for raw in request.raw_input_contents] == [a.nbytes // 2 for a in sent.values()]


def rows() -> list[Row]:
    """Six items: all with a text, some with a picture, one with two sounds of two segments."""
    found = []
    for number in range(6):
        item = f"item{number}"
        words = f"thing number{number} {'red' if number % 2 else 'blue'}"
        found.append(_row(item, Modality.TEXT, -1, 0, words))
        if number % 3:
            found.append(_row(item, Modality.IMAGE, 0, 0, f"{words} picture"))
    for media in (1, 2):
        for segment in (0, 1):
            found.append(_row("item3", Modality.AUDIO, media, segment, f"croak{media} {segment} number3"))
    return found


def _row(item: str, modality: Modality, media: int, segment: int, words: str) -> Row:
    native = {Modality.AUDIO: 512, Modality.VIDEO: 2048}.get(modality)
    embedding = Embedding(direction(words), None if native is None else direction(words, native))
    return Row(item, modality, media, segment, 0.0, 1.0, embedding, "v", None, True, "", ())


PARTS = {
    "text": [EmbeddedPart(0, Modality.TEXT, 1.0, Embedding(direction("red thing")))],
    "spoken": [
        EmbeddedPart(
            0,
            Modality.AUDIO,
            1.0,
            Embedding(direction("croak2 1 number3"), direction("croak2 1 number3", 512)),
            Embedding(direction("blue thing")),
            0.7,
        )
    ],
    "mixed, one part forgone": [
        EmbeddedPart(0, Modality.IMAGE, 1.0, Embedding(direction("blue picture"))),
        EmbeddedPart(1, Modality.TEXT, 0.5, Embedding(direction("thing"))),
        EmbeddedPart(2, Modality.TEXT, -2.0, Embedding(direction("number4"))),
    ],
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
async def test_training_builds_what_serving_sends(parts: list[EmbeddedPart]) -> None:
    store, stored = FakeVectorStore(), rows()
    store.put(*stored)
    query = compose(parts)
    retriever = Retriever(store, Calibration(PAIRS), "v", rows_per_search=100, max_candidates=100, learned={})
    retrieved = await retriever.retrieve(query, tuple(Modality), "", Trace(), 5.0)
    fused = fuse(retrieved.signals, query.weights)
    vectors = {row.key: row.embedding.unified for row in stored}
    served = rerank_inputs(fused, query, list(Modality), vectors)

    places: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(stored):
        places.setdefault((row.item_id, row.modality.value), []).append(place)
    stamps = {f"item{n}": _stamp(f"item{n}") for n in range(6)}
    gallery = Gallery(np.stack([row.embedding.unified for row in stored]), places, stamps)
    tokens: dict[tuple[int, bool], tuple[str, float, Any]] = {}
    for part in parts:
        tokens[part.index, False] = part.modality.value, part.weight, part.embedding.unified
        if part.transcript is not None:
            tokens[part.index, True] = "transcript", part.weight, part.transcript.unified
    learned = example_of("name", "paraphrase", stamps["item1"], tokens, _answer(parts, fused), gallery)
    assert learned is not None
    assert learned.found == tuple(candidate.item_id for candidate in fused)
    assert np.array_equal(learned.query, served.query)
    assert np.array_equal(learned.query_kind, served.query_kind)
    assert np.array_equal(learned.query_weight, served.query_weight)
    np.testing.assert_allclose(learned.evidence, served.evidence, rtol=1e-6)
    np.testing.assert_allclose(learned.fused, served.fused, rtol=1e-6)
    known = np.where((learned.rows >= 0)[..., None], gallery.vectors[learned.rows], 0)
    assert np.array_equal(known, served.rows)
    assert learned.relevant.tolist() == [item == "item1" for item in learned.found]

    # a train query has no validation item in its list; a validation query has both
    held = {**stamps, "item2": replace(stamps["item2"], split="validation")}
    for asked, seen in (("item1", False), ("item2", True)):
        answer = _answer(parts, fused)
        split = example_of("name", "paraphrase", held[asked], tokens, answer, replace(gallery, stamps=held))
        assert split is not None
        assert ("item2" in (*split.found, *split.wanted)) == seen


def _stamp(item: str) -> Stamp:
    return Stamp(item, item, item, item, "train", Path(item), (), ())


def _answer(parts: Sequence[EmbeddedPart], candidates: Sequence[Candidate]) -> pb.SearchResponse:
    def number(modality: Modality) -> pb.Modality:
        return pb.Modality.Value(modality.value.upper())

    return pb.SearchResponse(
        parts=[pb.PartInfo(modality=number(part.modality)) for part in parts],
        hits=[
            pb.Hit(
                item=pb.Item(id=candidate.item_id),
                score=candidate.score,
                signals=[
                    pb.Signal(
                        query_modality=number(signal.query_modality),
                        item_modality=number(signal.item_modality),
                        space=signal.space,
                        similarity=signal.similarity,
                        score=signal.score,
                        weight=signal.weight,
                        part=signal.part,
                    )
                    for signal in candidate.signals
                ],
            )
            for candidate in candidates
        ],
    )
