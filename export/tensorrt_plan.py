"""Plans: strongly typed TensorRT engines of the installed graphs, for the GPU that is there.

It needs nothing but TensorRT, nvidia-ml-py and a model repository in which `python -m export --target
tensorrt-graphs` left graphs and profiles. The container job (``export.tensorrt_job``) runs it, on the
libraries of the very image that serves; so does the last step of ``--target tensorrt``.

A plan holds for one version of TensorRT and one compute capability. It is kept in the cache under both and
the hash of its graph, beside the timing cache of that pair, and put into the model's version folder under the
name that ``configs/tensorrt.pbtxt`` gives to the capability.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.errors import NoGpuError, PlanError, TensorRTError

__all__ = [
    "CAPABILITIES",
    "GRAPH",
    "MANIFEST",
    "Device",
    "build_plans",
    "find_device",
    "graph_digest",
    "newest_manifests",
    "plan_name",
]

GRAPH, MANIFEST = "model.tensorrt.onnx", "tensorrt.json"
CAPABILITIES = ("7.5", "8.0", "8.6", "8.7", "8.9", "9.0", "10.0", "10.3", "12.0", "12.1")
"""Compute capabilities that ``configs/tensorrt.pbtxt`` names a file for."""
_WORKSPACE_BYTES = 4 << 30
_TIMEOUT_S = 3600.0  # of one plan


@dataclass(frozen=True)
class Device:
    """The GPU and what it is programmed with."""

    name: str
    capability: str
    driver: str
    tensorrt: str

    @property
    def key(self) -> str:
        """What a plan holds for."""
        return f"trt{self.tensorrt}-sm{self.capability.replace('.', '')}"


def plan_name(capability: str) -> str:
    """File of the plan for a compute capability, "8.6" -> ``model.sm86.plan``."""
    return f"model.sm{capability.replace('.', '')}.plan"


def graph_digest(graph: Mapping[str, Any]) -> str:
    """What names a graph, of the manifest's ``graph`` entry: tensors that stand beside it are part of it."""
    whole = json.dumps(graph, sort_keys=True).encode()
    return hashlib.sha256(whole).hexdigest() if graph.get("beside") else str(graph["sha256"])


def find_device() -> Device:
    """The first GPU.

    Raises:
        NoGpuError: no GPU, no driver, or no TensorRT.
        TensorRTError: a GPU that the configurations do not name.
    """
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError as error:
        raise NoGpuError("nvidia-ml-py is not installed: pip install nvidia-ml-py") from error
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        name = str(nvml.nvmlDeviceGetName(handle))
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        driver = str(nvml.nvmlSystemGetDriverVersion())
    except nvml.NVMLError as error:
        raise NoGpuError(
            f"no NVIDIA GPU to build for ({error}): plans are built on the machine that serves them; "
            "`python -m export --target tensorrt-graphs` makes their graphs anywhere"
        ) from error
    capability = f"{major}.{minor}"
    if capability not in CAPABILITIES:
        raise TensorRTError(
            f"{name} has compute capability {capability}, which no configs/tensorrt.pbtxt names"
        )
    return Device(name, capability, driver, str(_tensorrt().__version__))


def _tensorrt() -> Any:
    problem = ""
    for name in ("tensorrt", "tensorrt_bindings"):  # the wheels' second name, without NVIDIA's own libraries
        try:
            return importlib.import_module(name)
        except (ImportError, OSError) as error:  # OSError: its libraries are not where it looks for them
            problem = problem or str(error)
    raise NoGpuError(
        f"TensorRT cannot be loaded ({problem}): pip install tensorrt-cu13, in the version of the server"
    )


