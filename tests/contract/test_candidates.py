"""The collector of candidates, against a server of the public API that answers what it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import pytest

from catalogue.manifest import ManifestItem
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc
from training.candidates import LIMIT, PAIRS, collect
from training.errors import CandidatesError

ITEMS = [
    ManifestItem(id="frog", title="Frog", description="A frog."),
    ManifestItem(id="toad", title="Toad", description="A toad."),
    ManifestItem(id="frog-2", title="Frog", description="a frog"),
]


@dataclass(frozen=True)
class Query:
    name: str
    item: ManifestItem
    kind: str
    parts: tuple[str | Path, ...]


def evidence(space: str, item: pb.Modality, **rest: float) -> pb.Signal:
    return pb.Signal(query_modality=pb.AUDIO, item_modality=item, space=space, **rest)


@dataclass
class Server(rpc.SensoriumServicer):
    asked: list[pb.SearchRequest] = field(default_factory=list)
    degraded: tuple[str, ...] = ()
    items: int = len(ITEMS)

    def GetStatus(self, request: pb.GetStatusRequest, context: object) -> pb.Status:  # noqa: N802
        return pb.Status(items=self.items, embedding_version="lite-1-00000000")

    def Search(self, request: pb.SearchRequest, context: object) -> pb.SearchResponse:  # noqa: N802
        self.asked.append(request)
        toad = [evidence("unified", pb.IMAGE, similarity=0.5, score=0.25, weight=1.0)]
        frog = [
            evidence("audio", pb.AUDIO, similarity=0.75, score=0.5, weight=1.0),
            evidence("transcript", pb.TEXT, similarity=0.125, score=0.0625, weight=0.5, part=1),
        ]
        hits = [
            pb.Hit(item=pb.Item(id="toad"), score=0.75, signals=toad),
            pb.Hit(item=pb.Item(id="frog"), score=0.5, signals=frog),
        ]
        return pb.SearchResponse(hits=hits, degraded=self.degraded)


@pytest.fixture
def served() -> Iterator[tuple[Server, str]]:
    servicer = Server()
    server = grpc.server(ThreadPoolExecutor(1))
    rpc.add_SensoriumServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None).wait()


def quiet(what: str, done: int, total: int) -> None:
    return


def test_the_tables_hold_every_candidate_and_signal(served: tuple[Server, str], tmp_path: Path) -> None:
    servicer, target = served
    sound = tmp_path / "frog.wav"
    sound.write_bytes(b"RIFF")
    queries = [Query("frog/speech", ITEMS[0], "speech", (sound, "green"))]
    found = collect(target, queries, ITEMS, tmp_path, quiet)
    (request,) = servicer.asked
    assert (request.limit, request.mmr_lambda) == (LIMIT, 1.0)
    assert [part.WhichOneof("content") for part in request.parts] == ["data", "text"]
    assert found.name.tolist() == ["frog/speech"]
    assert found.kind.tolist() == ["speech"]
    assert found.parts.tolist() == [2]
    assert found.answers.tolist() == [2]  # a second frog is in the catalogue, though it was not found
    assert found.items[found.item].tolist() == ["toad", "frog"]
    assert found.relevant.tolist() == [False, True]
    assert found.score.tolist() == [0.75, 0.5]
    assert [PAIRS[pair] for pair in found.pair] == [
        "audio->image",
        "audio->audio/native",
        "transcript->text",
    ]
    assert found.candidate.tolist() == [0, 1, 1]
    assert found.part.tolist() == [0, 0, 1]
    assert found.similarity.tolist() == [0.5, 0.75, 0.125]
    assert found.probability.tolist() == [0.25, 0.5, 0.0625]
    assert found.weight.tolist() == [1.0, 1.0, 0.5]
    dense = found.evidence(found.similarity)
    assert dense.shape == (2, len(PAIRS))
    assert np.isfinite(dense).sum() == 3
    assert dense[1, PAIRS.index("audio->audio/native")] == 0.75


def test_what_was_found_is_read_again_until_a_query_changes(
    served: tuple[Server, str], tmp_path: Path
) -> None:
    servicer, target = served
    query = Query("frog/text", ITEMS[0], "paraphrase", ("green animal",))
    first = collect(target, [query], ITEMS, tmp_path, quiet)
    again = collect(target, [query], ITEMS, tmp_path, quiet)
    assert len(servicer.asked) == 1
    np.testing.assert_array_equal(first.item, again.item)
    other = Query("frog/text", ITEMS[0], "paraphrase", ("green animals",))
    collect(target, [other], ITEMS, tmp_path, quiet)
    assert len(servicer.asked) == 2


def test_a_degraded_answer_is_no_example(served: tuple[Server, str], tmp_path: Path) -> None:
    servicer, target = served
    servicer.degraded = ("retrieve: image",)
    query = Query("frog/text", ITEMS[0], "paraphrase", ("green animal",))
    with pytest.raises(CandidatesError, match="degraded"):
        collect(target, [query], ITEMS, tmp_path, quiet)
    assert not list(tmp_path.rglob("*.npz"))


def test_another_catalogue_is_refused(served: tuple[Server, str], tmp_path: Path) -> None:
    servicer, target = served
    servicer.items = 5
    with pytest.raises(CandidatesError, match="5 items are indexed"):
        collect(target, [], ITEMS, tmp_path, quiet)
