from __future__ import annotations

import json
from pathlib import Path

import pytest

from serving.errors import RepositoryError
from serving.repository import is_random, read_config, read_repository

DECODE = 'name: "decode" backend: "python" max_batch_size: 4'
ENCODE = 'name: "encode" backend: "onnxruntime" max_batch_size: 4'
EMBED = """
name: "embed" platform: "ensemble" max_batch_size: 4
ensemble_scheduling {
  step [ { model_name: "decode" model_version: -1 }, { model_name: "encode" model_version: -1 } ]
}
"""


def model(repository: Path, name: str, config: str, *files: str, version: str = "1") -> None:
    folder = repository / name / version
    folder.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    for file in files:
        (folder / file).write_text("")


def test_an_ensemble_is_public_and_its_steps_are_loaded(tmp_path: Path) -> None:
    model(tmp_path, "decode", DECODE, "model.py")
    model(tmp_path, "encode", ENCODE, "model.onnx")
    model(tmp_path, "embed", EMBED)
    found = read_repository(tmp_path)
    assert found.public == ("embed",)
    assert dict(found.steps) == {"embed": ("decode", "encode"), "decode": (), "encode": ()}
    assert dict(found.incomplete) == {}


def test_a_step_without_weights_takes_its_ensemble_along(tmp_path: Path) -> None:
    model(tmp_path, "decode", DECODE, "model.py")
    model(tmp_path, "encode", ENCODE)
    model(tmp_path, "embed", EMBED)
    model(tmp_path, "other", 'backend: "python"', "model.py")
    found = read_repository(tmp_path)
    assert found.public == ("other",)
    assert set(found.steps) == {"other"}, "a decoder without its encoder is of no use"
    assert found.incomplete == {
        "encode": "no model.onnx in version 1",
        "embed": "its step encode is not complete",
    }


def test_another_configuration_decides_what_is_loaded(tmp_path: Path) -> None:
    """Under it the ensemble runs in one process, so its steps are not loaded, but they must be complete."""
    model(tmp_path, "decode", DECODE, "model.py")
    model(tmp_path, "encode", ENCODE)
    model(tmp_path, "embed", EMBED, "model.py")
    (tmp_path / "embed" / "configs").mkdir()
    (tmp_path / "embed" / "configs" / "small.pbtxt").write_text('backend: "python"')
    with pytest.raises(RepositoryError, match="make models"):
        read_repository(tmp_path, "small")
    (tmp_path / "encode" / "1" / "model.onnx").write_text("")
    found = read_repository(tmp_path, "small")
    assert found.public == ("embed",)
    assert dict(found.steps) == {"embed": ()}
    assert dict(read_repository(tmp_path, "other").steps) == dict(read_repository(tmp_path).steps)
    assert set(read_repository(tmp_path).steps) == {"embed", "decode", "encode"}


def test_another_configuration_needs_its_own_files(tmp_path: Path) -> None:
    model(tmp_path, "decode", DECODE, "model.py")
    model(tmp_path, "encode", ENCODE, "model.onnx")
    model(tmp_path, "embed", EMBED)
    (tmp_path / "embed" / "configs").mkdir()
    (tmp_path / "embed" / "configs" / "small.pbtxt").write_text('name: "embed" backend: "python"')
    with pytest.raises(RepositoryError, match="make models"):
        read_repository(tmp_path, "small")
    assert read_repository(tmp_path).public == ("embed",)
    (tmp_path / "embed" / "configs" / "small.pbtxt").write_text('name: "another"')
    with pytest.raises(RepositoryError, match=r"small\.pbtxt"):
        read_repository(tmp_path, "small")


def test_the_newest_version_counts(tmp_path: Path) -> None:
    model(tmp_path, "a", 'backend: "onnxruntime"', "model.onnx", version="9")
    (tmp_path / "a" / "10").mkdir()
    with pytest.raises(RepositoryError, match="make models"):
        read_repository(tmp_path)
    (tmp_path / "a" / "10" / "model.onnx").write_text("")
    assert read_repository(tmp_path).public == ("a",)


