"""The steps of a model that works on embeddings: load -> onnx -> parity -> int8 -> gate, with the records of
`export.pipeline`. What is particular to a model is in its own subclass."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from export.errors import ExportError, WeightsError
from export.fetch import file_sha256
from export.gate import decide
from export.graphs import Graph, export_graph
from export.measure import drift, ndcg_lost
from export.parity import check_parity
from export.profile import Int8, Profile
from export.quantize import MODULES, quantize
from export.records import Record, fingerprint, read_record, run_step
from export.samples import Sample
from export.sessions import open_session, run_all, stack
from export.settings import Settings
from export.vectors import Vectors

__all__ = ["HEADS", "TrainedSteps", "heads_sha256"]

HEADS = ("text", "image", "audio", "video")
BATCH, PARITY_INPUTS = 8, 9
Floats = NDArray[np.float32]


def heads_sha256(folder: Path) -> str:
    """Names the heads, calibration and fusion of a profile: what works on them belongs to those it was
    trained on.

    Raises:
        WeightsError: one of them is missing.
    """
    digest = hashlib.sha256()
    for name in (*(f"{head}.safetensors" for head in HEADS), "calibration.json"):
        path = folder / name
        if not path.is_file():
            raise WeightsError(f"no {path}; run `make train`, or restore the file from git")
        digest.update(file_sha256(path).encode())
    if (fusion := folder / "fusion.json").is_file():  # fused scores are what is corrected, or mixed with
        digest.update(file_sha256(fusion).encode())
    return digest.hexdigest()


class TrainedSteps(ABC):
    """``vectors`` are what it reads; ``folder`` is where artifacts stand; ``samples`` names the inputs that
    there are."""

    name: ClassVar[str]
    modules: ClassVar[tuple[str, ...]]
    """Modules of this room that make the graph: a change of one does its steps again."""

    def __init__(
        self, profile: Profile, settings: Settings, folder: Path, samples: Callable[[], str], vectors: Vectors
    ) -> None:
        self._profile, self._folder = profile, folder
        self._samples, self._vectors = samples, vectors
        self._checkpoint = settings.checkpoints / profile.name / f"{self.name}.safetensors"

    @property
    @abstractmethod
    def recipe(self) -> Int8:
        """How it is quantised."""

    @property
    @abstractmethod
    def model(self) -> nn.Module:
        """The trained model."""

    @property
    @abstractmethod
    def lists(self) -> Sequence[Sample]:
        """Inputs made of validation items."""

    @abstractmethod
    def graph(self) -> Graph:
        """The tensors of the served graph."""

    @abstractmethod
    def ndcg(self, output: Floats) -> float:
        """NDCG@10 of what the graph gives for ``lists``."""

    def compared(self, output: Floats) -> Floats:
        """What drift is measured on."""
        return output

    def run(self, step: str) -> Record:
        """Do one step, unless it was done already. Raises ExportError."""
        steps = {"fetch": self._fetch, "load": self._load, "onnx": self._onnx}
        steps |= {"parity": self._parity, "int8": self._int8, "gate": self._gate}
        return steps[step]()

    def _fetch(self) -> Record:
        return run_step(self._folder, "fetch", fingerprint([]), (), lambda _: {})

    def _load(self) -> Record:
        random = {"seed": self._profile.origin.seed} if self._profile.origin.is_random else None
        weights = file_sha256(self._checkpoint) if random is None else f"seed {random['seed']}"
        inputs = fingerprint(self.modules, weights=weights)

        def work(_: Mapping[str, Path]) -> Any:
            count = sum(parameter.numel() for parameter in self.model.parameters())
            heads = {self._checkpoint.name: weights}
            return {"parameters": count, "heads": heads, "packages": {}, "random": random}

        return run_step(self._folder, "load", inputs, (), work)

    def _onnx(self) -> Record:
        def work(files: Mapping[str, Path]) -> Any:
            export_graph(self.graph(), self.model, files["fp32.onnx"])
            return {"bytes": files["fp32.onnx"].stat().st_size, "packages": {}}

        inputs = fingerprint(self.modules, loaded=self._done("load"))
        return run_step(self._folder, "onnx", inputs, ("fp32.onnx",), work)

    def _parity(self) -> Record:
        limit = self._profile.parity_max_abs

        def work(_: Mapping[str, Path]) -> Any:
            graph = self._folder / "fp32.onnx"
            return check_parity(self.graph(), self.model, graph, self.lists[:PARITY_INPUTS], limit)

        inputs = fingerprint(
            ("parity", *self.modules), onnx=self._done("onnx"), samples=self._samples(), limit=limit
        )
        return run_step(self._folder, "parity", inputs, (), work)

    def _int8(self) -> Record:
        def work(files: Mapping[str, Path]) -> Any:
            return quantize(self._folder / "fp32.onnx", files, self.recipe, [])

        inputs = fingerprint(MODULES, onnx=self._done("onnx"), recipe=self.recipe.model_dump())
        return run_step(self._folder, "int8", inputs, ("int8.onnx",), work)

    def _gate(self) -> Record:
        inputs = fingerprint(
            ("gate", "measure", *self.modules),
            parity=self._done("parity"),
            int8=self._done("int8"),
            gate=self._profile.gate.model_dump(),
            samples=self._samples(),
        )
        return run_step(self._folder, "gate", inputs, (), lambda _: self._measure())

    def _measure(self) -> Mapping[str, Any]:
        gate, lists = self._profile.gate, self.lists
        before = open_session(self._folder / "fp32.onnx", gate.threads)
        after = open_session(self._folder / "int8.onnx", gate.threads)
        (output,) = self.graph().outputs
        fp32, int8 = (run_all(session, lists, BATCH)[output] for session in (before, after))
        ndcg = None
        if not self._profile.origin.is_random:  # random weights find nothing, so there is nothing to lose
            ndcg = ndcg_lost(self.ndcg(fp32), self.ndcg(int8))
        typical = lists[0].feed
        figures = {
            "inputs": len(lists),
            "vectors": self._vectors.profile.label,
            "drift": drift({output: self.compared(fp32)}, {output: self.compared(int8)}),
            "ndcg": ndcg,
            "packages": {"onnxruntime": version("onnxruntime")},
        }
        return decide(figures, before, after, {size: stack([typical] * size) for size in (1, BATCH)}, gate)

    def _done(self, step: str) -> list[Any]:
        record = read_record(self._folder, step)
        if record is None:
            raise ExportError(f"{self.name}: step {step} comes first; run `python -m export {step}`")
        return [record.inputs, dict(record.files)]
