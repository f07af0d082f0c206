"""Reads a model repository: which models are complete, which are public, how ensembles are wired.

A model is complete when the version folder to serve holds what its backend loads, and an ensemble when all
its steps are. Models that have no weights yet are left out rather than loaded and failed.

The version to serve is the one that embedding.json names, for models of which it names one: a newer folder
beside it is half written, spoilt, or belongs to another set. Of other models it is the newest.

A server may be told to prefer another configuration, configs/<name>.pbtxt, where a model has one. That one
may run an ensemble's steps in one process, so it decides what is loaded; config.pbtxt still says what is a
step of what.

Models of releases stand in a second folder. Their ensembles may run models of the first one, and one that
cannot be read is passed over: it may not keep the others from being served.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from serving.errors import RepositoryError

__all__ = ["Repository", "is_random", "read_config", "read_repository", "read_staged"]

_CONFIG = "config.pbtxt"
_RELEASED = "embedding.json"
_MANIFEST = "manifest.json"
# What a backend loads from a version folder when config.pbtxt names no default_model_filename.
_DEFAULT_FILES = {"python": "model.py", "onnxruntime": "model.onnx"}
_ENSEMBLE = "ensemble"
# Beside the model file, a version folder must hold the files named by this parameter (separated by commas).
_REQUIRED_FILES = "required_files"
# Models that a Python step asks itself: without them it is not complete, though it is no ensemble.
_REQUIRED_MODELS = "required_models"
# <model>__<release>: how models of releases are called.
_SEPARATOR = "__"


@dataclass(frozen=True, slots=True)
class Repository:
    """Models that can be served now."""

    path: Path
    steps: Mapping[str, tuple[str, ...]]
    """Every model to load -> the models it runs (none unless it is an ensemble)."""
    public: tuple[str, ...]
    """Those among them that are no other model's step: what clients call."""
    incomplete: Mapping[str, str]
    """Models of the repository that cannot be served yet -> what they lack."""
    released: Mapping[str, str]
    """Models to load -> the version that embedding.json names."""
    configs: Mapping[str, str]
    """The same models -> their configuration as JSON, with that version and no other."""


def read_config(path: Path) -> model_config_pb2.ModelConfig:
    """A config.pbtxt or configs/<name>.pbtxt as a message.

    Raises RepositoryError when it cannot be read or breaks the schema.
    """
    config = model_config_pb2.ModelConfig()
    try:
        text_format.Parse(path.read_text(encoding="utf-8"), config)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise RepositoryError(f"{path}: {error}") from error
    model = path.parent.name if path.name == _CONFIG else path.parent.parent.name
    if not config.name:
        config.name = model
    if config.name != model:
        raise RepositoryError(f"{path} names its model {config.name!r}, not as its folder")
    return config


def read_repository(path: Path, config_name: str = "", allow_random: bool = False) -> Repository:
    """Scan a repository for a server that is started with --model-config-name=`config_name`.

    Raises RepositoryError when it is unreadable, holds no complete model, or would serve random weights that
    are not allowed.
    """
    declared = {file.parent.name: read_config(file) for file in sorted(path.glob(f"*/{_CONFIG}"))}
    chosen = path.glob(f"*/configs/{config_name}.pbtxt") if config_name else ()
    served = declared | {file.parent.parent.name: read_config(file) for file in chosen}
    released = _released(path)
    incomplete = {
        name: lack
        for name in declared
        if (
            lack := _lacking_files(path / name, declared[name], released)
            or _lacking_files(path / name, served[name], released)
        )
    }
    # An ensemble of an incomplete model is incomplete, and so is an ensemble of that one.
    while True:
        known = len(incomplete)
        for name, config in declared.items():
            for step in (*_steps(config), *_asked(config)):
                if step not in declared or step in incomplete:
                    incomplete.setdefault(name, f"its step {step} is not complete")
        if len(incomplete) == known:
            break
    inner = {step for config in declared.values() for step in _steps(config)}
    public = tuple(sorted(name for name in declared if name not in inner and name not in incomplete))
    if not public:
        raise RepositoryError(f"no model in {path} is complete: run `make models` (python -m export)")
    # A step whose ensemble is not complete is of no use to anybody.
    loaded = {*public, *(step for name in public for step in _steps(served[name]))}
    steps = {name: _steps(served[name]) for name in sorted(loaded)}
    untrained = [name for name in steps if _is_random(path / name / _version(path / name, released))]
    if untrained and not allow_random:
        raise RepositoryError(
            f"random weights in {path}: {', '.join(untrained)}. What they give means nothing: start with "
            "--allow-random (SENSORIUM_ALLOW_RANDOM=true) to try the system with them"
        )
    chosen_versions = {name: version for name, version in released.items() if name in steps}
    return Repository(
        path=path,
        steps=steps,
        public=public,
        incomplete=incomplete,
        released=chosen_versions,
        configs={name: _only(served[name], version) for name, version in chosen_versions.items()},
    )


