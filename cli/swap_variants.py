"""Model repositories that differ from the built one in what `make swaps` swaps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from releases.errors import ReleaseError
from releases.manifest import EMBEDDING, sha256_of

__all__ = ["full_precision", "other_fusion"]


def other_fusion(repository: Path, folder: Path) -> Path:
    """What is found counts less: no improvement, a difference that shows."""

    def change(embedding: dict[str, Any]) -> None:
        for modality in embedding["fusion"].values():
            modality["bias"] -= 1.0

    return _variant(repository, folder, change)


def full_precision(repository: Path, folder: Path) -> Path:
    """The encoders in FP32, each under a version number of its own, so another embedding version.

    Raises:
        ReleaseError: every encoder is served in FP32 as it is.
    """
    changed: list[str] = []

    def change(embedding: dict[str, Any]) -> None:
        for name, model in embedding["models"].items():
            plain = repository / name / model["version"] / "model.fp32.onnx"
            if plain.is_file():
                model |= _plain_version(repository / name, plain, folder / name)
                changed.append(name)
        for learned in ("fusion", "rerank", "attend"):  # on vectors of INT8
            embedding.pop(learned, None)
        embedding["embedding_version"] += "-fp32"

    made = _variant(repository, folder, change)
    if not changed:
        raise ReleaseError("no encoder is served in INT8, so FP32 is no other embedding version")
    return made


def _plain_version(model: Path, plain: Path, folder: Path) -> dict[str, str]:
    """Puts a model with ``plain`` alone in the place of the link to ``model``; what names it."""
    number = str(max(int(path.name) for path in model.glob("[1-9]*")) + 1)
    folder.unlink()
    (folder / number).mkdir(parents=True)
    shutil.copyfile(plain, folder / number / "model.onnx")
    shutil.copyfile(model / "config.pbtxt", folder / "config.pbtxt")
    named = {"version": number, "precision": "fp32"}
    manifest = json.loads(plain.with_name("manifest.json").read_bytes()) | named
    manifest["files"] = {"model.onnx": sha256_of(plain)}
    (folder / number / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return {**named, "sha256": sha256_of(plain)}


def _variant(repository: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    folder.mkdir(parents=True)
    for source in repository.iterdir():
        if source.is_dir() and source.name != "__pycache__":
            (folder / source.name).symlink_to(source)
    embedding = json.loads((repository / EMBEDDING).read_bytes())
    change(embedding)
    (folder / EMBEDDING).write_text(json.dumps(embedding), encoding="utf-8")
    return folder
