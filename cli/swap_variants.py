"""Model repositories that differ from the built one in what `make swaps` swaps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from releases.errors import ReleaseError
from releases.manifest import EMBEDDING

__all__ = ["older_encoders", "other_fusion"]


def other_fusion(repository: Path, folder: Path) -> Path:
    """What is found counts less: no improvement, a difference that shows."""

    def change(embedding: dict[str, Any]) -> None:
        for modality in embedding["fusion"].values():
            modality["bias"] -= 1.0

    return _variant(repository, folder, change)


def older_encoders(repository: Path, folder: Path) -> Path:
    """The encoders of the version before, so another embedding version.

    Raises:
        ReleaseError: an encoder has one version only.
    """

    def change(embedding: dict[str, Any]) -> None:
        for name, model in embedding["models"].items():
            versions = sorted(int(path.name) for path in (repository / name).glob("[1-9]*"))
            if len(versions) < 2:
                raise ReleaseError(f"{name} has one version only: export another one before")
            model["version"] = str(versions[-2])
        for learned in ("fusion", "rerank", "attend"):  # on other heads
            embedding.pop(learned, None)
        embedding["embedding_version"] += "-older"

    return _variant(repository, folder, change)


def _variant(repository: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    folder.mkdir(parents=True)
    for source in repository.iterdir():
        if source.is_dir() and source.name != "__pycache__":
            (folder / source.name).symlink_to(source)
    embedding = json.loads((repository / EMBEDDING).read_bytes())
    change(embedding)
    (folder / EMBEDDING).write_text(json.dumps(embedding), encoding="utf-8")
    return folder
