"""What evaluation asks of the API and makes of the answers, with a server that ranks by known attributes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from catalogue.generate import generate
from catalogue.manifest import ManifestItem, read_manifest
from evaluation.attributes import COMPOSITIONS, WORDS, evaluate_attributes
from evaluation.client import CatalogueMismatchError, Sensorium
from evaluation.compare import compare
from evaluation.report import write_report
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

ITEMS = 8


class Home:
    def __init__(self, home: Path) -> None:
        self.home = home


class Ranking(rpc.SensoriumServicer):
    """Items by how many of their tags the words of a query name; without words by id."""

    def __init__(self, items: list[ManifestItem]) -> None:
        self.items = items
        self.asked: list[pb.SearchRequest] = []

    def GetStatus(self, request: pb.GetStatusRequest, context: grpc.ServicerContext) -> pb.Status:  # noqa: N802
        return pb.Status(items=len(self.items), embedding_version="lite-1-0")

    def Get(self, request: pb.GetRequest, context: grpc.ServicerContext) -> pb.Item:  # noqa: N802
        return pb.Item(id=request.id)

    def Search(self, request: pb.SearchRequest, context: grpc.ServicerContext) -> pb.SearchResponse:  # noqa: N802
        self.asked.append(request)
        shapes = {word: shape for shape, word in WORDS.items()}
        words = [word for part in request.parts for word in part.text.split()]
        named = {shapes.get(word, word) for word in words}
        order = sorted(self.items, key=lambda item: (-len(named & set(item.tags)), item.id))
        return pb.SearchResponse(
            hits=[pb.Hit(item=pb.Item(id=item.id), score=0.5) for item in order],
            stages=[pb.StageTime(stage="embed", ms=1.0)],
            total_ms=2.0,
            parts=[pb.PartInfo(modality=pb.TEXT) for _ in request.parts],
        )


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("products")
    generate(ITEMS, 0, folder, 1, lambda *_: None)
    return folder / "manifest.jsonl"


@pytest.fixture
def service(manifest: Path) -> Iterator[tuple[Ranking, str]]:
    ranking = Ranking(list(read_manifest(manifest)))
    server = grpc.server(ThreadPoolExecutor(2))
    rpc.add_SensoriumServicer_to_server(ranking, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield ranking, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait(10)


def measured(service: tuple[Ranking, str], manifest: Path, home: Path) -> dict[str, Any]:
    options = {"rerank": False, "expand": True}
    return evaluate_attributes(service[1], manifest, Home(home), lambda *_: None, options, quick=True)


def test_attributes_and_compositions_are_measured(
    service: tuple[Ranking, str], manifest: Path, tmp_path: Path
) -> None:
    found = measured(service, manifest, tmp_path)
    attributes = found["attributes"]
    assert attributes["queries"] == ITEMS
    # whoever has every word that was asked stands first
    assert attributes["p@1"] == 1.0
    assert attributes["ndcg@10"] == pytest.approx(1.0)
    assert attributes["p@10 both"] == attributes["attainable"]
    assert attributes["latency_ms"]["embed"]["p50"] == 1.0
    assert set(found["composition"]) <= set(COMPOSITIONS)
    for figures in found["composition"].values():
        assert 0 <= figures["p@10 both"] <= figures["attainable"] <= 1
        assert figures["p@10 both"] <= min(figures["p@10 first"], figures["p@10 second"])
    assert set(compare(found, found)) == {
        "attributes",
        *(f"composition / {kind}" for kind in found["composition"]),
    }
    _, written = write_report(found, tmp_path / "evaluation.json")
    assert "Composed queries" in written[1].read_text()


def test_every_request_carries_the_options_and_forgoes_diversity(
    service: tuple[Ranking, str], manifest: Path, tmp_path: Path
) -> None:
    measured(service, manifest, tmp_path)
    asked = service[0].asked
    assert asked
    for request in asked:
        assert request.mmr_lambda == 1.0
        assert request.limit == 100
        assert not request.options.rerank
        assert request.options.HasField("rerank")
        assert request.options.expand
        assert not request.options.HasField("multi_hop")
    pushed = [request for request in asked if any(part.weight < 0 for part in request.parts)]
    assert pushed
    assert all(len(request.parts) == 2 and request.parts[0].data for request in pushed)
    assert any(list(request.target_modalities) == [pb.IMAGE] for request in asked)


def test_another_gallery_is_refused(service: tuple[Ranking, str], manifest: Path, tmp_path: Path) -> None:
    service[0].items = service[0].items[1:]
    with Sensorium(service[1]) as system, pytest.raises(CatalogueMismatchError, match="7 items are indexed"):
        system.require([item.id for item in read_manifest(manifest)])
