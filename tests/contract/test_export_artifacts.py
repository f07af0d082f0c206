"""What `make models` leaves in the model repository, held against docs/architecture.md."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from export.attention_steps import attention_kinds, attention_trained
from export.fetch import file_sha256
from export.graphs import GRAPHS
from export.profile import load_profile
from export.quantize import integer_share
from export.reranker_steps import default_for, is_trained
from export.settings import Settings

REPOSITORY = Settings().model_repository
PROFILE = load_profile("lite")
MODELS = tuple(GRAPHS)


@pytest.fixture(scope="module")
def embedding() -> dict[str, Any]:
    path = REPOSITORY / "embedding.json"
    if not path.is_file():
        pytest.fail("no model_repository/embedding.json: run `make models`")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _folder(embedding: dict[str, Any], model: str) -> Path:
    return REPOSITORY / model / embedding["models"][model]["version"]


def _manifest(embedding: dict[str, Any], model: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((_folder(embedding, model) / "manifest.json").read_text("utf-8"))
    return content


@cache
def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options)


def _run(path: Path, feed: dict[str, Any]) -> dict[str, Any]:
    session = _session(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def test_embedding_names_the_set(embedding: dict[str, Any]) -> None:
    optional = {"fusion", "rerank", "attend"}
    assert set(embedding) - optional == {"profile", "embedding_version", "models", "calibration"}
    assert embedding["profile"] == "lite"
    prefix, number, digest = embedding["embedding_version"].rsplit("-", 2)
    assert (prefix, number) == ("lite", "1")
    assert len(digest) == 8
    assert int(digest, 16) >= 0
    assert set(embedding["models"]) == set(MODELS)
    for pair, logistic in embedding["calibration"].items():
        assert "->" in pair
        assert set(logistic) == {"scale", "bias"}
        assert np.isfinite(list(logistic.values())).all()
        assert logistic["scale"] > 0


def test_attention_fusion_is_named_if_it_was_trained_on_these_heads(embedding: dict[str, Any]) -> None:
    settings = Settings()
    assert ("attend" in embedding) == attention_trained(settings, "lite")
    if "attend" not in embedding:
        pytest.skip("no attention fusion was trained on these heads: run `make attend`")
    entry = embedding["attend"]
    assert set(entry) == {"version", "precision", "sha256", "kinds"}
    assert entry["kinds"] == attention_kinds(settings, PROFILE)
    assert file_sha256(REPOSITORY / "attend" / entry["version"] / "model.onnx") == entry["sha256"]


def test_a_re_ranker_is_named_if_one_was_trained_on_these_heads(embedding: dict[str, Any]) -> None:
    settings = Settings()
    assert ("rerank" in embedding) == is_trained(settings, "lite")
    if "rerank" not in embedding:
        pytest.skip("no re-ranker was trained on these heads: run `make rerank`")
    entry = embedding["rerank"]
    assert set(entry) == {"version", "precision", "sha256", "default_for"}
    assert entry["default_for"] == default_for(settings, PROFILE)
    folder = REPOSITORY / "rerank" / entry["version"]
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert file_sha256(folder / "model.onnx") == entry["sha256"] == manifest["files"]["model.onnx"]
    assert max(manifest["parity"]["max_abs"].values()) <= PROFILE.parity_max_abs
    assert manifest["gate"]["inputs"] >= 16
    assert (integer_share(folder / "model.onnx") > 0.5) == (entry["precision"] == "int8")


@pytest.mark.parametrize("model", MODELS)
def test_the_newest_version_is_the_one_named(embedding: dict[str, Any], model: str) -> None:
    versions = [int(path.name) for path in (REPOSITORY / model).iterdir() if path.name.isdigit()]
    assert embedding["models"][model]["version"] == str(max(versions))


@pytest.mark.parametrize("model", MODELS)
def test_manifest_tells_source_hashes_precision_and_figures(embedding: dict[str, Any], model: str) -> None:
    manifest, folder, entry = (
        _manifest(embedding, model),
        _folder(embedding, model),
        embedding["models"][model],
    )
    assert {name: file_sha256(folder / name) for name in manifest["files"]} == manifest["files"]
    assert entry["sha256"] == manifest["files"]["model.onnx"]
    assert entry["precision"] == manifest["precision"]
    assert manifest["why"]
    for name in GRAPHS[model].sources:
        assert manifest["sources"][name]["sha256"] == PROFILE.sources[name].sha256
        assert manifest["sources"][name]["files"]
    assert manifest["load"]["parameters"] > 0
    assert set(manifest["load"]["packages"]) == {"torch", "transformers", "safetensors"}
    assert max(manifest["parity"]["max_abs"].values()) <= PROFILE.parity_max_abs
    gate = manifest["gate"]
    assert gate["inputs"] >= 16
    assert set(gate["drift"]) == set(GRAPHS[model].outputs)
    assert set(gate["ndcg"]) == {"fp32", "int8", "loss"}
    assert set(gate["speed"]) == {str(size) for size in PROFILE.models[model].batches}
    assert gate["machine"]["cpu"]


@pytest.mark.parametrize("model", MODELS)
def test_int8_is_served_only_past_the_gate_and_is_int8(embedding: dict[str, Any], model: str) -> None:
    manifest, folder = _manifest(embedding, model), _folder(embedding, model)
    if manifest["precision"] == "fp32":
        assert integer_share(folder / "model.onnx") == 0
        assert not (folder / "model.fp32.onnx").exists()
        return
    gate, limits = manifest["gate"], PROFILE.gate
    assert integer_share(folder / "model.onnx") > 0.5
    assert integer_share(folder / "model.fp32.onnx") == 0
    assert all(row["mean"] >= limits.drift_mean_min for row in gate["drift"].values())
    assert gate["ndcg"]["loss"] <= limits.ndcg_loss_max
    assert all(timed["speed_up"] >= limits.speed_up_min for timed in gate["speed"].values())


@pytest.mark.parametrize("model", MODELS)
def test_graph_has_the_tensors_of_the_architecture(embedding: dict[str, Any], model: str) -> None:
    path = _folder(embedding, model) / "model.onnx"
    proto = onnx.load(str(path))
    assert next(entry.version for entry in proto.opset_import if entry.domain == "") >= 17
    types = {"pixels": "uint8", "frames": "uint8", "samples": "float"}
    session = _session(path)
    for tensor in session.get_inputs():
        axes = GRAPHS[model].inputs[tensor.name]
        assert tensor.type == f"tensor({types.get(tensor.name, 'int64')})"
        assert [side if isinstance(side, int) else "dynamic" for side in tensor.shape] == [
            axis if isinstance(axis, int) else "dynamic" for axis in axes
        ]
    for output in session.get_outputs():
        assert output.type == "tensor(float)"
        assert not isinstance(output.shape[0], int)


def _input(model: str, rows: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    feeds: dict[str, Any] = {}
    if model == "encode_text":
        feeds["input_ids"] = random.integers(1000, 20000, (rows, 16))
        feeds["attention_mask"] = np.ones((rows, 16), np.int64)
    if model == "encode_image":
        feeds["pixels"] = random.integers(0, 256, (rows, 260, 260, 3), np.uint8)
    if model == "encode_video":
        feeds["frames"] = random.integers(0, 256, (rows, 8, 260, 260, 3), np.uint8)
    if model in ("encode_audio", "encode_video"):
        feeds["samples"] = random.normal(0, 0.1, (rows, 16000)).astype(np.float32)
        feeds["mask"] = np.ones((rows, 16000), np.int64)
    return feeds


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rows", [1, 3])
def test_outputs_are_unit_norm_in_any_batch(embedding: dict[str, Any], model: str, rows: int) -> None:
    outputs = _run(_folder(embedding, model) / "model.onnx", _input(model, rows))
    assert {name: array.shape for name, array in outputs.items()} == {
        name: (rows, size) for name, size in GRAPHS[model].outputs.items()
    }
    for array in outputs.values():
        np.testing.assert_allclose(np.linalg.norm(array, axis=1), 1, atol=1e-4)


def _full_precision(embedding: dict[str, Any], model: str) -> Path:
    folder = _folder(embedding, model)
    full = folder / "model.fp32.onnx"
    return full if full.is_file() else folder / "model.onnx"


def test_text_does_not_depend_on_its_bucket_or_batch(embedding: dict[str, Any]) -> None:
    path, feed = _full_precision(embedding, "encode_text"), _input("encode_text", 2)
    feed["attention_mask"][0, 9:] = 0
    together = _run(path, feed)["embedding"]
    for length in (16, 64, 512, 1024):
        alone = {name: np.zeros((1, length), np.int64) for name in feed}
        for name, row in alone.items():
            row[0, :9] = feed[name][0, :9]
        np.testing.assert_allclose(_run(path, alone)["embedding"][0], together[0], atol=1e-5)


@pytest.mark.parametrize("model", ["encode_audio", "encode_video"])
def test_sound_does_not_depend_on_its_bucket(embedding: dict[str, Any], model: str) -> None:
    path, feed = _full_precision(embedding, model), _input(model, 1)
    feed["mask"][0, 9000:] = 0
    feed["samples"] *= feed["mask"]
    longer = feed | {name: np.pad(feed[name], ((0, 0), (0, 16000))) for name in ("samples", "mask")}
    short, long = _run(path, feed), _run(path, longer)
    for name in short:
        np.testing.assert_allclose(long[name], short[name], atol=1e-5)


def test_a_silent_video_has_no_sound_in_its_native_vector(embedding: dict[str, Any]) -> None:
    feed = _input("encode_video", 1)
    feed["mask"][:] = 0
    outputs = _run(_folder(embedding, "encode_video") / "model.onnx", feed)
    assert not outputs["native"][0, -288:].any()
    assert np.isfinite(outputs["embedding"]).all()


@pytest.mark.parametrize("step", list(PROFILE.files))
def test_files_of_python_steps(embedding: dict[str, Any], step: str) -> None:
    folder = REPOSITORY / step / "1"
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert set(manifest["files"]) == set(PROFILE.files[step])
    assert {name: file_sha256(folder / name) for name in manifest["files"]} == manifest["files"]
