"""The steps of the re-ranker's export: load -> onnx -> parity -> int8 -> gate, with the records of
`export.pipeline`.

Its inputs are made of what the exported encoders give for catalogue items of the validation split: texts that
look for pictures, pictures that look for texts, and both together, each with its 50 nearest candidates,
scored by the calibration that is served. Nothing of the run that trained it is needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.errors import ExportError, WeightsError
from export.fetch import file_sha256
from export.gate import judge
from export.graphs import Graph, export_graph
from export.measure import drift, machine, ndcg_at_10, speed_up
from export.parity import check_parity
from export.profile import Profile
from export.quantize import quantize
from export.records import Record, fingerprint, read_record, run_step
from export.reranker import KINDS, ROWS, Reranker, load_reranker
from export.samples import Feed, Sample
from export.sessions import open_session, run_all, stack
from export.settings import Settings

__all__ = ["HEADS", "RERANK", "RerankerSteps", "default_for", "heads_sha256", "is_trained", "reranker_graph"]

RERANK = "rerank"
CANDIDATES, QUERIES, BATCH, PARITY_INPUTS = 50, 60, 8, 9
HEADS = ("text", "image", "audio", "video")
_MODULES = ("reranker", "reranker_steps", "graphs")
Floats = NDArray[np.float32]
Embed = Callable[[str, int], tuple[Floats, list[str]]]
"""Graph and number of inputs -> vectors of validation inputs, and what each means."""


def heads_sha256(folder: Path) -> str:
    """Names the heads, calibration and fusion of a profile: a re-ranker belongs to those it was trained on.

    Raises:
        WeightsError: one of them is missing.
    """
    digest = hashlib.sha256()
    for name in (*(f"{head}.safetensors" for head in HEADS), "calibration.json"):
        path = folder / name
        if not path.is_file():
            raise WeightsError(f"no {path}; run `make train`, or restore the file from git")
        digest.update(file_sha256(path).encode())
    if (fusion := folder / "fusion.json").is_file():  # fused scores are what it corrects
        digest.update(file_sha256(fusion).encode())
    return digest.hexdigest()


def is_trained(settings: Settings, profile: str) -> bool:
    """Whether there is a re-ranker, trained on the heads that are there.

    Raises:
        WeightsError: its file is damaged, or heads are missing.
    """
    folder = settings.checkpoints / profile
    path = folder / f"{RERANK}.safetensors"
    return path.is_file() and load_reranker(path)[1].get("heads_sha256") == heads_sha256(folder)


def default_for(settings: Settings, profile: str) -> list[str]:
    """Kinds of query that the re-ranker helped with, as its training found. Raises WeightsError."""
    about = load_reranker(settings.checkpoints / profile / f"{RERANK}.safetensors")[1]
    kinds = about.get("default_for")
    if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
        raise WeightsError(f"{RERANK}.safetensors does not say which queries it is for; run `make rerank`")
    return kinds


def _example() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)

    def numbers(*sizes: int) -> torch.Tensor:
        return torch.rand(sizes, generator=generator)

    kinds = torch.tensor([[1, 2, 0], [3, 5, 1]])
    return (
        numbers(2, 3, 1024),
        kinds,
        numbers(2, 3),
        numbers(2, 5, 4, 1024),
        numbers(2, 5, 3, 4),
        numbers(2, 5),
    )


def reranker_graph(model: Reranker) -> Graph:
    """The tensors of the served graph. Queries of a batch have the same numbers of vectors and candidates."""
    return Graph(
        RERANK,
        {
            "query": ("batch", "vectors", 1024),
            "query_kind": ("batch", "vectors"),
            "query_weight": ("batch", "vectors"),
            "rows": ("batch", "candidates", len(ROWS), 1024),
            "evidence": ("batch", "candidates", "vectors", len(ROWS)),
            "fused": ("batch", "candidates"),
        },
        {"score": 1},
        (),
        lambda *_: model,
        _example,
    )


class RerankerSteps:
    """``embed`` gives vectors of the encoders' FP32 graphs; ``folder`` is where artifacts stand."""

    def __init__(
        self, profile: Profile, settings: Settings, folder: Path, samples_sha256: str, embed: Embed
    ) -> None:
        self._profile, self._settings, self._folder = profile, settings, folder
        self._samples_sha256, self._embed = samples_sha256, embed
        self._checkpoint = settings.checkpoints / profile.name / f"{RERANK}.safetensors"
        self._table = settings.checkpoints / profile.name / "calibration.json"

    def run(self, step: str) -> Record:
        """Do one step, unless it was done already. Raises ExportError."""
        steps = {"fetch": self._fetch, "load": self._load, "onnx": self._onnx}
        steps |= {"parity": self._parity, "int8": self._int8, "gate": self._gate}
        return steps[step]()

    def _fetch(self) -> Record:
        return run_step(self._folder, "fetch", fingerprint([]), (), lambda _: {})

    def _load(self) -> Record:
        weights = file_sha256(self._checkpoint)
        inputs = fingerprint(_MODULES, weights=weights)

        def work(_: Mapping[str, Path]) -> Any:
            count = sum(parameter.numel() for parameter in self._model.parameters())
            return {"parameters": count, "heads": {self._checkpoint.name: weights}, "packages": {}}

        return run_step(self._folder, "load", inputs, (), work)

    def _onnx(self) -> Record:
        def work(files: Mapping[str, Path]) -> Any:
            export_graph(reranker_graph(self._model), self._model, files["fp32.onnx"])
            return {"bytes": files["fp32.onnx"].stat().st_size, "packages": {}}

        inputs = fingerprint(_MODULES, loaded=self._done("load"))
        return run_step(self._folder, "onnx", inputs, ("fp32.onnx",), work)

    def _parity(self) -> Record:
        limit = self._profile.parity_max_abs

        def work(_: Mapping[str, Path]) -> Any:
            graph = self._folder / "fp32.onnx"
            return check_parity(
                reranker_graph(self._model), self._model, graph, self._lists[:PARITY_INPUTS], limit
            )

        inputs = fingerprint(
            ("parity", *_MODULES), onnx=self._done("onnx"), samples=self._samples_sha256, limit=limit
        )
        return run_step(self._folder, "parity", inputs, (), work)

    def _int8(self) -> Record:
        recipe = self._profile.rerank

        def work(files: Mapping[str, Path]) -> Any:
            return quantize(self._folder / "fp32.onnx", files["int8.onnx"], recipe, [])

        inputs = fingerprint(("quantize",), onnx=self._done("onnx"), recipe=recipe.model_dump())
        return run_step(self._folder, "int8", inputs, ("int8.onnx",), work)

    def _gate(self) -> Record:
        inputs = fingerprint(
            ("gate", "measure", *_MODULES),
            parity=self._done("parity"),
            int8=self._done("int8"),
            gate=self._profile.gate.model_dump(),
            samples=self._samples_sha256,
        )
        return run_step(self._folder, "gate", inputs, (), lambda _: self._measure())

    def _measure(self) -> Mapping[str, Any]:
        gate, lists = self._profile.gate, self._lists
        before = open_session(self._folder / "fp32.onnx", gate.threads)
        after = open_session(self._folder / "int8.onnx", gate.threads)
        fp32, int8 = (run_all(session, lists, BATCH)["score"] for session in (before, after))
        full, small = (self._ndcg(scored) for scored in (fp32, int8))
        typical = lists[0].feed
        figures: dict[str, Any] = {
            "inputs": len(lists),
            "drift": drift({"score": _centred(fp32)}, {"score": _centred(int8)}),
            "ndcg": {"fp32": full, "int8": small, "loss": (full - small) / full if full else float("nan")},
            "speed": {
                str(size): speed_up(before, after, stack([typical] * size), gate.seconds, gate.speed_up_min)
                for size in (1, BATCH)
            },
            "machine": machine(),
            "threads": gate.threads,
            "packages": {},
        }
        verdict = judge(figures, gate)
        return {**figures, "precision": verdict.precision, "reasons": list(verdict.reasons)}

    def _ndcg(self, scored: Floats) -> float:
        """NDCG@10 over the whole gallery; what is no candidate of a query comes last in it."""
        shown, lists = self._shown, self._lists
        whole = np.full((len(lists), len(shown)), -1.0, np.float32)
        for row, (places, values) in enumerate(zip(self._places, scored, strict=True)):
            whole[row, places] = values
        return ndcg_at_10(whole, [one.meaning for one in lists], np.eye(len(shown), dtype=np.float32), shown)

    @cached_property
    def _model(self) -> Reranker:
        return load_reranker(self._checkpoint)[0]

    @cached_property
    def _gallery(self) -> tuple[Floats, Floats, list[str]]:
        """Text and picture vectors [n, 1024] of validation items, and what each means."""
        texts, said = self._embed("encode_text", 4 * QUERIES)
        pictures, shown = self._embed("encode_image", 2 * QUERIES)
        place = {meaning: row for row, meaning in enumerate(said)}
        rows = [row for row, meaning in enumerate(shown) if meaning in place]
        return texts[[place[shown[row]] for row in rows]], pictures[rows], [shown[row] for row in rows]

    @property
    def _shown(self) -> list[str]:
        return self._gallery[2]

    @cached_property
    def _made(self) -> tuple[list[Sample], list[NDArray[np.intp]]]:
        texts, pictures, meanings = self._gallery
        calibration = json.loads(self._table.read_text(encoding="utf-8"))
        lists, places = [], []
        for number in range(min(QUERIES, len(meanings))):
            asked = [[("text", texts)], [("image", pictures)], [("text", texts), ("image", pictures)]][
                number % 3
            ]
            feed, near = self._list(number, asked, calibration)
            lists.append(Sample(meanings[number], "validation", feed))
            places.append(near)
        return lists, places

    @property
    def _lists(self) -> list[Sample]:
        return self._made[0]

    @property
    def _places(self) -> list[NDArray[np.intp]]:
        return self._made[1]

    def _list(
        self, number: int, asked: list[tuple[str, Floats]], calibration: Mapping[str, Any]
    ) -> tuple[Feed, NDArray[np.intp]]:
        """Item ``number`` as a query, and its candidates; an item is found by its other modality alone."""
        texts, pictures, _ = self._gallery
        query = np.stack([vectors[number] for _, vectors in asked])
        rows = np.zeros((len(texts), len(ROWS), 1024), np.float32)
        evidence = np.zeros((len(texts), len(asked), len(ROWS)), np.float32)
        for place, (kind, _) in enumerate(asked):
            row, found = ("image", pictures) if kind == "text" else ("text", texts)
            pair = calibration[f"{kind}->{row}"]
            rows[:, ROWS.index(row)] = found
            odds = pair["scale"] * (found @ query[place]) + pair["bias"]
            evidence[:, place, ROWS.index(row)] = 1 / (1 + np.exp(-odds))
        fused = evidence.max(axis=2).prod(axis=1) ** (1 / len(asked))
        near = np.argsort(-fused, kind="stable")[:CANDIDATES]
        feed = {
            "query": query[None],
            "query_kind": np.array([[KINDS.index(kind) for kind, _ in asked]], np.int64),
            "query_weight": np.ones((1, len(asked)), np.float32),
            "rows": rows[None, near],
            "evidence": evidence[None, near],
            "fused": fused[None, near].astype(np.float32),
        }
        return feed, near

    def _done(self, step: str) -> list[Any]:
        record = read_record(self._folder, step)
        if record is None:
            raise ExportError(f"{RERANK}: step {step} comes first; run `python -m export {step}`")
        return [record.inputs, dict(record.files)]


def _centred(scored: Floats) -> Floats:
    """Log-odds of each list around their mean, so that a cosine of two of them is their correlation."""
    odds = np.log(np.clip(scored, 1e-6, 1 - 1e-6) / (1 - np.clip(scored, 1e-6, 1 - 1e-6)))
    centred: Floats = (odds - odds.mean(axis=1, keepdims=True)).astype(np.float32)
    return centred
