"""Model repositories that differ from the built one in what `make swaps` swaps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from releases.errors import ReleaseError
from releases.manifest import EMBEDDING, sha256_of

__all__ = ["other_fusion", "other_precision"]


def other_fusion(repository: Path, folder: Path) -> Path:
    """What is found counts less: no improvement, a difference that shows."""

    def change(embedding: dict[str, Any]) -> None:
        for modality in embedding["fusion"].values():
            modality["bias"] -= 1.0

    return _variant(repository, folder, change)


def other_precision(repository: Path, home: Path, folder: Path) -> Path:
    """The encoders under a version number of their own, so another embedding version.

    In FP32, or, where all are served in FP32 as it is, in INT8, whether or not they pass the gate in it.
    Their graphs are those that the export left in ``home``.

    Raises:
        ReleaseError: one is not there.
    """

    def change(embedding: dict[str, Any]) -> None:
        models = embedding["models"]
        reduced = [name for name, model in models.items() if model["precision"] == "int8"]
        for name in reduced or models:
            precision = "fp32" if reduced else "int8"
            graph = home / "export" / embedding["profile"] / name / f"{precision}.onnx"
            if not graph.is_file():
                raise ReleaseError(f"no {graph}; run `make models`")
            version = repository / name / models[name]["version"]
            models[name] |= _other_version(version, graph, precision, folder / name)
        for learned in ("fusion", "rerank", "attend"):  # on the vectors of the others
            embedding.pop(learned, None)
        embedding["embedding_version"] += "-fp32" if reduced else "-int8"

    return _variant(repository, folder, change)


def _other_version(served: Path, graph: Path, precision: str, folder: Path) -> dict[str, str]:
    """Puts a model of ``graph`` alone in the place of the link ``folder``; what names it."""
    model = served.parent
    number = str(max(int(path.name) for path in model.glob("[1-9]*")) + 1)
    folder.unlink()
    (folder / number).mkdir(parents=True)
    shutil.copyfile(graph, folder / number / "model.onnx")
    shutil.copyfile(model / "config.pbtxt", folder / "config.pbtxt")
    named = {"version": number, "precision": precision}
    digest = sha256_of(graph)
    manifest = json.loads((served / "manifest.json").read_bytes()) | named | {"files": {"model.onnx": digest}}
    (folder / number / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return {**named, "sha256": digest}


def _variant(repository: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    folder.mkdir(parents=True)
    for source in repository.iterdir():
        if source.is_dir() and source.name != "__pycache__":
            (folder / source.name).symlink_to(source)
    embedding = json.loads((repository / EMBEDDING).read_bytes())
    change(embedding)
    (folder / EMBEDDING).write_text(json.dumps(embedding), encoding="utf-8")
    return folder
