"""Resumable steps: a step is skipped while the hash of everything that goes into it is unchanged.

Beside its files a step leaves ``<step>.json``, written last and by rename; whatever is found without a
fitting record is made again, so an interruption leaves nothing half-done behind.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.fetch import file_sha256

__all__ = ["Record", "fingerprint", "read_record", "run_step", "write_atomically"]

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Record:
    """What a step did: hash of its inputs, SHA-256 of its files, its figures and how long it took."""

    inputs: str
    files: Mapping[str, str]
    figures: Mapping[str, Any]
    seconds: float
    skipped: bool = False


def fingerprint(modules: Iterable[str], **values: Any) -> str:
    """SHA-256 over this package's named modules and any JSON values."""
    code = {name: file_sha256(HERE / f"{name}.py") for name in sorted(modules)}
    return hashlib.sha256(json.dumps([code, values], sort_keys=True).encode()).hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Replace a text file by rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def read_record(folder: Path, step: str) -> Record | None:
    """The record of a finished step, or None."""
    try:
        raw = json.loads((folder / f"{step}.json").read_text(encoding="utf-8"))
        return Record(raw["inputs"], raw["files"], raw["figures"], raw["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def run_step(
    folder: Path, step: str, inputs: str, names: Iterable[str], work: Callable[[Mapping[str, Path]], Any]
) -> Record:
    """Do ``work`` unless it was done with the same inputs and its files are intact.

    Args:
        folder: where files and record of the step stand.
        step: its name.
        inputs: fingerprint of everything it depends on.
        names: files it makes.
        work: gets a temporary path per name, must write each, and returns JSON figures.
    """
    names = tuple(names)
    done = read_record(folder, step)
    if done is not None and done.inputs == inputs and _intact(folder, names, done.files):
        return Record(done.inputs, done.files, done.figures, done.seconds, skipped=True)
    folder.mkdir(parents=True, exist_ok=True)
    record_path = folder / f"{step}.json"
    record_path.unlink(missing_ok=True)
    partial = {name: folder / f".{os.getpid()}.{name}" for name in names}
    started = time.perf_counter()
    try:
        figures = work(partial)
        files = {name: file_sha256(path) for name, path in partial.items()}
        for name, path in partial.items():
            path.replace(folder / name)
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)
    record = Record(inputs, files, figures, round(time.perf_counter() - started, 3))
    raw = {"inputs": inputs, "files": files, "figures": figures, "seconds": record.seconds}
    write_atomically(record_path, json.dumps(raw, indent=1))
    return record


def _intact(folder: Path, names: tuple[str, ...], files: Mapping[str, str]) -> bool:
    return set(names) == set(files) and all(
        (folder / name).is_file() and file_sha256(folder / name) == files[name] for name in names
    )
