"""An export of small encoders with random weights, from nothing to a repository, and its marks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import onnx
import pytest
from small_profile import CONFIGS, small_inputs, small_profile

from export import external
from export.errors import ExportError, ProfileError
from export.fetch import file_sha256
from export.layout import TEMPLATE, lay_out, resized, settings_of
from export.measure import drift
from export.pipeline import STEPS
from export.profile import Inputs, Origin, load_profile
from export.run import run
from export.sessions import open_session, run_all
from export.settings import Settings
from export.sizes import render_sizes
from export.tensorrt_plan import GRAPH, MANIFEST
from export.tensorrt_rules import violations
from export.tensorrt_steps import TARGETS
from serving.errors import RepositoryError
from serving.repository import read_config, read_repository


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own with the caches of the real one."""
    settings = Settings()
    if not (settings.home / "catalogues").is_dir():
        pytest.skip("no catalogue: run `make catalogue`")
    (tmp_path / "export").mkdir()
    for name in ("cache", "catalogues", "export/lite"):
        (tmp_path / name).symlink_to(settings.home.absolute() / name)
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path))
    return tmp_path


def test_from_nothing_to_a_repository_that_says_what_it_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, chosen = small_profile(), ["encode_text", "encode_image"]
    monkeypatch.setattr(external, "LIMIT_BYTES", 3_000_000)  # the text encoder's words alone are more
    run(STEPS, profile, chosen, None)
    repository = settings_of(profile, Settings()).model_repository
    assert repository == home / "repositories" / "reference-random"
    for model in chosen:
        folder = repository / model / "1"
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["random"] == {"seed": 0}
        assert max(manifest["parity"]["max_abs"].values()) <= 1e-4
        assert manifest["gate"]["ndcg"] is None
        beside = {path.name for path in folder.glob("*.data")}
        assert bool(beside) == (model == "encode_text"), "weights above the limit stand beside their graph"
        assert beside <= set(manifest["files"])
    assert not (repository / "embedding.json").exists(), "two encoders are no whole set"
    with pytest.raises(RepositoryError, match=r"random weights.*encode_image.*--allow-random"):
        read_repository(repository)
    assert read_repository(repository, allow_random=True).public == ("embed_image", "embed_text")
    assert list(read_config(repository / "decode_image" / "config.pbtxt").output[0].dims) == [64, 64, 3]
    table = render_sizes(profile, Settings())
    assert re.search(r"^\| encode_text \| 1\.0 \|", table, re.MULTILINE), table

    before = (repository / "encode_text" / "1" / "model.onnx").stat().st_mtime_ns
    run(STEPS, profile, chosen, None)
    assert (repository / "encode_text" / "1" / "model.onnx").stat().st_mtime_ns == before, "nothing changed"
    run(STEPS, small_profile(1), ["encode_text"], None)
    assert (repository / "encode_text" / "2").is_dir(), "another seed is another version"


