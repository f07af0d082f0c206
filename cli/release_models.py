"""The Triton models of a release: those of its files, under names of their own, in a second model repository.

Each keeps its version number, and its configuration names that version alone, so that the models of two
releases stand beside each other and neither is touched when the other is unloaded. What only decodes is
shared with the model repository as long as it is the same there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from google.protobuf import text_format

from releases.errors import ReleaseError
from releases.manifest import Manifest, files_dir, sha256_of
from releases.naming import MODELS, OWN_MODELS, SEPARATOR, releases_dir
from serving.errors import RepositoryError
from serving.repository import read_config, read_staged

__all__ = ["models_dir", "public_models", "remove_models", "write_models"]

_TEXT = "embed_text"
_TEXT_FILES = {"decode_text": "tokenizer.json", "encode_text": "model.onnx"}
"""What `embed_text` reads when it is one process (docs/adr/0010-text-in-one-process.md)."""
_REQUIRED_FILES = "required_files"
_REQUIRED_MODELS = "required_models"


def models_dir(home: Path) -> Path:
    """The second model repository."""
    return releases_dir(home) / MODELS


def public_models(home: Path, name: str) -> list[str]:
    """What clients call of a release, among what stands in the second repository."""
    return sorted(model for model in read_staged(models_dir(home)) if model.endswith(SEPARATOR + name))


def write_models(home: Path, manifest: Manifest, repository: Path) -> list[str]:
    """Puts the models of a release into the second repository, whole; those that clients call.

    Raises:
        ReleaseError: it lacks an encoder.
    """
    files, target = files_dir(home, manifest.name), models_dir(home)
    own = [model for model in manifest.models if _is_own(model, manifest, repository)]
    partial = releases_dir(home) / f".models.{manifest.name}.{os.getpid()}.partial"
    try:
        for model in own:
            _write(files, partial / _named(model, manifest.name), model, manifest, own)
        _with_text_files(files, partial, manifest)
        target.mkdir(parents=True, exist_ok=True)
        # Steps first: what clients call is looked for by the server as soon as it is there.
        for folder in sorted(partial.iterdir(), key=lambda each: each.name.startswith("embed_")):
            shutil.rmtree(target / folder.name, ignore_errors=True)
            folder.rename(target / folder.name)
    except (OSError, RepositoryError) as error:
        raise ReleaseError(f"the models of release {manifest.name} cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return public_models(home, manifest.name)


def remove_models(home: Path, name: str) -> None:
    """Takes the models of a release out of the second repository."""
    away = releases_dir(home) / f".models.{name}.{os.getpid()}.removed"
    away.mkdir(parents=True, exist_ok=True)
    folders = [path for path in models_dir(home).glob(f"*{SEPARATOR}{name}") if path.is_dir()]
    try:
        for folder in sorted(folders, key=lambda each: not each.name.startswith("embed_")):
            folder.rename(away / folder.name)
    finally:
        shutil.rmtree(away, ignore_errors=True)


def _is_own(model: str, manifest: Manifest, repository: Path) -> bool:
    return model in OWN_MODELS or not _is_same(model, manifest, repository)


def _is_same(model: str, manifest: Manifest, repository: Path) -> bool:
    """Whether the repository's files of a model are those of the release."""
    files = {path: digest for path, digest in manifest.files.items() if path.startswith(f"{model}/")}
    return all(
        (repository / path).is_file() and sha256_of(repository / path) == digest
        for path, digest in files.items()
    )


def _named(model: str, release: str) -> str:
    return f"{model}{SEPARATOR}{release}"


def _write(files: Path, target: Path, model: str, manifest: Manifest, own: Iterable[str]) -> None:
    version = manifest.models[model]
    for source in [files / model / "config.pbtxt", *(files / model).glob("configs/*.pbtxt")]:
        config = read_config(source)
        config.name = target.name
        config.ClearField("version_policy")
        config.version_policy.specific.versions.append(int(version))
        for step in config.ensemble_scheduling.step:
            step.model_version = int(manifest.models[step.model_name])
            if step.model_name in own:
                step.model_name = _named(step.model_name, manifest.name)
        if _REQUIRED_MODELS in config.parameters:
            asked = config.parameters[_REQUIRED_MODELS]
            names = asked.string_value.split(",")
            asked.string_value = ",".join(
                _named(name, manifest.name) if name in own else name for name in names
            )
        if model == _TEXT and not config.ensemble_scheduling.step:
            config.parameters[_REQUIRED_FILES].string_value = ",".join(_TEXT_FILES.values())
        path = target / source.relative_to(files / model)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text_format.MessageToString(config), encoding="utf-8")
    (target / version).mkdir(parents=True, exist_ok=True)
    for relative in manifest.files:
        if relative.startswith(f"{model}/{version}/"):
            _link(files / relative, target / Path(relative).relative_to(model))


def _with_text_files(files: Path, partial: Path, manifest: Manifest) -> None:
    target = partial / _named(_TEXT, manifest.name) / manifest.models[_TEXT]
    for model, file in _TEXT_FILES.items():
        _link(files / model / manifest.models[model] / file, target / file)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