def build_plans(
    repository: Path,
    cache: Path,
    device: Device,
    models: tuple[str, ...] = (),
    build: Callable[[Path, list[Any], Path], bytes] | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Build, or take from the cache, the plan of every model with a graph, and install it.

    Args:
        repository: the model repository.
        cache: folder of plans and timing caches; made if it is not there.
        device: what to build for.
        models: only these; all by default.
        build: graph, profiles and timing cache file -> plan.
        say: told what is done.

    Returns:
        Model -> the ``plans`` entry of its manifest.

    Raises:
        TensorRTError: there is no graph, one is not the file that its manifest names, or TensorRT fails.
    """
    found = newest_manifests(repository)
    chosen = [path for path in found if not models or path.parent.parent.name in models]
    if not chosen:
        raise TensorRTError(
            f"no graphs for TensorRT in {repository}: run `python -m export --target tensorrt-graphs`"
        )
    cache.mkdir(parents=True, exist_ok=True)
    built = {}
    for manifest in chosen:
        model, started = manifest.parent.parent.name, time.monotonic()
        said = json.loads(manifest.read_text(encoding="utf-8"))
        graph, digest = manifest.parent / GRAPH, graph_digest(said["graph"])
        files = {GRAPH: said["graph"]["sha256"], **said["graph"].get("beside", {})}
        for path, sha256 in ((manifest.parent / name, each) for name, each in files.items()):
            if _sha256(path) != sha256:
                raise TensorRTError(f"{path} is not what {manifest.name} describes: install it again")
        recipe = hashlib.sha256(json.dumps([digest, said["profiles"]], sort_keys=True).encode()).hexdigest()
        kept = cache / f"{model}-{recipe[:16]}-{device.key}.plan"
        if not kept.is_file():
            plan = (build or build_plan)(graph, said["profiles"], cache / f"timing-{device.key}.cache")
            _write(kept, plan)
        entry: dict[str, Any] = {
            "file": plan_name(device.capability),
            "sha256": _sha256(kept),
            "graph_sha256": digest,
            "tensorrt": device.tensorrt,
            "gpu": device.name,
            "driver": device.driver,
            "bytes": kept.stat().st_size,
        }
        _copy(kept, manifest.parent / entry["file"])
        said.setdefault("plans", {})[device.capability] = entry
        _write(manifest, (json.dumps(said, indent=1) + "\n").encode())
        built[model] = entry
        say(f"{model}: {entry['file']}, {entry['bytes'] / 1e6:.1f} MB, {time.monotonic() - started:.0f} s")
    return built


def build_plan(graph: Path, profiles: list[Any], timing: Path) -> bytes:
    """One plan, by TensorRT.

    Args:
        graph: ONNX, with explicit Q/DQ.
        profiles: see `export.tensorrt_shapes`.
        timing: timing cache, read and written.

    Raises:
        PlanError: TensorRT does not take the graph, or was not done in an hour.
    """
    trt = _tensorrt()
    logger = _logger(trt)
    builder = trt.Builder(logger)
    # On TensorRT 11 every network is strongly typed and the flag says nothing new; 10 needs it.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        told = "; ".join(str(parser.get_error(number)) for number in range(parser.num_errors))
        raise PlanError(f"{graph}: the parser refuses it: {told}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        for name, bounds in shapes.items():
            profile.set_shape(name, bounds["min"], bounds["opt"], bounds["max"])
        if config.add_optimization_profile(profile) < 0:
            raise PlanError(f"{graph}: not a profile: {shapes}")
    timings = config.create_timing_cache(timing.read_bytes() if timing.is_file() else b"")
    config.set_timing_cache(timings, ignore_mismatch=False)
    monitor = _deadline(trt, time.monotonic() + _TIMEOUT_S)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        late = f" (not done in {_TIMEOUT_S:.0f} s)" if monitor.passed else ""
        raise PlanError(f"{graph}: no plan{late}: {'; '.join(logger.errors[-3:])}")
    _write(timing, bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def _logger(trt: Any) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]
        """Keeps errors, to be told in ours."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return Logger()


def _deadline(trt: Any, until: float) -> Any:
    class Deadline(trt.IProgressMonitor):  # type: ignore[misc]
        """Ends a build that takes too long: TensorRT asks after each of its steps."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.passed = False

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            pass

        def step_complete(self, phase_name: str, step: int) -> bool:
            self.passed = time.monotonic() > until
            return not self.passed

        def phase_finish(self, phase_name: str) -> None:
            pass

    return Deadline()


def newest_manifests(repository: Path) -> list[Path]:
    """``tensorrt.json`` of every model whose newest version has one: containers serve that version."""
    return [path for path in sorted(repository.glob(f"*/[1-9]*/{MANIFEST}")) if _is_newest(path.parent)]


def _is_newest(version: Path) -> bool:
    numbers = [int(each.name) for each in version.parent.glob("[1-9]*") if each.name.isdecimal()]
    return version.name.isdecimal() and int(version.name) == max(numbers)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TensorRTError(f"{path}: {error}") from error


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        shutil.copyfile(source, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
