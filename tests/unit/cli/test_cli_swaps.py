"""When an answer under swaps counts as mixed, and what the swapped sets differ in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.swap_load import Load
from cli.swap_variants import other_fusion, other_precision
from releases.errors import ReleaseError
from sensorium.v1 import sensorium_pb2 as pb

QUERY = ("text", 0)
REFERENCES = {"r1": {QUERY: {"a": 0.9, "b": 0.5}}, "r2": {QUERY: {"a": 0.5, "b": 0.1}}}


def answer(release: str, **scores: float) -> pb.SearchResponse:
    hits = [pb.Hit(item=pb.Item(id=item), score=score) for item, score in scores.items()]
    return pb.SearchResponse(release=release, hits=hits)


@pytest.mark.parametrize(
    ("found", "mixed"),
    [
        (answer("r1", a=0.9, b=0.5), 0),
        (answer("r1", a=0.8, b=0.45), 0),
        (answer("r1", a=0.5, b=0.1), 1),
        (answer("r2", a=0.9, b=0.5), 1),
        (answer("r1"), 1),
        (answer("another", a=0.9, b=0.5), 1),
    ],
)
def test_an_answer_is_that_of_the_release_which_it_names(found: pb.SearchResponse, mixed: int) -> None:
    load = Load("127.0.0.1:1", {}, 1.0, REFERENCES)
    load.check(QUERY, found)
    assert load.mixed == mixed


def repository(tmp_path: Path, precision: str) -> Path:
    """One encoder, served in `precision`."""
    folder = tmp_path / "repository"
    version = folder / "encode_text" / "2"
    version.mkdir(parents=True)
    (folder / "encode_text" / "config.pbtxt").write_text('name: "encode_text"')
    (version / "manifest.json").write_text(json.dumps({"precision": precision, "gate": {}, "files": {}}))
    (version / "model.onnx").write_text(precision)
    embedding = {
        "profile": "lite",
        "embedding_version": "lite-2",
        "models": {"encode_text": {"version": "2", "precision": precision}},
        "fusion": {"text": {"bias": -6.0}},
        "rerank": {},
    }
    (folder / "embedding.json").write_text(json.dumps(embedding))
    return folder


@pytest.mark.parametrize(("served", "other"), [("int8", "fp32"), ("fp32", "int8")])
def test_the_swapped_sets_differ_in_what_they_are_named_after(
    served: str, other: str, tmp_path: Path
) -> None:
    own = repository(tmp_path, served)
    graphs = tmp_path / "home" / "export" / "lite" / "encode_text"
    graphs.mkdir(parents=True)
    for precision in ("int8", "fp32"):
        (graphs / f"{precision}.onnx").write_text(precision)
    fused = json.loads((other_fusion(own, tmp_path / "r2") / "embedding.json").read_text())
    assert fused["fusion"] == {"text": {"bias": -7.0}}
    assert fused["embedding_version"] == "lite-2"
    made = other_precision(own, tmp_path / "home", tmp_path / "r3")
    told = json.loads((made / "embedding.json").read_text())
    assert told["models"]["encode_text"] | {"sha256": ""} == {
        "version": "3",
        "precision": other,
        "sha256": "",
    }
    assert told["embedding_version"] != "lite-2"
    assert not {"fusion", "rerank"} & set(told)
    manifest = json.loads((made / "encode_text" / "3" / "manifest.json").read_text())
    assert (manifest["precision"], list(manifest["files"]), manifest["gate"]) == (other, ["model.onnx"], {})
    assert (made / "encode_text" / "3" / "model.onnx").read_text() == other
    assert (own / "encode_text" / "2" / "model.onnx").read_text() == served
    assert sorted(path.name for path in (own / "encode_text").iterdir()) == ["2", "config.pbtxt"]
    (graphs / f"{other}.onnx").unlink()
    with pytest.raises(ReleaseError, match="make models"):
        other_precision(own, tmp_path / "home", tmp_path / "r4")