def _released(path: Path) -> dict[str, str]:
    """Model -> version, as embedding.json has it; nothing where there is no such file.

    Raises RepositoryError when it is not what `python -m export` writes.
    """
    try:
        text = (path / _RELEASED).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        found = json.loads(text)
        named = {**found["models"], **{name: found[name] for name in ("attend", "rerank") if name in found}}
        return {name: str(int(model["version"])) for name, model in named.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise RepositoryError(f"{path / _RELEASED} is not what an export writes: {error!r}") from error


def _is_random(version: Path) -> bool:
    """Whether the manifest of a version says so. Models of hand have none."""
    try:
        content = json.loads((version / _MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise RepositoryError(f"{version / _MANIFEST} cannot be read: {error}") from error
    return isinstance(content, dict) and content.get("random") is not None


def _only(config: model_config_pb2.ModelConfig, version: str) -> str:
    pinned = model_config_pb2.ModelConfig()
    pinned.CopyFrom(config)
    pinned.version_policy.specific.versions[:] = [int(version)]
    return json_format.MessageToJson(pinned, preserving_proto_field_name=True)


def read_staged(path: Path, config_name: str = "") -> dict[str, tuple[str, ...]]:
    """What clients call in the folder of the releases' models -> the models of that folder that it runs.

    Only what is complete. A folder that does not exist holds nothing.
    """
    declared: dict[str, tuple[str, ...]] = {}
    served: dict[str, tuple[str, ...]] = {}
    for file in sorted(path.glob(f"*/{_CONFIG}")):
        model = file.parent
        other = model / "configs" / f"{config_name}.pbtxt"
        try:
            config = read_config(file)
            chosen = read_config(other) if config_name and other.exists() else config
            lack = _lacking_files(model, config, {}) or _lacking_files(model, chosen, {})
        except (RepositoryError, OSError):  # also one that is just being taken away
            continue
        if not lack:
            declared[model.name], served[model.name] = _steps(config), _steps(chosen)
    inner = {step for steps in declared.values() for step in steps}
    # A shared step is no model of this folder; an own one is named as its ensemble is.
    return {
        name: tuple(step for step in served[name] if _SEPARATOR in step)
        for name, steps in declared.items()
        if name not in inner and all(step in declared for step in steps if _SEPARATOR in step)
    }


def is_random(path: Path, model: str) -> bool:
    """Whether a model among those of releases, or another one of its release, has random weights."""
    _, separator, release = model.partition(_SEPARATOR)
    return any(
        _is_random(version)
        for folder in path.glob(f"*{separator}{release}" if release else model)
        for version in folder.glob("[0-9]*")
    )


def _steps(config: model_config_pb2.ModelConfig) -> tuple[str, ...]:
    return tuple(step.model_name for step in config.ensemble_scheduling.step)


def _asked(config: model_config_pb2.ModelConfig) -> tuple[str, ...]:
    """Models that it asks while it answers. Looked up first: reading a missing key would make it."""
    if _REQUIRED_MODELS not in config.parameters:
        return ()
    names = config.parameters[_REQUIRED_MODELS].string_value.split(",")
    return tuple(filter(None, (name.strip() for name in names)))


def _version(folder: Path, released: Mapping[str, str]) -> str:
    """The version to serve, or an empty string without any."""
    versions = [int(p.name) for p in folder.iterdir() if p.is_dir() and p.name.isdecimal() and p.name != "0"]
    return released.get(folder.name, str(max(versions))) if versions else ""


def _lacking_files(folder: Path, config: model_config_pb2.ModelConfig, released: Mapping[str, str]) -> str:
    """What the version to serve lacks, or an empty string."""
    chosen = _version(folder, released)
    if not chosen:
        return "no version folder"
    version = folder / chosen
    if config.platform == _ENSEMBLE:
        return ""
    needed = [config.default_model_filename or _DEFAULT_FILES.get(config.backend, "")]
    needed += (
        config.parameters[_REQUIRED_FILES].string_value.split(",")
        if _REQUIRED_FILES in config.parameters
        else []
    )
    for name in filter(None, (part.strip() for part in needed)):
        if not (version / name).exists():
            return f"no {name} in version {version.name}"
    return ""
