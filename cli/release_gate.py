"""What a release must show: it is what its export measured, and answers no worse than what is served.

Queries are those of the validation split, and no input is of the test split: a gate chooses, and nothing may
be chosen by that.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.payloads import choose
from catalogue import read_manifest
from cli import processes
from cli.release_models import models_dir
from evaluation.compare import compare
from media import Limits, Modality
from media.tokens import TextTokens, padded
from releases.errors import ReleaseError
from releases.manifest import Manifest, files_dir
from releases.naming import model_name
from serving.client import Client
from serving.repository import read_config

__all__ = ["Figure", "encoder_figures", "relevance_figures"]

PARITY = 1e-4
"""Largest difference between torch and the graph, as exported."""
MEAN_SLACK, WORST_SLACK = 0.01, 0.02
"""A few inputs may be this much further from FP32 than the many of the export were."""
EXACT = 0.9999
NDCG_LOSS = 0.01
"""What NDCG@10 of a set of queries may lose for certain (95 %), or in the mean of all sets."""
TEXTS = 8
ASK_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Figure:
    """``value`` must be at least ``bound``, or at most where ``at_most``."""

    what: str
    value: float
    bound: float
    at_most: bool = False

    @property
    def passed(self) -> bool:
        """NaN does not."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def __str__(self) -> str:
        verdict = "ok" if self.passed else "FAILED"
        return f"{self.what}: {self.value:.5g} ({'<=' if self.at_most else '>='} {self.bound:.5g}) {verdict}"


async def encoder_figures(client: Client, home: Path, manifest: Manifest, catalogue: Path) -> list[Figure]:
    """Parity as the export recorded it, and how close Triton's answers are to the FP32 graphs.

    Raises:
        ReleaseError: an export recorded nothing that can be held against.
        ControlError: a model does not answer.
    """
    payloads = choose(catalogue, without="test")
    items = (item for item in read_manifest(catalogue) if item.split != "test")
    texts = [item.description for item in items if item.description][:TEXTS]
    figures = []
    for modality in Modality:
        inputs = [text.encode() for text in texts] if modality is Modality.TEXT else [payloads.of(modality)]
        encoder = f"encode_{modality.value}"
        record = _record(home, manifest, encoder)
        figures += [
            Figure(f"{encoder} parity of {output}", float(worst), PARITY, at_most=True)
            for output, worst in record["parity"]["max_abs"].items()
        ]
        # An encoder may give more, for others: logits, which transcription reads.
        names = list(record["gate"]["drift"])
        cosines = await _cosines(client, home, manifest, modality, inputs, names)
        exact = record["precision"] == "fp32"
        for output, drift in record["gate"]["drift"].items():
            mean, worst = float(np.mean(cosines[output])), float(np.min(cosines[output]))
            figures += [
                Figure(
                    f"{encoder} {output}, mean cosine", mean, EXACT if exact else drift["mean"] - MEAN_SLACK
                ),
                Figure(
                    f"{encoder} {output}, worst cosine",
                    worst,
                    EXACT if exact else drift["worst"] - WORST_SLACK,
                ),
            ]
    return figures


def relevance_figures(target: str, catalogue: Path, release: str, against: str) -> list[Figure]:
    """NDCG@10 of ``release`` less that of ``against``, on the quick set, through the public API.

    Raises:
        ReleaseError: it could not be measured.
    """
    with tempfile.TemporaryDirectory() as folder:
        reports = [_evaluate(target, catalogue, name, Path(folder)) for name in (against, release)]
    found = {
        name: measures["ndcg@10"]
        for name, measures in compare(*reports).items()
        if "ndcg@10" in measures and not name.startswith("baselines")
    }
    if not found:
        raise ReleaseError("relevance: no set of queries was answered by both releases")
    differences = [each["difference"] for each in found.values()]
    figures = [
        Figure(
            "NDCG@10 against the current release, mean of all sets", float(np.mean(differences)), -NDCG_LOSS
        )
    ]
    # The upper end of the interval: a loss that a few queries cannot show is no reason to refuse.
    return figures + [
        Figure(f"NDCG@10 {name}, at best (95 %)", each["difference_ci95"][1], -NDCG_LOSS)
        for name, each in found.items()
    ]


def _evaluate(target: str, catalogue: Path, release: str, folder: Path) -> dict[str, Any]:
    out = folder / f"{release}.json"
    command = processes.python("-m", "evaluation", "relevance", "--quick", "--split", "validation")
    command += ["--grpc", target, "--catalogue", str(catalogue), "--release", release, "--out", str(out)]
    ended = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ReleaseError(f"relevance of {release} could not be measured: {last}")
    report: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return report


def _record(home: Path, manifest: Manifest, model: str) -> Mapping[str, Any]:
    path = files_dir(home, manifest.name) / model / manifest.models[model] / "manifest.json"
    try:
        record: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
        return {key: record[key] for key in ("parity", "precision", "gate")}
    except (OSError, ValueError, KeyError) as error:
        raise ReleaseError(
            f"release {manifest.name}: {path.name} of {model} records no gate: {error}"
        ) from error


async def _cosines(
    client: Client,
    home: Path,
    manifest: Manifest,
    modality: Modality,
    inputs: Sequence[bytes],
    names: Sequence[str],
) -> dict[str, list[float]]:
    files, kind = files_dir(home, manifest.name), modality.value
    version = files / f"encode_{kind}" / manifest.models[f"encode_{kind}"]
    plain = version / "model.fp32.onnx"
    import onnxruntime as ort  # of the extra `export`; nothing else of the command needs it

    session = ort.InferenceSession(
        plain if plain.is_file() else version / "model.onnx", providers=["CPUExecutionProvider"]
    )
    served_as = model_name(f"embed_{kind}", manifest.name)
    decoder = (
        read_config(models_dir(home) / served_as / "config.pbtxt").ensemble_scheduling.step[0].model_name
    )
    cosines: dict[str, list[float]] = {name: [] for name in names}
    for content in inputs:
        asked = {kind: np.array([[content]], dtype=object)}
        served = await client.ask(served_as, asked, "BYTES", ASK_TIMEOUT_S)
        feed: Mapping[str, NDArray[Any]]
        if modality is Modality.TEXT:
            feed = _tokens(files, manifest, content)
        else:
            decoded = await client.ask(decoder, asked, "BYTES", ASK_TIMEOUT_S)
            feed = {each.name: decoded[each.name] for each in session.get_inputs()}
        for name, vectors in zip(names, session.run(names, feed), strict=True):
            cosines[name] += _pairwise(np.asarray(vectors), np.asarray(served[name], np.float64))
    return cosines


def _tokens(files: Path, manifest: Manifest, text: bytes) -> dict[str, NDArray[np.int64]]:
    tokens = TextTokens(files / "decode_text" / manifest.models["decode_text"] / "tokenizer.json", Limits())
    (row,) = tokens.rows([text.decode()])
    ids, mask = padded([row], tokens.bucket(row))
    return {"input_ids": ids, "attention_mask": mask}


def _pairwise(plain: NDArray[Any], served: NDArray[np.float64]) -> Iterator[float]:
    for left, right in zip(plain.astype(np.float64), served, strict=True):
        yield float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))
