"""Triton's `onnxruntime` backend, for servers that lack the native one.

A *Python-based backend*: tritonserver loads any model whose config.pbtxt says `backend: "onnxruntime"`
through this file when the backend directory holds it. It reads the keys that the native backend (24.10)
reads, so that one model repository serves both:

    instance_group                         one session for each instance, on CPU
    default_model_filename                 "model.onnx" when absent
    optimization.graph.level               -1 basic, 0 all, 1 extended, 2 none
    parameters.intra_op_thread_count       0 lets ONNX Runtime choose
    parameters.inter_op_thread_count       likewise; read with execution_mode 1
    parameters.execution_mode              0 sequential, 1 parallel
    parameters.enable_mem_arena, .enable_mem_pattern
    parameters.session.*                   session configuration entries, by ONNX Runtime's own names
                                           (the native backend knows fewer of them and ignores the others)

Each dynamic batch is one call of the graph: inputs of the requests are joined along the batch axis, outputs
are cut into views. A batch that the graph refuses is repeated one request at a time, so that only the guilty
one fails.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

_GRAPH_LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
_EXECUTION_MODES = {0: ort.ExecutionMode.ORT_SEQUENTIAL, 1: ort.ExecutionMode.ORT_PARALLEL}
_DTYPES = {
    "TYPE_BOOL": "tensor(bool)",
    "TYPE_UINT8": "tensor(uint8)",
    "TYPE_UINT16": "tensor(uint16)",
    "TYPE_UINT32": "tensor(uint32)",
    "TYPE_UINT64": "tensor(uint64)",
    "TYPE_INT8": "tensor(int8)",
    "TYPE_INT16": "tensor(int16)",
    "TYPE_INT32": "tensor(int32)",
    "TYPE_INT64": "tensor(int64)",
    "TYPE_FP16": "tensor(float16)",
    "TYPE_FP32": "tensor(float)",
    "TYPE_FP64": "tensor(double)",
    "TYPE_STRING": "tensor(string)",
}
# ONNX Runtime's exceptions for input that does not fit the graph; all others are the server's fault.
_INPUT_ERRORS = (ort_errors.InvalidArgument, ort_errors.RuntimeException)


class ModelConfigError(ValueError):
    """config.pbtxt and the graph disagree, or a key has a bad value. The model does not load."""


class TritonPythonModel:
    """One instance: one ONNX Runtime session."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        if args["model_instance_kind"] not in ("CPU", "AUTO"):
            raise ModelConfigError(
                f"instance kind {args['model_instance_kind']}: this backend runs on CPU only"
            )
        filename = config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"]) / args["model_version"] / filename
        if path.is_dir():  # the native backend accepts a directory that holds model.onnx
            path /= "model.onnx"
        if not path.is_file():
            raise ModelConfigError(f"{args['model_name']}: no {filename} in version {args['model_version']}")
        self._session = ort.InferenceSession(
            path, _session_options(config), providers=["CPUExecutionProvider"]
        )
        batched = config["max_batch_size"] > 0
        self._inputs = _checked("input", config["input"], self._session.get_inputs(), batched)
        self._outputs = _checked("output", config["output"], self._session.get_outputs(), batched)
        missing = {node.name for node in self._session.get_inputs()} - set(self._inputs)
        if missing:
            raise ModelConfigError(f"inputs of the graph that config.pbtxt does not name: {sorted(missing)}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request in order; see the module docstring."""
        wanted = [name for name in self._outputs if any(name in r.requested_output_names() for r in requests)]
        feeds = [self._feed(request) for request in requests]
        sizes = [len(next(iter(feed.values()))) for feed in feeds]
        if len(feeds) == 1:
            return [self._run_one(wanted, feeds[0])]
        joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in self._inputs}
        try:
            outputs = self._session.run(wanted, joined)
        except Exception:  # whatever it is, each request meets it again alone and is answered with it
            return [self._run_one(wanted, feed) for feed in feeds]
        responses, start = [], 0
        for size in sizes:
            parts = [output[start : start + size] for output in outputs]
            responses.append(_response(wanted, parts))
            start += size
        return responses

    def _feed(self, request: Any) -> dict[str, np.ndarray]:
        return {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}

    def _run_one(self, wanted: list[str], feed: dict[str, np.ndarray]) -> Any:
        try:
            return _response(wanted, self._session.run(wanted, feed))
        except _INPUT_ERRORS as error:
            return _failure(error, pb_utils.TritonError.INVALID_ARG)
        except Exception as error:  # the server must serve on
            return _failure(error, pb_utils.TritonError.INTERNAL)


def _response(names: list[str], arrays: list[np.ndarray]) -> Any:
    return pb_utils.InferenceResponse([pb_utils.Tensor(n, a) for n, a in zip(names, arrays, strict=True)])


def _failure(error: Exception, code: int) -> Any:
    # The first line only: ONNX Runtime adds node names and paths of its own sources.
    text = f"onnxruntime: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(text, code))


def _session_options(config: dict[str, Any]) -> ort.SessionOptions:
    parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
    level = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
    mode = _integer(parameters, "execution_mode", maximum=1)
    if level not in _GRAPH_LEVELS:
        raise ModelConfigError(f"optimization.graph.level {level}: not one of {sorted(_GRAPH_LEVELS)}")
    options = ort.SessionOptions()
    options.graph_optimization_level = _GRAPH_LEVELS[level]
    options.execution_mode = _EXECUTION_MODES[mode]
    options.intra_op_num_threads = _integer(parameters, "intra_op_thread_count")
    options.inter_op_num_threads = _integer(parameters, "inter_op_thread_count")
    options.enable_cpu_mem_arena = _flag(parameters, "enable_mem_arena")
    options.enable_mem_pattern = _flag(parameters, "enable_mem_pattern")
    for key, value in parameters.items():
        if key.startswith("session."):
            options.add_session_config_entry(key, value)
    return options


def _integer(parameters: dict[str, str], key: str, maximum: int = 1024) -> int:
    text = parameters.get(key, "0")
    if not text.isdecimal() or int(text) > maximum:
        raise ModelConfigError(f"parameter {key} = {text!r}: not an integer in 0..{maximum}")
    return int(text)


def _flag(parameters: dict[str, str], key: str) -> bool:
    text = parameters.get(key, "true").lower()
    if text not in ("true", "1", "false", "0"):
        raise ModelConfigError(f"parameter {key} = {text!r}: not true, false, 1 or 0")
    return text in ("true", "1")


def _checked(what: str, configured: list[dict[str, Any]], nodes: list[Any], batched: bool) -> list[str]:
    """The names in config.pbtxt, each compared with the graph in dtype, rank and fixed sizes."""
    graph = {node.name: node for node in nodes}
    for entry in configured:
        name, node = entry["name"], graph.get(entry["name"])
        if node is None:
            raise ModelConfigError(f"{what} {name!r} is not in the graph, which has {sorted(graph)}")
        if _DTYPES.get(entry["data_type"]) != node.type:
            raise ModelConfigError(f"{what} {name!r} is {entry['data_type']} here, {node.type} in the graph")
        dims = ([-1] if batched else []) + [int(size) for size in entry["dims"]]
        fits = len(dims) == len(node.shape) and all(
            -1 in (ours, theirs) or ours == theirs
            for ours, theirs in zip(dims, [s if isinstance(s, int) else -1 for s in node.shape], strict=True)
        )
        if not fits:
            raise ModelConfigError(f"{what} {name!r} is {dims} here, {node.shape} in the graph")
    return [entry["name"] for entry in configured]
