"""``make gpu-check``: the one command for the first machine with a GPU. Written without one: not yet run.

It makes graphs and plans (`--target tensorrt`), runs every plan on real inputs of the catalogue at every
bucket that they have, holds the outputs against ONNX Runtime on the very same graph and against FP32,
measures, and writes ``reports/gpu-check.json`` and the table of docs/export.md. A plan that is not faithful
fails the command.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError, PlanError
from export.measure import drift
from export.pipeline import BATCH, Exporter
from export.profile import load_profile
from export.records import write_atomically
from export.run import run
from export.samples import Feed, Sample, find_manifest
from export.sessions import batches, open_session, run_all, stack
from export.settings import ROOT, Settings
from export.tensorrt_plan import MANIFEST, Device, find_device, plan_name
from export.tensorrt_shapes import Shapes, covers
from export.tensorrt_steps import TARGETS

__all__ = ["Plan", "check_plan", "main", "render", "with_table"]

BEGIN, END = "<!-- gpu-check: begin -->", "<!-- gpu-check: end -->"
SAME_MIN = 0.999
"""Mean cosine of a plan with ONNX Runtime on the same graph: they differ by rounding alone."""
_ROUNDS, _WARM = 50, 5
Outputs = dict[str, NDArray[np.float32]]


class Plan(Protocol):
    """Runs a plan on the GPU."""

    def infer(self, feed: Feed, profile: int) -> Outputs:
        """Outputs of one batch, by the optimisation profile of that number; copies both ways included."""


OpenPlan = Callable[[Path], AbstractContextManager[Plan]]


@contextmanager
def open_plan(path: Path) -> Iterator[Plan]:
    """A plan by Polygraphy's runner. Raises PlanError if TensorRT does not take it."""
    backend = import_module("polygraphy.backend.trt")
    common = import_module("polygraphy.exception")
    try:
        with backend.TrtRunner(backend.EngineFromBytes(path.read_bytes())) as runner:
            yield _Runner(runner)
    except common.PolygraphyException as error:
        raise PlanError(f"{path}: {error}") from error


class _Runner:
    def __init__(self, runner: Any) -> None:
        self._runner, self._profile = runner, 0

    def infer(self, feed: Feed, profile: int) -> Outputs:
        if profile != self._profile:
            self._runner.set_profile(profile)
            self._profile = profile
        # its host buffers are used again by the next call
        return {name: np.array(array) for name, array in self._runner.infer(feed).items()}


def check_plan(
    plan: Plan,
    profiles: Sequence[Shapes],
    samples: Sequence[Sample],
    graph: Mapping[str, NDArray[np.float32]],
    fp32: Mapping[str, NDArray[np.float32]],
    compared: Callable[[Outputs], Mapping[str, Any]],
    max_batch: int,
) -> dict[str, Any]:
    """Compare and measure one plan.

    Args:
        plan: what runs it.
        profiles: its optimisation profiles.
        samples: real inputs, one row each.
        graph, fp32: what ONNX Runtime gives for them, on the plan's graph and on the FP32 graph.
        compared: what of the outputs drift is measured on.
        max_batch: the largest batch to time.

    Returns:
        ``same`` and ``drift`` (output -> mean, worst), ``ms`` (batch -> median of a call), ``inputs`` and the
        ``profiles`` used.

    Raises:
        PlanError: no profile takes an input, or an output is missing.
    """
    found: dict[str, dict[int, NDArray[np.float32]]] = {name: {} for name in graph}
    used = set()
    for rows, feed in batches(samples, min(BATCH, max_batch)):
        number = _profile(profiles, feed)
        used.add(number)
        outputs = plan.infer(feed, number)
        if missing := set(graph) - set(outputs):
            raise PlanError(f"the plan does not give {', '.join(sorted(missing))}")
        for name in graph:
            found[name].update(zip(rows, outputs[name], strict=True))
    ours = {name: np.stack([rows[i] for i in range(len(samples))]) for name, rows in found.items()}
    shapes = [tuple(array.shape for array in sample.feed.values()) for sample in samples]
    typical = samples[shapes.index(max(shapes, key=shapes.count))].feed
    return {
        "inputs": len(samples),
        "profiles": sorted(used),
        "same": drift(compared(dict(graph)), compared(ours)),
        "drift": drift(compared(dict(fp32)), compared(ours)),
        "ms": {
            str(size): round(_time_ms(plan, profiles, stack([typical] * size)), 3)
            for size in sorted({1, min(BATCH, max_batch), max_batch})
        },
    }


