"""A cache of arrays on disk, computed in small chunks, so that an interrupted run goes on where it
stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["Arrays", "FeatureStore", "Progress"]

Arrays = dict[str, npt.NDArray[np.generic]]
Progress = Callable[[str, int, int], None]
"""Called with (what is being done, done, of how many)."""


class FeatureStore:
    """Chunks of arrays below one folder, named by the hash of what went into them."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        folder.mkdir(parents=True, exist_ok=True)

    def get(
        self,
        name: str,
        recipe: str,
        keys: Sequence[str],
        compute: Callable[[Sequence[int]], Arrays],
        chunk: int = 64,
    ) -> Arrays:
        """Arrays with one row a key, in the keys' order.

        Args:
            name: what is shown while it runs, and the files' prefix.
            recipe: says how rows are made; another recipe is another file.
            keys: say what each row is made from.
            compute: indices into `keys` -> arrays with one row each.
            chunk: rows a file.
        """
        parts: list[Arrays] = []
        for start in range(0, len(keys), chunk):
            self._progress(name, start, len(keys))
            rows = range(start, min(start + chunk, len(keys)))
            content = json.dumps([recipe, [keys[row] for row in rows]])
            path = self._folder / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:24]}.npz"
            if not path.is_file():
                self._write(path, compute(rows))
            with np.load(path) as stored:
                parts.append({key: stored[key] for key in stored.files})
        self._progress(name, len(keys), len(keys))
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def _write(self, path: Path, arrays: Arrays) -> None:
        partial = path.with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as handle:
            np.savez(handle, allow_pickle=False, **arrays)
        partial.replace(path)