def test_default_model_filename_and_required_files(tmp_path: Path) -> None:
    config = """
    backend: "python" default_model_filename: "step.py"
    parameters { key: "required_files" value { string_value: "a.bin, b.bin" } }
    """
    model(tmp_path, "a", config, "step.py", "a.bin")
    model(tmp_path, "b", 'backend: "python"', "model.py")
    assert read_repository(tmp_path).incomplete == {"a": "no b.bin in version 1"}
    (tmp_path / "a" / "1" / "b.bin").write_text("")
    assert read_repository(tmp_path).public == ("a", "b")


@pytest.mark.parametrize(
    "text", ["name: ", 'no_such_field: "x"', 'name: "another"', "input [ { dims: [ x ] } ]"]
)
def test_a_bad_config_is_named(tmp_path: Path, text: str) -> None:
    model(tmp_path, "a", text, "model.py")
    with pytest.raises(RepositoryError, match=r"a/config\.pbtxt"):
        read_config(tmp_path / "a" / "config.pbtxt")


def test_an_empty_repository_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="make models"):
        read_repository(tmp_path)


def released(repository: Path, **versions: str) -> None:
    models = {name: {"version": version} for name, version in versions.items()}
    (repository / "embedding.json").write_text(json.dumps({"models": models}))


def test_a_newer_folder_beside_the_released_version_is_left_alone(tmp_path: Path) -> None:
    model(tmp_path, "encode", ENCODE, "model.onnx", version="2")
    (tmp_path / "encode" / "3").mkdir()
    with pytest.raises(RepositoryError, match="make models"):  # nothing says that 2 is the one
        read_repository(tmp_path)
    released(tmp_path, encode="2")
    found = read_repository(tmp_path)
    assert dict(found.released) == {"encode": "2"}
    config = json.loads(found.configs["encode"])
    assert config["version_policy"] == {"specific": {"versions": ["2"]}}
    assert (config["backend"], config["max_batch_size"]) == ("onnxruntime", 4)


def test_what_is_released_and_not_loaded_is_no_matter(tmp_path: Path) -> None:
    model(tmp_path, "encode", ENCODE, "model.onnx")
    released(tmp_path, encode="1", elsewhere="4")
    assert dict(read_repository(tmp_path).released) == {"encode": "1"}


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"models": {"encode": {}}}', '{"models": {"encode": {"version": "x"}}}']
)
def test_a_release_that_cannot_be_read_is_an_error(tmp_path: Path, text: str) -> None:
    model(tmp_path, "encode", ENCODE, "model.onnx")
    (tmp_path / "embedding.json").write_text(text)
    with pytest.raises(RepositoryError, match=r"embedding\.json"):
        read_repository(tmp_path)


def test_random_weights_are_served_only_where_that_is_allowed(tmp_path: Path) -> None:
    model(tmp_path, "encode", 'backend: "onnxruntime"', "model.onnx")
    manifest = tmp_path / "encode" / "1" / "manifest.json"
    manifest.write_text('{"random": null}')
    assert read_repository(tmp_path).public == ("encode",)
    manifest.write_text('{"random": {"seed": 0}}')
    with pytest.raises(RepositoryError, match=r"random weights.*encode.*--allow-random"):
        read_repository(tmp_path)
    assert read_repository(tmp_path, allow_random=True).public == ("encode",)


def test_a_release_is_random_when_one_of_its_models_is(tmp_path: Path) -> None:
    for name in ("embed_text__one", "encode_text__one", "embed_text__two"):
        model(tmp_path, name, f'name: "{name}" backend: "python"', "model.py")
    (tmp_path / "encode_text__one" / "1" / "manifest.json").write_text('{"random": {"seed": 0}}')
    assert is_random(tmp_path, "embed_text__one")
    assert not is_random(tmp_path, "embed_text__two")


def test_a_step_that_asks_another_model_waits_for_it(tmp_path: Path) -> None:
    asks = 'backend: "python" parameters { key: "required_models" value { string_value: "encode" } }'
    model(tmp_path, "transcribe", asks, "model.py")
    model(tmp_path, "other", 'backend: "python"', "model.py")
    assert read_repository(tmp_path).public == ("other",)
    model(tmp_path, "encode", 'backend: "onnxruntime"', "model.onnx")
    assert read_repository(tmp_path).public == ("encode", "other", "transcribe")