def _profile(profiles: Sequence[Shapes], feed: Feed) -> int:
    shapes = {name: array.shape for name, array in feed.items()}
    for number, profile in enumerate(profiles):
        if covers(profile, shapes):
            return number
    raise PlanError(f"no optimisation profile takes {shapes}")


def _time_ms(plan: Plan, profiles: Sequence[Shapes], feed: Feed) -> float:
    number, spent = _profile(profiles, feed), []
    for turn in range(_WARM + _ROUNDS):
        started = time.perf_counter()
        plan.infer(feed, number)
        if turn >= _WARM:
            spent.append(time.perf_counter() - started)
    return median(spent) * 1e3


def render(figures: Mapping[str, Any]) -> str:
    """The table of docs/export.md."""
    device = figures["device"]
    lines = [
        f"{device['name']} (compute capability {device['capability']}, driver {device['driver']}), TensorRT "
        f"{device['tensorrt']}; `make gpu-check` on {figures['date']}. Milliseconds are medians of one call "
        "with its copies, at the shape that is most frequent.",
        "",
        "| graph | precision | cosine with ONNX Runtime | with FP32, mean / worst | ms by batch |",
        "|---|---|---|---|---|",
    ]
    for model, row in figures["models"].items():
        same = "; ".join(f"{name} {each['mean']:.4f}" for name, each in row["same"].items())
        far = "; ".join(
            f"{name} {each['mean']:.4f} / {each['worst']:.4f}" for name, each in row["drift"].items()
        )
        times = ", ".join(f"{size}: {ms:.2f}" for size, ms in row["ms"].items())
        lines.append(f"| {model} | {row['precision']} | {same} | {far} | {times} |")
    return "\n".join(lines)


def with_table(text: str, table: str) -> str:
    """``text`` with what stands between the two marks replaced. Raises ExportError without the marks."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ExportError(f"docs/export.md has no {BEGIN} ... {END}")
    return f"{head}{BEGIN}\n{table}\n{END}{tail}"


def check(exporter: Exporter, device: Device, opened: OpenPlan = open_plan) -> dict[str, Any]:
    """Figures of every installed plan. Raises ExportError."""
    threads, models = exporter.profile.gate.threads, {}
    for model, recipe in exporter.profile.tensorrt.items():
        home = exporter.settings.model_repository / model
        version = max(int(each.name) for each in home.glob("[1-9]*") if each.name.isdecimal())
        said = json.loads((home / str(version) / MANIFEST).read_text(encoding="utf-8"))
        samples, folder = exporter.held_out(model), exporter.folder(model)
        graph = run_all(open_session(folder / "tensorrt.onnx", threads, exact=True), samples, BATCH)
        fp32 = run_all(open_session(folder / "fp32.onnx", threads), samples, BATCH)
        with opened(home / str(version) / plan_name(device.capability)) as plan:
            row = check_plan(
                plan,
                said["profiles"],
                samples,
                graph,
                fp32,
                lambda outputs, model=model: exporter.compared(model, outputs),  # type: ignore[misc]
                recipe.max_batch,
            )
        models[model] = {"precision": said["precision"], **row}
    return {"date": time.strftime("%Y-%m-%d"), "device": asdict(device), "models": models}


def unfaithful(figures: Mapping[str, Any], drift_mean_min: float) -> list[str]:
    """What a plan gives that its graph does not, or that the gate refuses."""
    wrong = []
    for model, row in figures["models"].items():
        for what, least in (("same", SAME_MIN), ("drift", drift_mean_min)):
            wrong += [
                f"{model}: mean cosine of {name} ({what}) is {each['mean']}, below {least}"
                for name, each in row[what].items()
                if not each["mean"] >= least
            ]
    return wrong


def main() -> int:
    """See the module's description."""
    parser = argparse.ArgumentParser(prog="python -m export.tensorrt_check", description=__doc__)
    parser.add_argument("--profile", default="lite")
    asked = parser.parse_args()
    try:
        device, profile, settings = find_device(), load_profile(asked.profile), Settings()
        run(TARGETS["tensorrt"], profile, None, None, "tensorrt")
        figures = check(Exporter(profile, settings, find_manifest(settings.home)), device)
        write_atomically(ROOT / "reports" / "gpu-check.json", json.dumps(figures, indent=1) + "\n")
        document = ROOT / "docs" / "export.md"
        write_atomically(document, with_table(document.read_text(encoding="utf-8"), render(figures)))
        print(render(figures))
        if wrong := unfaithful(figures, profile.gate.drift_mean_min):
            raise PlanError("; ".join(wrong))
    except ExportError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
