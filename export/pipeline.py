"""The steps of an export, per graph: fetch -> load -> onnx -> parity -> int8 -> gate -> install.

Each step depends on the records of those before it, so that a change anywhere redoes what follows and
nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.adapters import Heads, load_heads
from export.attention_steps import AttentionSteps
from export.encoded import adapter_file, graphs_of
from export.errors import ExportError, WeightsError
from export.external import data_name, graph_files, is_large, save_graph
from export.fetch import file_sha256
from export.gate import decide
from export.graphs import export_graph
from export.measure import drift, ndcg_asked, ndcg_lost
from export.parity import check_parity
from export.profile import Profile
from export.quantize import MODULES as QUANTIZING
from export.quantize import quantize
from export.records import Record, fingerprint, read_record, run_step
from export.reranker_steps import RerankerSteps
from export.samples import Feed, Sample, Samples
from export.sessions import open_session, run_all, stack
from export.settings import Settings
from export.sources import brought
from export.trained_steps import TrainedSteps
from export.vectors import samples_of, vectors_of

__all__ = ["BATCH", "STEPS", "Exporter", "versions"]

STEPS = ("fetch", "load", "onnx", "parity", "int8", "gate", "install")
SEED, BATCH, PARITY_INPUTS = 0, 8, 4
Outputs = Mapping[str, NDArray[np.float32]]
_MEASURING = ("gate", "measure", "samples", "sessions")


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of packages."""
    return {name: version(name) for name in packages}


