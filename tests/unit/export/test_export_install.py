"""Versions are added, never overwritten; ``embedding.json`` names a whole set or is not written."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from export.errors import InstallError
from export.fetch import file_sha256
from export.fusion import calibration_hash
from export.graphs import GRAPHS
from export.install import install_files, install_model, write_embedding
from export.pipeline import Exporter
from export.profile import Profile, load_profile
from export.records import run_step
from export.reranker import Reranker, Shape
from export.reranker_steps import RERANK, is_trained
from export.settings import Settings
from export.tensorrt_plan import GRAPH, MANIFEST
from export.tensorrt_steps import TensorRTSteps
from export.trained_steps import HEADS, heads_sha256

MODEL = "encode_text"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("home", "model_repository", "checkpoints"):
        monkeypatch.setenv(f"SENSORIUM_{name.upper()}", str(tmp_path / name))
    return Settings()


@pytest.fixture
def exporter(settings: Settings) -> Exporter:
    return Exporter(load_profile("lite"), settings, Path("none"))


def _finish(exporter: Exporter, int8: str, precision: str = "int8") -> None:
    """Leave the records and files that the steps before the installation leave."""
    folder = exporter.folder(MODEL)
    texts = {"onnx": ("fp32.onnx", "full"), "int8": ("int8.onnx", int8)}
    for step in ("fetch", "load", "onnx", "parity", "int8", "gate"):
        names = (texts[step][0],) if step in texts else ()
        figures: dict[str, Any] = {"precision": precision, "reasons": ["measured"]} if step == "gate" else {}

        def work(files: Any, step: str = step, figures: dict[str, Any] = figures) -> Any:
            for path in files.values():
                path.write_text(texts[step][1])
            return figures

        run_step(folder, step, int8 + precision, names, work)


def _home(exporter: Exporter) -> Path:
    return exporter.settings.model_repository / MODEL


def _tree(folder: Path) -> dict[str, list[str]]:
    return {str(path.name): sorted(file.name for file in path.iterdir()) for path in folder.iterdir()}


def test_steps_must_be_done(exporter: Exporter) -> None:
    with pytest.raises(InstallError, match="not done yet: fetch"):
        install_model(exporter, MODEL)
    assert not _home(exporter).exists()


def test_int8_keeps_fp32_beside_it(exporter: Exporter) -> None:
    _finish(exporter, "small")
    done = install_model(exporter, MODEL)
    assert (done["version"], done["precision"], done["changed"]) == ("1", "int8", True)
    assert _tree(_home(exporter)) == {"1": ["manifest.json", "model.fp32.onnx", "model.onnx"]}
    assert (_home(exporter) / "1" / "model.onnx").read_text() == "small"
    assert done["sha256"] == file_sha256(_home(exporter) / "1" / "model.onnx")


def test_fp32_stands_alone(exporter: Exporter) -> None:
    _finish(exporter, "small", precision="fp32")
    assert install_model(exporter, MODEL)["precision"] == "fp32"
    assert _tree(_home(exporter)) == {"1": ["manifest.json", "model.onnx"]}
    manifest = json.loads((_home(exporter) / "1" / "manifest.json").read_text())
    assert manifest["why"] == ["measured"]


def test_the_same_weights_keep_their_version(exporter: Exporter) -> None:
    _finish(exporter, "small")
    install_model(exporter, MODEL)
    assert install_model(exporter, MODEL)["changed"] is False
    assert list(_tree(_home(exporter))) == ["1"]


def test_changed_weights_get_the_next_version_and_two_are_kept(exporter: Exporter) -> None:
    for number, weights in enumerate(("one", "two", "three"), start=1):
        _finish(exporter, weights)
        assert install_model(exporter, MODEL)["version"] == str(number)
    assert sorted(_tree(_home(exporter))) == ["2", "3"]
    assert (_home(exporter) / "2" / "model.onnx").read_text() == "two"


def test_an_unfinished_version_is_replaced(exporter: Exporter) -> None:
    (_home(exporter) / "1").mkdir(parents=True)
    (_home(exporter) / "1" / "model.onnx").write_text("half")
    _finish(exporter, "small")
    assert install_model(exporter, MODEL)["version"] == "1"
    assert (_home(exporter) / "1" / "model.onnx").read_text() == "small"


def test_a_config_file_stays(exporter: Exporter) -> None:
    _home(exporter).mkdir(parents=True)
    (_home(exporter) / "config.pbtxt").write_text("name")
    _finish(exporter, "small")
    install_model(exporter, MODEL)
    assert (_home(exporter) / "config.pbtxt").read_text() == "name"


def _finish_tensorrt(exporter: Exporter, graph: str) -> None:
    folder = exporter.folder(MODEL)
    figures: dict[str, Any] = {"precision": "int8+fp16", "reasons": [], "drift": {}, "inputs": 16}
    run_step(folder, "qdq", graph, ("qdq.onnx",), lambda files: files["qdq.onnx"].write_text(graph))
    run_step(folder, "drift", graph, ("tensorrt.onnx",), lambda files: _written(files, graph, figures))


def _written(files: Any, text: str, figures: dict[str, Any]) -> dict[str, Any]:
    files["tensorrt.onnx"].write_text(text)
    return figures


def test_a_graph_for_tensorrt_stands_beside_the_same_weights(exporter: Exporter) -> None:
    _finish(exporter, "small")
    steps, version = TensorRTSteps(exporter), install_model(exporter, MODEL)["version"]
    with pytest.raises(InstallError, match="not done yet: qdq, drift"):
        steps.install(MODEL, version)
    _finish_tensorrt(exporter, "with pairs")
    digest = steps.install(MODEL, version)
    folder = _home(exporter) / version
    assert (folder / GRAPH).read_text() == "with pairs"
    said = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    assert said["graph"] == {"file": GRAPH, "sha256": digest}
    assert said["precision"] == "int8+fp16"
    assert len(said["profiles"]) == 10
    # a plan of this graph is kept, and the next installation of the same weights makes no new version
    said["plans"] = {"8.6": {"graph_sha256": digest}}
    (folder / MANIFEST).write_text(json.dumps(said))
    again = install_model(exporter, MODEL)
    assert (again["version"], again["changed"]) == (version, False)
    steps.install(MODEL, version)
    assert json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["plans"] == said["plans"]
    _finish_tensorrt(exporter, "other pairs")
    steps.install(MODEL, version)
    assert json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["plans"] == {}


def _cache(settings: Settings) -> Profile:
    """A profile whose cached sources are small files."""
    profile = load_profile("lite")
    for source in profile.sources.values():
        for name in source.files.values():
            path = settings.cache / source.sha256 / "files" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
    return profile


def test_files_of_steps_are_never_overwritten(settings: Settings) -> None:
    profile = _cache(settings)
    hashes = install_files(profile, settings)
    folder = settings.model_repository / "decode_text" / "1"
    assert hashes["decode_text"] == {"tokenizer.json": file_sha256(folder / "tokenizer.json")}
    assert install_files(profile, settings) == hashes
    (folder / "tokenizer.json").write_text("another")
    with pytest.raises(InstallError, match="give the step a new version"):
        install_files(profile, settings)


def test_embedding_names_a_whole_set(settings: Settings) -> None:
    profile = load_profile("lite")
    models = {name: {"version": "1", "precision": "int8", "sha256": "0" * 64} for name in GRAPHS}
    target = settings.model_repository / "embedding.json"
    with pytest.raises(InstallError, match="without encode_video"):
        write_embedding(profile, settings, {n: m for n, m in models.items() if n != "encode_video"}, {})
    with pytest.raises(InstallError, match="no usable calibration"):
        write_embedding(profile, settings, models, {})
    assert not target.exists()

    table = settings.checkpoints / "lite" / "calibration.json"
    table.parent.mkdir(parents=True)
    table.write_text(json.dumps({"text->image": {"scale": 12, "bias": -4.5, "fitted_on": "pairs"}}))
    first = write_embedding(profile, settings, models, {})
    content = json.loads(target.read_text())
    assert content["embedding_version"] == first
    assert content["calibration"] == {"text->image": {"scale": 12.0, "bias": -4.5}}

    assert write_embedding(profile, settings, models, {}) == first
    models["encode_text"]["sha256"] = "1" * 64
    assert write_embedding(profile, settings, models, {}) != first


def test_vectors_of_plans_are_another_embedding_version(settings: Settings) -> None:
    profile = load_profile("lite")
    models = {name: {"version": "1", "precision": "int8", "sha256": name} for name in GRAPHS}
    table = settings.checkpoints / "lite" / "calibration.json"
    table.parent.mkdir(parents=True)
    table.write_text(json.dumps({"text->image": {"scale": 1, "bias": 0}}))
    graphs = {name: f"{name} with pairs" for name in models}
    found = [write_embedding(profile, settings, models, {}, each) for each in (None, graphs, graphs)]
    assert found[0] != found[1] == found[2]
    content = json.loads((settings.model_repository / "embedding.json").read_text(encoding="utf-8"))
    assert content["tensorrt"] == graphs
    assert write_embedding(profile, settings, models, {}, {**graphs, "rerank": "x"}) == found[1]
    assert write_embedding(profile, settings, models, {}, {**graphs, "encode_text": "x"}) != found[1]


def test_fusion_stands_beside_its_own_calibration_and_changes_no_version(settings: Settings) -> None:
    profile = load_profile("lite")
    models = {name: {"version": "1", "precision": "int8", "sha256": "0" * 64} for name in GRAPHS}
    folder = settings.checkpoints / "lite"
    folder.mkdir(parents=True)
    calibration = {"text->image": {"scale": 12, "bias": -4.5}}
    (folder / "calibration.json").write_text(json.dumps(calibration))
    plain = write_embedding(profile, settings, models, {})
    assert "fusion" not in json.loads((settings.model_repository / "embedding.json").read_text())

    learned = {"text": {"bias": -6.0, "pairs": {"text->image": {"weight": 0.5, "floor": -5.0}}}}
    (folder / "fusion.json").write_text(
        json.dumps({"fusion": learned, "calibration": calibration_hash(calibration)})
    )
    assert write_embedding(profile, settings, models, {}) == plain
    assert json.loads((settings.model_repository / "embedding.json").read_text())["fusion"] == learned

    (folder / "calibration.json").write_text(json.dumps({"text->image": {"scale": 13, "bias": -4.5}}))
    assert write_embedding(profile, settings, models, {}) != plain
    assert "fusion" not in json.loads((settings.model_repository / "embedding.json").read_text())


def _trained_reranker(settings: Settings) -> Path:
    """Files that stand for heads, and a re-ranker that was trained on them."""
    folder = settings.checkpoints / "lite"
    folder.mkdir(parents=True)
    for head in HEADS:
        (folder / f"{head}.safetensors").write_text(head)
    (folder / "calibration.json").write_text(json.dumps({"text->image": {"scale": 12, "bias": -4.5}}))
    about = {"heads_sha256": heads_sha256(folder), "default_for": ["image", "mixed"]}
    shape = Shape(layers=1, width=8, heads=1, hidden=8)
    metadata = {"shape": json.dumps(asdict(shape)), "about": json.dumps(about)}
    save_file(dict(Reranker(shape).state_dict()), folder / "rerank.safetensors", metadata)
    return folder


def test_a_re_ranker_belongs_to_the_heads_it_was_trained_on(settings: Settings) -> None:
    folder = _trained_reranker(settings)
    assert is_trained(settings, "lite")
    (folder / "image.safetensors").write_text("others")
    assert not is_trained(settings, "lite")
    (folder / "rerank.safetensors").unlink()
    assert not is_trained(settings, "lite")


def test_rows_do_not_depend_on_the_re_ranker(settings: Settings) -> None:
    _trained_reranker(settings)
    profile = load_profile("lite")
    models = {name: {"version": "1", "precision": "int8", "sha256": "0" * 64} for name in GRAPHS}
    without = write_embedding(profile, settings, models, {})
    target = settings.model_repository / "embedding.json"
    assert "rerank" not in json.loads(target.read_text())
    for digest in ("2" * 64, "3" * 64):
        entry = {"version": "1", "precision": "fp32", "sha256": digest}
        assert write_embedding(profile, settings, {**models, RERANK: entry}, {}) == without
        content = json.loads(target.read_text())
        assert content["rerank"] == {**entry, "default_for": ["image", "mixed"]}
        assert set(content["models"]) == set(GRAPHS)