def test_a_large_graph_for_tensorrt_has_its_tensors_beside_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of sounds, whose logits have as many frames as there are: drift is measured on vectors alone."""
    profile, model = small_profile(), "encode_audio"
    monkeypatch.setattr(external, "LIMIT_BYTES", 1_000_000)
    run(TARGETS["tensorrt-graphs"], profile, [model], None, "tensorrt-graphs")
    folder = settings_of(profile, Settings()).model_repository / model / "1"
    said = json.loads((folder / MANIFEST).read_text())
    assert said["precision"] == "int8+fp16"
    assert said["qdq"]["quantized"] == {"MatMul": 10}
    assert set(said["drift"]["drift"]) == {"embedding", "native"}
    assert {GRAPH: said["graph"]["sha256"], **said["graph"]["beside"]} == {
        name: file_sha256(folder / name) for name in (GRAPH, "tensorrt.data")
    }
    assert (folder / GRAPH).stat().st_size < (folder / "tensorrt.data").stat().st_size
    assert violations(onnx.load(str(folder / GRAPH))) == []
    given, plain = small_inputs(model), Settings().work(profile.label) / model / "fp32.onnx"
    full, small = (
        run_all(open_session(path, 1, exact=True), given, 1, ["logits"]) for path in (plain, folder / GRAPH)
    )
    assert drift(full, small)["embedding"]["worst"] > 0.99
    run(("install",), profile, [model], None)
    assert not (folder.parent / "2").exists(), "graphs for TensorRT are no part of the version"


def test_models_on_embeddings_read_the_vectors_of_lite(home: Path) -> None:
    if not (home / "export" / "lite" / "encode_image" / "fp32.onnx").is_file():
        pytest.skip("the encoders of lite are not exported: run `make models`")
    profile = small_profile()
    run(TARGETS["tensorrt-graphs"], profile, ["attend"], None, "tensorrt-graphs")
    run(STEPS, profile, ["rerank"], None)
    repository = settings_of(profile, Settings()).model_repository
    for model in ("attend", "rerank"):
        manifest = json.loads((repository / model / "1" / "manifest.json").read_text())
        assert manifest["random"] == {"seed": 0}
        assert manifest["gate"]["vectors"] == "lite"
        assert max(manifest["parity"]["max_abs"].values()) <= 1e-4
        assert (repository / model / "configs" / "tensorrt.pbtxt").is_file()
    said = json.loads((repository / "attend" / "1" / MANIFEST).read_text())
    assert said["drift"]["drift"]["composed"]["worst"] > 0.99
    table = render_sizes(profile, Settings())
    assert [line.split(" | ")[0] for line in table.splitlines()[2:4]] == ["| rerank", "| attend"]


def test_without_the_encoders_of_lite_it_says_what_to_run(home: Path) -> None:
    (home / "export" / "lite").unlink()
    with pytest.raises(ExportError, match=r"encode_text: step onnx.*`python -m export onnx --profile lite`"):
        run(STEPS, small_profile(), ["attend"], None)


def test_sizes_are_replaced_wherever_they_stand() -> None:
    for config in TEMPLATE.glob("*/config.pbtxt"):
        text = resized(config.read_text(), Inputs(side_px=224, frames=32))
        assert "260" not in text
        assert text.count("224, 224, 3 ]") == config.read_text().count("260, 260, 3 ]")
        assert text.count("[ 32, 224") == config.read_text().count("[ 8, 260")


def test_what_a_profile_cannot_mean(home: Path) -> None:
    for change, why in (
        ({"architecture": "nothing"}, r"there is no export\.architectures\.nothing"),
        ({"config": {"hidden_size": 33}}, "33"),
    ):
        content = small_profile().model_dump()
        content["models"]["encode_text"]["encoder"] |= change
        profile = type(small_profile()).model_validate(content)
        with pytest.raises(ProfileError, match=why):
            run(("fetch", "load"), profile, ["encode_text"], None)


def test_every_profile_is_complete() -> None:
    for name, configs in CONFIGS.items():
        profile = load_profile(name, Origin(kind="random"))
        assert set(profile.models) == set(configs)
        assert profile.label == f"{name}-random"
        for source in profile.hub.values():
            assert all(file.licence for file in source.files.values())


def test_transcription_reads_the_logits_of_the_profiles_own_encoder(tmp_path: Path) -> None:
    settings = Settings().model_copy(update={"model_repository": tmp_path})
    lay_out(small_profile(), settings)
    config = read_config(tmp_path / "transcribe_audio" / "config.pbtxt")
    assert config.parameters["required_models"].string_value == "encode_audio"
    steps = {path.name for path in (tmp_path / "transcribe_audio" / "1").iterdir()}
    assert steps == {"ctc.py", "model.py", "tokens.py", "vocabulary.py"}
    logits = read_config(tmp_path / "encode_audio" / "config.pbtxt").output[2]
    assert (logits.name, list(logits.dims)) == ("logits", [-1, 32])
    lay_out(small_profile(), settings)
    assert len(read_config(tmp_path / "encode_audio" / "config.pbtxt").output) == 3, "laid out once more"


def test_a_profile_without_logits_keeps_the_committed_transcription(tmp_path: Path) -> None:
    lay_out(small_profile(name="open"), Settings().model_copy(update={"model_repository": tmp_path}))
    step = tmp_path / "transcribe_audio" / "1"
    assert {"moonshine.py", "speech.json"} <= {path.name for path in step.iterdir()}
    assert len(read_config(tmp_path / "encode_audio" / "config.pbtxt").output) == 2