class Exporter:
    """Runs the steps of one profile; what is loaded or decoded once is kept for the steps that follow."""

    def __init__(self, profile: Profile, settings: Settings, manifest: Path) -> None:
        self.profile = profile
        self.settings = settings
        self.graphs = graphs_of(profile)
        self._manifest = manifest
        self._modules: dict[str, nn.Module] = {}
        self._taken: dict[tuple[str, str, int], list[Sample]] = {}
        torch.manual_seed(SEED)

    @cached_property
    def samples(self) -> Samples:
        """Real inputs of the catalogue."""
        return samples_of(self.profile, self.settings, self._manifest)

    def folder(self, model: str) -> Path:
        """Where the unfinished artifacts of a graph stand."""
        return self.settings.work(self.profile.label) / model

    def run(self, step: str, model: str) -> Record:
        """Do one step of one graph, unless it was done already.

        Raises:
            ExportError: see the tree in :mod:`export.errors`.
        """
        if model in self._trained:
            return self._trained[model].run(step)
        return {
            "fetch": self.fetch,
            "load": self.load,
            "onnx": self.onnx,
            "parity": self.parity,
            "int8": self.int8,
            "gate": self.gate,
        }[step](model)

    def fetch(self, model: str) -> Record:
        """Bring the graph's sources; the record names their files' hashes."""
        # always looked at, as the cache may have been emptied; without work it costs the hashing of files
        sources = brought(self.profile, self.graphs[model].sources, self.settings)
        inputs = fingerprint(["fetch"], sources=sources)
        return run_step(self.folder(model), "fetch", inputs, (), lambda _: sources)

    def load(self, model: str) -> Record:
        """Load encoder and head, every key matched."""
        graph, encoder = self.graphs[model], self.profile.models[model].encoder
        names = [f"{name}.safetensors" for name in graph.heads]
        names += [self.profile.tuned[source] for source in graph.sources if source in self.profile.tuned]
        heads = {name: file_sha256(self._head(name)) for name in names}
        adapter = adapter_file(self.profile, model, self.settings)
        if encoder is not None and not self.profile.origin.is_random and adapter.is_file():
            heads[adapter.name] = file_sha256(adapter)
        random = {"seed": self.profile.origin.seed} if self.profile.origin.is_random else None
        packages = versions("torch", "transformers", "safetensors")
        inputs = fingerprint(
            graph.modules,
            fetched=self.done("fetch", model),
            heads=heads,
            packages=packages,
            encoder=encoder.model_dump() if encoder else None,
            random=random,
        )

        def work(_: Mapping[str, Path]) -> Any:
            module = self._module(model)
            state = hashlib.sha256()
            for name, tensor in sorted(module.state_dict().items()):
                state.update(name.encode())
                state.update(tensor.numpy().tobytes())
            count = sum(parameter.numel() for parameter in module.parameters())
            return {
                "parameters": count,
                "state_sha256": state.hexdigest(),
                "heads": heads,
                "packages": packages,
                "random": random,
            }

        return run_step(self.folder(model), "load", inputs, (), work)

    def onnx(self, model: str) -> Record:
        """Write the FP32 graph."""
        packages = versions("torch", "onnx")
        loaded = read_record(self.folder(model), "load")
        names = graph_files("fp32.onnx", loaded is not None and is_large(loaded.figures["parameters"]))
        inputs = fingerprint(self.graphs[model].modules, loaded=self.done("load", model), packages=packages)

        def work(files: Mapping[str, Path]) -> Any:
            with TemporaryDirectory(prefix="onnx-", dir=self.folder(model)) as folder:
                written = Path(folder) / "fp32.onnx"
                export_graph(self.graphs[model], self._module(model), written)
                save_graph(written, files)
            return {"bytes": sum(path.stat().st_size for path in files.values()), "packages": packages}

        return run_step(self.folder(model), "onnx", inputs, names, work)

    def parity(self, model: str) -> Record:
        """Hold the FP32 graph against torch."""
        limit = self.profile.parity_max_abs
        inputs = fingerprint(
            ("parity", "samples", "sessions"),
            onnx=self.done("onnx", model),
            samples=self.samples.sha256,
            limit=limit,
            packages=versions("onnxruntime", "torch"),
        )

        def work(_: Mapping[str, Path]) -> Any:
            samples = self.samples.edge_cases(model) + self._take(model, "validation", PARITY_INPUTS)
            graph = self.folder(model) / "fp32.onnx"
            return check_parity(self.graphs[model], self._module(model), graph, samples, limit)

        return run_step(self.folder(model), "parity", inputs, (), work)

    def int8(self, model: str) -> Record:
        """Quantise the FP32 graph."""
        recipe = self.profile.models[model].int8
        inputs = fingerprint(
            (*QUANTIZING, "samples"),
            onnx=self.done("onnx", model),
            recipe=recipe.model_dump(exclude={"kept"}),
            samples=self.samples.sha256 if recipe.calibration else "",
            packages=versions("onnxruntime", "onnx"),
        )

        def work(files: Mapping[str, Path]) -> Any:
            count = recipe.calibration
            feeds = [sample.feed for sample in self._take(model, "train", count)] if count else []
            return quantize(self.folder(model) / "fp32.onnx", files, recipe, feeds)

        large = (self.folder(model) / data_name("fp32.onnx")).is_file()
        return run_step(self.folder(model), "int8", inputs, graph_files("int8.onnx", large), work)

    def gate(self, model: str) -> Record:
        """Measure INT8 against FP32 and decide which is served."""
        inputs = fingerprint(
            _MEASURING,
            parity=self.done("parity", model),
            int8=self.done("int8", model),
            other=None if self.profile.origin.is_random else self.done("onnx", _opposite(model)),
            gate=self.profile.gate.model_dump(),
            measured=self.profile.models[model].measured,
            batches=self.profile.models[model].batches,
            samples=self.samples.sha256,
            packages=versions("onnxruntime"),
        )
        return run_step(self.folder(model), "gate", inputs, (), lambda _: self._measure(model))

    def _measure(self, model: str) -> Mapping[str, Any]:
        gate = self.profile.gate
        samples = self.held_out(model)
        before = open_session(self.folder(model) / "fp32.onnx", gate.threads)
        after = open_session(self.folder(model) / "int8.onnx", gate.threads)
        timed, sizes = self.graphs[model].timed, self.profile.models[model].batches
        fp32, int8 = (run_all(session, samples, max(sizes), timed) for session in (before, after))

        shapes = [tuple(array.shape for array in sample.feed.values()) for sample in samples]
        typical = samples[shapes.index(max(shapes, key=shapes.count))].feed
        figures = {
            "inputs": len(samples),
            "drift": drift(fp32, int8),
            # random weights find nothing, so there is nothing to lose
            "ndcg": None if self.profile.origin.is_random else self._retrieval(model, samples, fp32, int8),
            "packages": versions("onnxruntime"),
        }
        return decide(figures, before, after, {size: stack([typical] * size) for size in sizes}, gate)

    def _retrieval(
        self, model: str, samples: list[Sample], fp32: Outputs, int8: Outputs
    ) -> Mapping[str, float]:
        """NDCG@10 of both precisions against the FP32 graph on the other side."""
        other_model = _opposite(model)
        others = self.held_out(other_model)
        opposite = open_session(self.folder(other_model) / "fp32.onnx", self.profile.gate.threads)
        other = run_all(opposite, others, BATCH)["embedding"], [sample.meaning for sample in others]
        ours = [(outputs["embedding"], [sample.meaning for sample in samples]) for outputs in (fp32, int8)]
        asks = model == "encode_text"
        return ndcg_lost(*(ndcg_asked(one, other) if asks else ndcg_asked(other, one) for one in ours))

    def inputs(self, model: str) -> Mapping[str, tuple[str | int, ...]]:
        """Inputs of a graph and their axes."""
        return (self._trained[model].graph() if model in self._trained else self.graphs[model]).inputs

    def train_feeds(self, model: str, count: int) -> list[Feed]:
        """Inputs of the train split, to calibrate with."""
        if model in self._trained:
            return [sample.feed for sample in self._steps_on("train")[model].lists[:count]]
        return [sample.feed for sample in self._take(model, "train", count)]

    def compared(self, model: str, outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """What of a graph's outputs drift is measured on."""
        if model not in self._trained:
            return outputs
        return {name: self._trained[model].compared(output) for name, output in outputs.items()}

    @cached_property
    def _trained(self) -> dict[str, TrainedSteps]:
        """Models on embeddings, by name; nothing is read before a step asks for it."""
        return self._steps_on("validation")

    def _steps_on(self, split: str) -> dict[str, TrainedSteps]:
        vectors = vectors_of(self.profile, self.settings, self._manifest, self._take, split)
        return {
            steps.name: steps(
                self.profile,
                self.settings,
                self.folder(steps.name),
                lambda: self.samples.sha256,
                vectors,
            )
            for steps in (RerankerSteps, AttentionSteps)
        }

    def held_out(self, model: str) -> list[Sample]:
        """Validation inputs, then those of the train split that calibrated nothing."""
        if model in self._trained:
            return list(self._trained[model].lists)
        wanted = self.profile.models[model].measured
        used = self.profile.models[model].int8.calibration
        held = self._take(model, "validation", wanted)
        return (held + self._take(model, "train", wanted + used)[used:])[:wanted]

    def _take(self, model: str, split: str, count: int) -> list[Sample]:
        key = (model, split, count)
        if key not in self._taken:
            self._taken[key] = self.samples.take(model, split, count)
        return self._taken[key]

    def _module(self, model: str) -> nn.Module:
        if model not in self._modules:
            if self.profile.models[model].encoder is not None:  # one of a gigabyte at a time
                self._modules.clear()
            self._modules[model] = (
                self.graphs[model].build(self.profile, self.settings, lambda: self._heads).eval()
            )
        return self._modules[model]

    @cached_property
    def _heads(self) -> Heads:
        return load_heads(self.profile.name, self.settings.checkpoints)

    def _head(self, name: str) -> Path:
        path = self.settings.checkpoints / self.profile.name / name
        if not path.is_file():
            raise WeightsError(f"no trained adapter {path}; run `make train`, or restore the file from git")
        return path

    def done(self, step: str, model: str) -> list[Any]:
        """What a step that was done leaves for those after it: its inputs and the hashes of its files."""
        record = read_record(self.folder(model), step)
        if record is None:
            raise ExportError(f"{model}: step {step} comes first; run `python -m export {step}`")
        return [record.inputs, dict(record.files)]


def _opposite(model: str) -> str:
    """The graph on the other side of the retrieval figure: texts look for what the graph embeds."""
    return "encode_image" if model == "encode_text" else "encode_text"
