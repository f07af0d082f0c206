"""What a release consists of: files of a model repository with their hashes, and a hash over all of that.

Weights are hard links where the file system has them: an export never writes into a file that it installed,
it puts another in its place. Everything else is copied.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from releases.errors import BrokenReleaseError, ReleaseError, ReleaseExistsError, UnknownReleaseError
from releases.naming import check_name, releases_dir

__all__ = [
    "EMBEDDING",
    "PERSONALISE",
    "Manifest",
    "create",
    "files_dir",
    "load",
    "names",
    "sha256_of",
    "verify",
]

EMBEDDING, PERSONALISE = "embedding.json", "personalise.json"
_MANIFEST = "manifest.json"
_WEIGHTS = (".onnx", ".ort", ".plan", ".data")
_RANDOM = "random"
_BLOCK_BYTES = 1 << 20


class Manifest(BaseModel):
    """Frozen. ``sha256`` is that of the canonical JSON of all other fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str
    created_at: str
    """ISO 8601, UTC."""
    note: str
    profile: str
    embedding_version: str
    models: Mapping[str, str]
    """Model -> its version in the repository."""
    files: Mapping[str, str]
    """Path below ``files/`` -> SHA-256."""
    milvus: str
    """SHA-256 of the collections' parameters that it was made for."""
    sha256: str


def files_dir(home: Path, name: str) -> Path:
    """Where the files of a release are, laid out as in a model repository."""
    return releases_dir(home) / name / "files"


def names(home: Path) -> list[str]:
    """Of all releases, the oldest first."""
    found = [path.parent for path in releases_dir(home).glob(f"*/{_MANIFEST}")]
    return [path.name for path in sorted(found, key=lambda path: (path / _MANIFEST).stat().st_mtime_ns)]


def create(
    home: Path, name: str, repository: Path, milvus: Path, personalise: Path, note: str = ""
) -> Manifest:
    """Makes a release of what ``repository`` serves now. It appears whole or not at all.

    Args:
        home: SENSORIUM_HOME.
        name: see ``naming``.
        repository: a model repository with its ``embedding.json``.
        milvus: the folder of collection parameters.
        personalise: learned strengths, where the file exists.
        note: whatever its maker wants to say.

    Raises:
        ReleaseExistsError: there is one of that name.
        ReleaseError: the repository is not complete, or a file cannot be written.
    """
    folder = releases_dir(home) / check_name(name)
    if folder.exists():
        raise ReleaseExistsError(f"there is a release {name} already, and releases do not change")
    partial = folder.with_name(f".{name}.{os.getpid()}.partial")
    try:
        embedding = _embedding(repository / EMBEDDING)
        if embedding.get("random") and _RANDOM not in name:
            raise ValueError(
                f"its weights are random: every answer says the release's name, so put {_RANDOM!r} into it"
            )
        if name == embedding["embedding_version"]:
            raise ValueError("the repository's own set is served under its embedding version")
        versions = {
            model: str(said["version"])
            for model, said in (
                embedding["models"] | {k: embedding[k] for k in ("rerank", "attend") if k in embedding}
            ).items()
        }
        sources = {EMBEDDING: repository / EMBEDDING}
        if personalise.is_file():
            sources[PERSONALISE] = personalise
        for config in sorted(repository.glob("*/config.pbtxt")):
            model = config.parent
            versions.setdefault(model.name, _newest(model))
            for path in _files(model, versions[model.name]):
                sources[str(path.relative_to(repository))] = path
        if missing := [model for model in versions if f"{model}/config.pbtxt" not in sources]:
            raise ValueError(f"the repository lacks {', '.join(missing)}")
        hashes = {}
        for relative, source in sources.items():
            target = partial / "files" / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            _take(source, target)
            hashes[relative] = sha256_of(target)
        fields = {
            "name": name,
            "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "note": note,
            "profile": embedding["profile"],
            "embedding_version": embedding["embedding_version"],
            "models": dict(sorted(versions.items())),
            "files": dict(sorted(hashes.items())),
            "milvus": parameters_sha256(milvus),
        }
        manifest = Manifest(**fields, sha256=_signature(fields))
        (partial / _MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
        partial.rename(folder)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ReleaseError(f"release {name} cannot be made: {error!r}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def load(home: Path, name: str) -> Manifest:
    """The manifest of a release. Its own hash and those of its JSON files are checked, no others.

    Raises:
        UnknownReleaseError: there is none.
        BrokenReleaseError: it is not what it was.
    """
    path = releases_dir(home) / check_name(name) / _MANIFEST
    try:
        content: Any = json.loads(path.read_bytes())
        manifest = Manifest.model_validate(content)
    except FileNotFoundError as error:
        raise UnknownReleaseError(f"there is no release {name}") from error
    except (OSError, ValueError, ValidationError) as error:
        raise BrokenReleaseError(f"{path} cannot be read: {error}") from error
    fields = {key: value for key, value in content.items() if key != "sha256"}
    if manifest.name != name or _signature(fields) != manifest.sha256:
        raise BrokenReleaseError(f"{path} is not what its hash says")
    _check(home, manifest, [each for each in (EMBEDDING, PERSONALISE) if each in manifest.files])
    return manifest


def verify(home: Path, name: str) -> Manifest:
    """As ``load``, and every file is checked. Raises: as ``load``."""
    manifest = load(home, name)
    _check(home, manifest, manifest.files)
    return manifest


def parameters_sha256(folder: Path) -> str:
    """Stands for the collections' parameters in ``folder``."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.yaml")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _check(home: Path, manifest: Manifest, relatives: Mapping[str, str] | list[str]) -> None:
    for relative in relatives:
        path = files_dir(home, manifest.name) / relative
        try:
            found = sha256_of(path)
        except OSError as error:
            raise BrokenReleaseError(f"release {manifest.name}: {relative} cannot be read") from error
        if found != manifest.files[relative]:
            raise BrokenReleaseError(f"release {manifest.name}: {relative} is not what the manifest says")


def _embedding(path: Path) -> Any:
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no embedding set")
    return content


def _newest(model: Path) -> str:
    return str(max(int(path.name) for path in model.glob("[1-9]*") if path.name.isdecimal()))


def _files(model: Path, version: str) -> Iterator[Path]:
    """Configurations and one version of a model. An ensemble's version folder is empty and left out."""
    yield model / "config.pbtxt"
    yield from sorted(model.glob("configs/*.pbtxt"))
    yield from sorted(
        path for path in (model / version).rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )


def _take(source: Path, target: Path) -> None:
    if source.suffix in _WEIGHTS:
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, target)
    else:
        shutil.copyfile(source, target)


def sha256_of(path: Path) -> str:
    """Hexadecimal, of a file. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _signature(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
