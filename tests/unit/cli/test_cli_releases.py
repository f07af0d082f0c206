"""The models of a release beside the repository's, one command at a time, and when the gate refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fixtures_triton import ROOT

from cli.release_gate import Figure
from cli.release_models import models_dir, remove_models, write_models
from cli.releasing import Releasing
from orchestrator.settings import Settings
from releases.command_lock import at_work
from releases.errors import StateError
from releases.manifest import EMBEDDING, Manifest, create, files_dir
from releases.naming import model_name, transcribes
from serving.repository import read_config, read_staged

KINDS = ("text", "image", "audio", "video")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The committed configurations, with files that stand for weights."""
    folder = tmp_path / "repository"
    versions = {f"encode_{kind}": "3" for kind in KINDS}
    for config in (ROOT / "model_repository").glob("*/config.pbtxt"):
        name = config.parent.name
        version = folder / name / versions.get(name, "1")
        version.mkdir(parents=True)
        for source in (config, *config.parent.glob("configs/*.pbtxt")):
            target = folder / name / source.relative_to(config.parent)
            target.parent.mkdir(exist_ok=True)
            target.write_text(source.read_text())
        said = read_config(config)
        if said.platform != "ensemble":
            (version / ("model.onnx" if said.backend == "onnxruntime" else "model.py")).write_text(name)
        if name in ("decode_text", "transcribe_audio"):
            (version / "tokenizer.json").write_text("{}")
    (folder / "embed_text" / "1" / "model.py").write_text("embed_text")
    models = {name: {"version": version} for name, version in versions.items()}
    embedding = {"profile": "lite", "embedding_version": "lite-3", "models": models}
    (folder / EMBEDDING).write_text(json.dumps(embedding))
    return folder


@pytest.fixture
def manifest(tmp_path: Path, repository: Path) -> Manifest:
    return create(tmp_path, "r1", repository, ROOT / "milvus", tmp_path / "none")


@pytest.mark.parametrize("config_name", ["", "embedded"])
def test_the_models_of_a_release_are_complete_and_its_own(
    tmp_path: Path, repository: Path, manifest: Manifest, config_name: str
) -> None:
    models = write_models(tmp_path, manifest, repository)
    staged = read_staged(models_dir(tmp_path), config_name)
    assert (
        sorted(staged)
        == models
        == sorted([f"embed_{kind}__r1" for kind in KINDS] + ["attend__r1", "rerank__r1"])
    )
    assert staged["embed_image__r1"] == ("encode_image__r1",)
    assert staged["embed_text__r1"] == (() if config_name else ("encode_text__r1",))


def test_configurations_name_the_release_and_exact_versions(
    tmp_path: Path, repository: Path, manifest: Manifest
) -> None:
    write_models(tmp_path, manifest, repository)
    for file in models_dir(tmp_path).glob("*__r1/**/*.pbtxt"):
        config = read_config(file)  # refuses a name that is not the folder's
        (version,) = config.version_policy.specific.versions
        assert str(version) == manifest.models[config.name.removesuffix("__r1")]
        for step in config.ensemble_scheduling.step:
            plain = step.model_name.removesuffix("__r1")
            assert str(step.model_version) == manifest.models[plain]
            assert plain.startswith("decode_") == (step.model_name == plain), "only decoders are shared"


def test_a_decoder_that_has_changed_is_no_longer_shared(
    tmp_path: Path, repository: Path, manifest: Manifest
) -> None:
    (repository / "decode_image" / "1" / "model.py").write_text("another")
    write_models(tmp_path, manifest, repository)
    steps = [
        step.model_name
        for step in read_config(
            models_dir(tmp_path) / "embed_image__r1" / "config.pbtxt"
        ).ensemble_scheduling.step
    ]
    assert steps == ["decode_image__r1", "encode_image__r1"]
    assert (models_dir(tmp_path) / "decode_image__r1" / "1" / "model.py").read_text() == "decode_image"


def test_another_transcription_is_the_releases_own(
    tmp_path: Path, repository: Path, manifest: Manifest
) -> None:
    write_models(tmp_path, manifest, repository)
    assert not transcribes(tmp_path, "r1")
    (repository / "transcribe_audio" / "1" / "model.py").write_text("another")
    write_models(tmp_path, manifest, repository)
    assert transcribes(tmp_path, "r1")
    assert model_name("transcribe_audio", "r1", transcribing=True) == "transcribe_audio__r1"


def test_removing_takes_one_release_only(tmp_path: Path, repository: Path, manifest: Manifest) -> None:
    other = create(tmp_path, "r1-b", repository, ROOT / "milvus", tmp_path / "none")
    write_models(tmp_path, manifest, repository)
    kept = write_models(tmp_path, other, repository)
    remove_models(tmp_path, "r1")
    assert sorted(read_staged(models_dir(tmp_path))) == kept
    assert (files_dir(tmp_path, "r1") / "encode_text" / "3" / "model.onnx").is_file()


def test_a_staged_model_that_lacks_a_file_or_cannot_be_read_is_passed_over(
    tmp_path: Path, repository: Path, manifest: Manifest
) -> None:
    write_models(tmp_path, manifest, repository)
    (models_dir(tmp_path) / "encode_audio__r1" / "3" / "model.onnx").unlink()
    (models_dir(tmp_path) / "rerank__r1" / "config.pbtxt").write_text("{")
    staged = read_staged(models_dir(tmp_path))
    assert {"embed_audio__r1", "rerank__r1"}.isdisjoint(staged)
    assert "embed_image__r1" in staged


def test_what_loads_or_unloads_models_is_done_one_at_a_time(tmp_path: Path, manifest: Manifest) -> None:
    releasing = Releasing(Settings(home=tmp_path), ROOT / "milvus", "127.0.0.1:1")
    with at_work(tmp_path, "stage r0"):
        for command in (
            lambda: releasing.stage(manifest.name, tmp_path / "none"),
            lambda: releasing.promote(manifest.name),
            lambda: releasing.unstage(manifest.name),
        ):
            with pytest.raises(StateError, match=r"at work: stage r0 \(process \d+\)"):
                command()
        # What must never wait: it says what the state alone says.
        with pytest.raises(StateError, match="nothing to go back to"):
            releasing.rollback()
    with pytest.raises(StateError, match="not staged"):
        releasing.unstage(manifest.name)


@pytest.mark.parametrize(
    ("value", "at_most", "passed"),
    [(0.5, False, True), (0.49, False, False), (0.5, True, True), (0.51, True, False)],
)
def test_a_figure_is_held_to_its_bound(value: float, at_most: bool, passed: bool) -> None:
    figure = Figure("x", value, 0.5, at_most)
    assert figure.passed is passed
    assert ("FAILED" in str(figure)) is not passed


@pytest.mark.parametrize("at_most", [False, True])
def test_what_is_no_number_passes_no_gate(at_most: bool) -> None:
    assert not Figure("x", float("nan"), 0.5, at_most).passed
