"""The steps towards TensorRT, per graph: qdq -> drift -> install (-> plan, on a machine with a GPU).

They take any FP32 graph that the steps before them recorded; what is particular to it stands in the profile's
``tensorrt`` recipes. Nothing here needs a GPU but the plan.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

from export.errors import InstallError, ProfileError, QdqError
from export.external import data_name, graph_files, save_graph
from export.graphs import GRAPHS
from export.measure import drift
from export.pipeline import BATCH, Exporter, versions
from export.profile import TensorRT
from export.qdq import MODULES, PACKAGES, write_plain, write_qdq
from export.records import Record, fingerprint, read_record, run_step, write_atomically
from export.sessions import open_session, run_all
from export.tensorrt_plan import GRAPH, MANIFEST, build_plans, find_device, graph_digest
from export.tensorrt_shapes import profiles

__all__ = ["TARGETS", "TensorRTSteps"]

_GRAPHS = ("fetch", "load", "onnx", "parity", "int8", "gate", "qdq", "drift", "install")
TARGETS: dict[str, tuple[str, ...]] = {"tensorrt-graphs": _GRAPHS, "tensorrt": (*_GRAPHS, "plan")}
"""What is made for TensorRT -> its steps. Those of ONNX Runtime are `export.pipeline.STEPS`."""


class TensorRTSteps:
    """Of one profile, on what its exporter holds."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter

    def run(self, step: str, model: str) -> Record:
        """Do ``qdq`` or ``drift`` of one graph, unless it was done already. Raises ExportError."""
        return {"qdq": self._qdq, "drift": self._drift}[step](model)

    def recipe(self, model: str) -> TensorRT:
        """The graph's recipe. Raises ProfileError."""
        profile = self._exporter.profile
        if model not in profile.tensorrt:
            raise ProfileError(f"profile {profile.name} has no tensorrt recipe for {model}")
        return profile.tensorrt[model]

    def _qdq(self, model: str) -> Record:
        exporter, recipe, folder = self._exporter, self.recipe(model), self._exporter.folder(model)
        try:
            packages = versions(*PACKAGES)
        except PackageNotFoundError as error:
            raise QdqError(
                f"{error.name} is not installed: pip install -e '.[tensorrt]' -c constraints.txt"
            ) from error
        inputs = fingerprint(
            MODULES,
            onnx=exporter.done("onnx", model),
            recipe=recipe.model_dump(),
            samples=exporter.samples.sha256,
            packages=packages,
        )

        def work(files: Mapping[str, Path]) -> Any:
            feeds = exporter.train_feeds(model, recipe.calibration)
            return {**write_qdq(folder / "fp32.onnx", files, recipe, feeds), "packages": packages}

        return run_step(folder, "qdq", inputs, self._files(model, "qdq.onnx"), work)

    def _files(self, model: str, graph: str) -> tuple[str, ...]:
        """Names of a graph's files: tensors stand beside it where those of the FP32 graph do."""
        return graph_files(graph, (self._exporter.folder(model) / data_name("fp32.onnx")).is_file())

    def _drift(self, model: str) -> Record:
        """Measure the graph against FP32; one that misses the gate is built in FP32."""
        exporter, folder = self._exporter, self._exporter.folder(model)
        gate = exporter.profile.gate
        inputs = fingerprint(
            ("measure", "qdq", "sessions", "tensorrt_steps"),
            qdq=exporter.done("qdq", model),
            drift_mean_min=gate.drift_mean_min,
            samples=exporter.samples.sha256,
            packages=versions("onnxruntime"),
        )

        def work(files: Mapping[str, Path]) -> Any:
            # a text of several windows is where sums in FP16 would grow too large
            edges = exporter.samples.edge_cases(model) if model in GRAPHS else []
            samples = edges + exporter.held_out(model)
            size = min(BATCH, self.recipe(model).max_batch)
            timed = exporter.graphs[model].timed if model in exporter.graphs else ()
            before = run_all(open_session(folder / "fp32.onnx", gate.threads), samples, size, timed)
            after = run_all(open_session(folder / "qdq.onnx", gate.threads, exact=True), samples, size, timed)
            figures = drift(exporter.compared(model, before), exporter.compared(model, after))
            low = [name for name, row in figures.items() if not row["mean"] >= gate.drift_mean_min]
            if low:
                write_plain(folder / "fp32.onnx", files)
            elif len(files) > 1:
                save_graph(folder / "qdq.onnx", files)
            else:
                shutil.copyfile(folder / "qdq.onnx", files["tensorrt.onnx"])
            rest = self.recipe(model).rest
            return {
                "inputs": len(samples),
                "drift": figures,
                "precision": "fp32" if low else f"int8+{rest}",
                "reasons": [f"mean cosine of {name} is below {gate.drift_mean_min}" for name in low],
            }

        return run_step(folder, "drift", inputs, self._files(model, "tensorrt.onnx"), work)

    def install(self, model: str, version: str) -> str:
        """Put graph and profiles beside the ONNX graph of the same weights; returns what names the graph.

        Raises:
            InstallError: a step is missing, or the repository cannot be written.
        """
        exporter, folder = self._exporter, self._exporter.folder(model)
        records = {step: read_record(folder, step) for step in ("qdq", "drift")}
        missing = [step for step, record in records.items() if record is None]
        if missing:
            raise InstallError(f"{model}: not done yet: {', '.join(missing)}")
        done = {step: record for step, record in records.items() if record is not None}
        files = dict(done["drift"].files)
        graph: dict[str, Any] = {"file": GRAPH, "sha256": files.pop("tensorrt.onnx")}
        if files:
            graph["beside"] = files
        digest = graph_digest(graph)
        measured = dict(done["drift"].figures)
        target = exporter.settings.model_repository / model / version
        content = {
            "profile": exporter.profile.name,
            "model": model,
            "version": version,
            "precision": measured.pop("precision"),
            "why": measured.pop("reasons"),
            "graph": graph,
            "profiles": profiles(exporter.inputs(model), self.recipe(model)),
            "recipe": self.recipe(model).model_dump(),
            "qdq": done["qdq"].figures,
            "drift": measured,
            "plans": _plans(target / MANIFEST, digest),
        }
        try:
            # tensors keep their name: the graph says where it looks for them
            for source, name in (*((each, each) for each in files), ("tensorrt.onnx", GRAPH)):
                partial = target / f".{name}.partial"
                shutil.copyfile(folder / source, partial)
                partial.replace(target / name)
            write_atomically(target / MANIFEST, json.dumps(content, indent=1) + "\n")
        except OSError as error:
            raise InstallError(f"{model}: {error}") from error
        return digest

    def plan(self, model: str) -> Mapping[str, Any]:
        """Build the plan of an installed graph for the GPU that is there. Raises TensorRTError."""
        settings = self._exporter.settings
        built: Mapping[str, Any] = build_plans(
            settings.model_repository,
            settings.home.absolute() / "plans",
            find_device(),
            (model,),
            say=lambda _: None,
        )[model]
        return built


def _plans(manifest: Path, digest: str) -> Mapping[str, Any]:
    """Plans that were built of the very graph."""
    try:
        known = json.loads(manifest.read_text(encoding="utf-8"))["plans"]
        return {key: plan for key, plan in known.items() if plan["graph_sha256"] == digest}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
