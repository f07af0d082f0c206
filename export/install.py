"""Install step: what the gate chose goes into the model repository, and ``embedding.json`` names the set.

A version folder is filled under another name and appears by one rename. Changed weights get the next version
number; a version that was served is never overwritten. The two newest are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.attention_steps import ATTEND, attention_kinds
from export.calibration import calibration_of
from export.errors import InstallError
from export.external import data_name
from export.fetch import file_sha256
from export.fusion import fusion_weights
from export.graphs import GRAPHS
from export.pipeline import Exporter
from export.profile import Profile
from export.records import Record, read_record, write_atomically
from export.reranker_steps import RERANK, default_for
from export.settings import Settings
from export.sources import file_of, provenance, source_of

__all__ = ["install_files", "install_model", "write_embedding"]

_KEPT = 2


def install_model(exporter: Exporter, model: str) -> Mapping[str, Any]:
    """Put the chosen precision of a graph at ``<model>/<version>/model.onnx``, with its manifest.

    Returns:
        ``version``, ``precision``, ``sha256`` and whether anything ``changed``.

    Raises:
        InstallError: a step is missing, or the repository cannot be written.
    """
    work, home = exporter.folder(model), exporter.settings.model_repository / model
    records = {step: read_record(work, step) for step in ("fetch", "load", "onnx", "parity", "int8", "gate")}
    missing = [step for step, record in records.items() if record is None]
    if missing:
        raise InstallError(f"{model}: not done yet: {', '.join(missing)}")
    done = {step: record for step, record in records.items() if record is not None}
    precision = done["gate"].figures["precision"]
    files = {"model.onnx": work / f"{precision}.onnx"}
    if precision == "int8":
        files["model.fp32.onnx"] = work / "fp32.onnx"
    # where the graphs look for tensors that stand beside them
    beside = [work / data_name(path.name) for path in files.values()]
    files |= {path.name: path for path in beside if path.is_file()}
    hashes = {name: file_sha256(path) for name, path in files.items()}
    summary = {"precision": precision, "sha256": hashes["model.onnx"]}
    newest = max(_versions(home), default=0)
    if newest and _holds(home / str(newest), hashes):
        write_atomically(
            home / str(newest) / "manifest.json", _manifest(exporter, model, newest, hashes, done)
        )
        return {**summary, "version": str(newest), "changed": False}
    number = newest + 1 if newest and (home / str(newest) / "manifest.json").is_file() else max(newest, 1)
    staging = home / f".{number}.{os.getpid()}.partial"
    try:
        staging.mkdir(parents=True)
        for name, path in files.items():
            shutil.copyfile(path, staging / name)
        (staging / "manifest.json").write_text(
            _manifest(exporter, model, number, hashes, done), encoding="utf-8"
        )
        target = home / str(number)
        if target.exists():  # without a manifest: nothing that an export finished
            shutil.rmtree(target)
        staging.rename(target)
        for old in sorted(_versions(home))[:-_KEPT]:
            shutil.rmtree(home / str(old))
    except OSError as error:
        raise InstallError(f"{model}: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return {**summary, "version": str(number), "changed": True}


def install_files(profile: Profile, settings: Settings) -> Mapping[str, Mapping[str, str]]:
    """Put the files that Python steps read beside their ``model.py``, version 1; returns SHA-256 by name.

    Raises:
        InstallError: another file stands there: it needs a new version, which is a change of the step itself.
    """
    installed: dict[str, dict[str, str]] = {}
    for model, files in profile.files.items():
        folder = settings.model_repository / model / "1"
        folder.mkdir(parents=True, exist_ok=True)
        for name, reference in files.items():
            path = file_of(profile, reference, settings)
            digest = file_sha256(path)
            target = folder / name
            if target.is_file() and file_sha256(target) != digest:
                raise InstallError(
                    f"{target} is another file than the profile's; give the step a new version"
                )
            if not target.is_file():
                partial = target.with_name(f".{name}.{os.getpid()}.partial")
                shutil.copyfile(path, partial)
                partial.replace(target)
            installed.setdefault(model, {})[name] = digest
        references = [source_of(profile, reference) for reference in files.values()]
        sources = {reference.partition("/")[0] for reference in references}
        manifest = {
            "profile": profile.name,
            "model": model,
            "files": installed[model],
            "sources": {name: provenance(profile, name) for name in sorted(sources)},
        }
        write_atomically(folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    return installed


def write_embedding(
    profile: Profile,
    settings: Settings,
    models: Mapping[str, Mapping[str, Any]],
    files: Mapping[str, Mapping[str, str]],
    tensorrt: Mapping[str, str] | None = None,
) -> str:
    """Write ``embedding.json``, last, and return the embedding version it names.

    Fusion weights are no part of the version: they change no row. The graphs that plans are built from
    (``tensorrt``, name -> SHA-256), where they are what is served, are: their vectors are not those of the
    processor's graphs.

    Raises:
        InstallError: a graph is missing, or the calibration table is absent or malformed.
    """
    absent = sorted(set(GRAPHS) - set(models))
    if absent:
        raise InstallError(f"the set is incomplete without {', '.join(absent)}")
    calibration = calibration_of(profile, settings)
    named = {
        name: {key: models[name][key] for key in ("version", "precision", "sha256")}
        for name in sorted(models)
    }
    # Rows do not depend on what works on them: another one leaves the embedding version as it is.
    served = {name: entry for name, entry in named.items() if name not in (RERANK, ATTEND)}
    artifacts: list[Any] = [{name: entry["sha256"] for name, entry in served.items()}, files, calibration]
    if tensorrt is not None:
        artifacts.append({name: tensorrt[name] for name in served if name in tensorrt})
    digest = hashlib.sha256(json.dumps(artifacts, sort_keys=True).encode()).hexdigest()
    embedding_version = f"{profile.label}-1-{digest[:8]}"
    content: dict[str, Any] = {
        "profile": profile.name,
        "embedding_version": embedding_version,
        "models": served,
        "calibration": calibration,
    }
    if tensorrt is not None:
        content["tensorrt"] = dict(sorted(tensorrt.items()))
    fusion = fusion_weights(settings.checkpoints / profile.name, calibration)
    if fusion is not None:
        content["fusion"] = fusion
    if profile.origin.is_random:
        content["random"] = True
    if RERANK in named:
        content["rerank"] = {**named[RERANK], "default_for": default_for(settings, profile)}
    if ATTEND in named:
        content["attend"] = {**named[ATTEND], "kinds": attention_kinds(settings, profile)}
    write_atomically(settings.model_repository / "embedding.json", json.dumps(content, indent=1) + "\n")
    return embedding_version


def _versions(home: Path) -> list[int]:
    return [int(path.name) for path in home.glob("[1-9]*") if path.name.isdigit()] if home.is_dir() else []


def _holds(folder: Path, hashes: Mapping[str, str]) -> bool:
    """Whether a version is finished and consists of exactly these files."""
    there = {
        path.name: file_sha256(path)
        for path in folder.glob("*")
        if path.suffix in (".onnx", ".data") and not path.name.startswith(("model.tensorrt.", "tensorrt."))
    }
    return (folder / "manifest.json").is_file() and there == hashes


def _manifest(
    exporter: Exporter, model: str, number: int, hashes: Mapping[str, str], done: Mapping[str, Record]
) -> str:
    gate = dict(done["gate"].figures)
    content = {
        "profile": exporter.profile.name,
        "model": model,
        "version": str(number),
        "random": done["load"].figures.get("random"),
        "precision": gate.pop("precision"),
        "why": gate.pop("reasons"),
        "files": dict(hashes),
        "sources": done["fetch"].figures,
        "load": done["load"].figures,
        "onnx": done["onnx"].figures,
        "parity": done["parity"].figures,
        "int8": done["int8"].figures,
        "gate": gate,
        "seconds": {step: record.seconds for step, record in done.items()},
    }
    return json.dumps(content, indent=1) + "\n"
