"""A release is made whole, is what it was when it is read, and says so when it is not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from releases import manifest
from releases.errors import BrokenReleaseError, ReleaseError, ReleaseExistsError, UnknownReleaseError
from releases.manifest import Manifest, files_dir, load, verify
from releases.naming import model_name

EMBEDDING = {
    "profile": "lite",
    "embedding_version": "lite-1-00000000",
    "models": {"encode_text": {"version": "2", "precision": "int8", "sha256": "..."}},
    "rerank": {"version": "1", "precision": "fp32", "sha256": "..."},
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    files = {
        "embedding.json": json.dumps(EMBEDDING),
        "encode_text/config.pbtxt": 'name: "encode_text"',
        "encode_text/1/model.onnx": "old weights",
        "encode_text/2/model.onnx": "weights",
        "encode_text/2/manifest.json": "{}",
        "encode_text/3/model.onnx": "exported, but not served yet",
        "embed_text/config.pbtxt": 'name: "embed_text"',
        "embed_text/configs/embedded.pbtxt": 'backend: "python"',
        "embed_text/1/model.py": "step",
        "embed_text/1/__pycache__/model.pyc": "compiled",
        "rerank/config.pbtxt": 'name: "rerank"',
        "rerank/1/model.onnx": "re-ranker",
    }
    for name, content in files.items():
        path = tmp_path / "repository" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "repository"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def create(home: Path, repository: Path, name: str = "r1") -> Manifest:
    return manifest.create(home, name, repository, repository, repository / "personalise.json")


def test_it_holds_what_is_served_and_nothing_else(home: Path, repository: Path) -> None:
    made = create(home, repository)
    assert made == load(home, "r1") == verify(home, "r1")
    assert made.models == {"embed_text": "1", "encode_text": "2", "rerank": "1"}
    assert set(made.files) == {
        "embedding.json",
        "encode_text/config.pbtxt",
        "encode_text/2/model.onnx",
        "encode_text/2/manifest.json",
        "embed_text/config.pbtxt",
        "embed_text/configs/embedded.pbtxt",
        "embed_text/1/model.py",
        "rerank/config.pbtxt",
        "rerank/1/model.onnx",
    }


def test_what_an_export_removes_stays(home: Path, repository: Path) -> None:
    create(home, repository)
    weights = repository / "encode_text" / "2" / "model.onnx"
    assert weights.samefile(files_dir(home, "r1") / "encode_text" / "2" / "model.onnx")
    weights.unlink()
    (repository / "embed_text" / "1" / "model.py").write_text("another step")
    assert verify(home, "r1").models["encode_text"] == "2"


def test_where_nothing_can_be_linked_it_is_copied(
    home: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", refuse)
    create(home, repository)
    assert verify(home, "r1")


def test_a_release_is_never_made_again(home: Path, repository: Path) -> None:
    create(home, repository)
    with pytest.raises(ReleaseExistsError):
        create(home, repository)


def test_half_a_release_is_none(home: Path, repository: Path) -> None:
    (repository / "embedding.json").write_text('{"profile": "lite"}')
    with pytest.raises(ReleaseError, match="r1"):
        create(home, repository)
    assert manifest.names(home) == []
    assert list((home / "releases").glob(".*partial")) == []
    with pytest.raises(UnknownReleaseError):
        load(home, "r1")


@pytest.mark.parametrize("name", ["", "R1", "a b", "../r1", "-a", "a" * 33, "a__b"])
def test_what_no_folder_or_model_could_be_called_is_refused(home: Path, repository: Path, name: str) -> None:
    with pytest.raises(ReleaseError, match="no name"):
        create(home, repository, name)


def test_changed_weights_are_found_by_whoever_looks_at_them(home: Path, repository: Path) -> None:
    create(home, repository)
    path = files_dir(home, "r1") / "rerank" / "1" / "model.onnx"
    path.unlink()
    path.write_text("others")
    assert load(home, "r1")
    with pytest.raises(BrokenReleaseError, match=r"rerank/1/model\.onnx"):
        verify(home, "r1")
    path.unlink()
    with pytest.raises(BrokenReleaseError, match=r"rerank/1/model\.onnx"):
        verify(home, "r1")


def test_a_changed_embedding_set_is_found_at_once(home: Path, repository: Path) -> None:
    create(home, repository)
    (files_dir(home, "r1") / "embedding.json").write_text(json.dumps(EMBEDDING | {"fusion": {}}))
    with pytest.raises(BrokenReleaseError, match=r"embedding\.json"):
        load(home, "r1")


@pytest.mark.parametrize("field", ["models", "files", "embedding_version", "name", "milvus", "note"])
def test_a_changed_manifest_is_found(home: Path, repository: Path, field: str) -> None:
    create(home, repository)
    path = home / "releases" / "r1" / "manifest.json"
    content = json.loads(path.read_text())
    content[field] = {} if isinstance(content[field], dict) else "changed"
    path.write_text(json.dumps(content))
    with pytest.raises(BrokenReleaseError):
        load(home, "r1")


def test_names_are_in_the_order_of_making(home: Path, repository: Path) -> None:
    for name in ("b", "a", "c"):
        create(home, repository, name)
    assert manifest.names(home) == ["b", "a", "c"]


def test_own_models_have_names_of_their_own() -> None:
    assert model_name("encode_text", "r1") == "encode_text__r1"
    assert model_name("encode_text", None) == "encode_text"
    assert model_name("decode_text", "r1") == "decode_text"
    assert model_name("transcribe_audio", "r1") == "transcribe_audio"


def test_the_repositorys_own_set_keeps_its_name(home: Path, repository: Path) -> None:
    with pytest.raises(ReleaseError, match="own set is served under its embedding version"):
        create(home, repository, EMBEDDING["embedding_version"])
    with pytest.raises(ReleaseError, match="the models of all of them are there"):
        create(home, repository, "models")
    assert manifest.names(home) == []


def test_random_weights_show_in_the_name(home: Path, repository: Path) -> None:
    (repository / "embedding.json").write_text(json.dumps({**EMBEDDING, "random": True}))
    with pytest.raises(ReleaseError, match=r"weights are random.*put 'random' into it"):
        create(home, repository, "r1")
    assert create(home, repository, "r1-random").name == "r1-random"
