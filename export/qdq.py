"""Explicit Q/DQ for TensorRT by NVIDIA ModelOpt, after the recipe of the profile.

Weights are symmetric int8 with a scale per output channel, activations symmetric int8 with one scale a
tensor, taken from real inputs; biases are not quantised. Everything else computes in FP16 or FP32, as the
recipe says: in a strongly typed network precision lives in the graph and nowhere else.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from export.errors import QdqError
from export.external import save_graph, write_graph
from export.profile import TensorRT
from export.samples import Feed
from export.tensorrt_rules import violations

__all__ = ["MODULES", "PACKAGES", "chosen_nodes", "write_plain", "write_qdq"]

MODULES = ("external", "modelopt_child", "qdq", "ranges", "sessions", "tensorrt_rules")
"""Modules of this room that make the graph."""
PACKAGES = ("nvidia-modelopt", "onnx", "onnx-graphsurgeon", "onnxconverter-common", "onnxruntime", "onnxslim")
_TIMEOUT_S = 3600.0
_REPORTED = 2000  # characters of what ModelOpt said last


def write_qdq(
    source: Path,
    files: Mapping[str, Path],
    recipe: TensorRT,
    feeds: Sequence[Feed],
    timeout_s: float = _TIMEOUT_S,
) -> Mapping[str, Any]:
    """Write the form of ``source`` for TensorRT.

    Args:
        source: FP32 ONNX graph of any opset from 17 on; external data beside it is read.
        files: name -> path to write, of the graph and of its tensors where they stand beside it.
        recipe: which nodes, and what the others compute in.
        feeds: calibration inputs, batch in front.
        timeout_s: bound of the whole, in seconds.

    Returns:
        Figures: nodes with quantised operands by operator, Q/DQ pairs, nodes left in FP32 by operator,
        share of the weights with a scale, bytes.

    Raises:
        QdqError: a pattern matches nothing, ModelOpt fails or takes too long, or the graph breaks a rule.
    """
    beside = len(files) > 1
    with TemporaryDirectory(prefix="qdq-", dir=_graph_path(files).parent) as name:
        folder = Path(name)
        model = onnx.load(str(source))
        _cast_bytes(model.graph)
        nodes = chosen_nodes(model.graph, recipe)
        write_graph(model, folder / "source.onnx", beside)
        (folder / "feeds").mkdir()
        for number, feed in enumerate(feeds):
            np.savez(folder / "feeds" / f"{number:06}.npz", allow_pickle=False, **feed)
        request = {
            "source": str(folder / "source.onnx"),
            "target": str(folder / "target.onnx"),
            "beside": beside,
            "feeds": str(folder / "feeds"),
            "method": recipe.method,
            "operators": list(recipe.operators),
            "names": nodes,
            # ModelOpt takes patterns and matches them from the beginning
            "nodes": [f"{re.escape(each)}$" for each in nodes],
            "rest": recipe.rest,
            "fp32_nodes": [recipe.fp32] if recipe.fp32 else [],
            "fp32_operators": list(recipe.fp32_operators),
        }
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        _run(folder / "request.json", timeout_s)
        made = onnx.load(str(folder / "target.onnx"))
        if broken := violations(made):
            raise QdqError(f"{source}: {len(broken)} rules broken, the first: {broken[0]}")
        figures = _figures(made.graph, recipe)
        if not figures["pairs"]:
            raise QdqError(f"{source}: nothing was quantised")
        save_graph(folder / "target.onnx", files)
    written = sum(path.stat().st_size for path in files.values())
    return {**figures, "calibration_inputs": len(feeds), "bytes": written}


def write_plain(source: Path, files: Mapping[str, Path]) -> None:
    """Write ``source`` as TensorRT takes it, all in FP32; ``files`` as for `write_qdq`. Raises QdqError."""
    model = onnx.load(str(source))
    _cast_bytes(model.graph)
    if broken := violations(model):
        raise QdqError(f"{source}: {len(broken)} rules broken, the first: {broken[0]}")
    with TemporaryDirectory(prefix="plain-", dir=_graph_path(files).parent) as name:
        write_graph(model, Path(name) / "plain.onnx", len(files) > 1)
        save_graph(Path(name) / "plain.onnx", files)


def _graph_path(files: Mapping[str, Path]) -> Path:
    return next(path for name, path in files.items() if name.endswith(".onnx"))


def _run(request: Path, timeout_s: float) -> None:
    command = [sys.executable, "-m", "export.modelopt_child", str(request)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise QdqError(f"ModelOpt was not done after {timeout_s:.0f} s") from error
    if done.returncode < 0:
        raise QdqError(f"ModelOpt was ended by signal {-done.returncode}: too little memory?")
    if done.returncode:
        if "No module named 'modelopt'" in done.stderr:
            raise QdqError("ModelOpt is not installed: pip install -e '.[tensorrt]' -c constraints.txt")
        raise QdqError(f"ModelOpt failed: {(done.stderr or done.stdout)[-_REPORTED:].strip()}")


def _cast_bytes(graph: onnx.GraphProto) -> None:
    """TensorRT takes UINT8 only from an input into a Cast: one is put before whatever reads it otherwise."""
    for tensor in graph.input:
        if tensor.type.tensor_type.elem_type != TensorProto.UINT8:
            continue
        readers = [node for node in graph.node if tensor.name in node.input]
        if all(node.op_type == "Cast" for node in readers):
            continue
        floats = f"{tensor.name}_float"
        for node in readers:
            node.input[:] = [floats if name == tensor.name else name for name in node.input]
        cast = helper.make_node(
            "Cast", [tensor.name], [floats], name=f"/{tensor.name}/Cast", to=TensorProto.FLOAT
        )
        graph.node.insert(0, cast)


def chosen_nodes(graph: onnx.GraphProto, recipe: TensorRT) -> list[str]:
    """Names of the nodes that the recipe quantises. Raises QdqError if there are none."""
    constants = {tensor.name for tensor in graph.initializer}
    names = [
        node.name
        for node in graph.node
        if node.op_type in recipe.operators
        and re.search(recipe.int8, node.name)
        # products of two activations, as in attention, keep their precision
        and (node.op_type not in ("Conv", "MatMul", "Gemm") or node.input[1] in constants)
    ]
    if not names:
        raise QdqError(f"no {', '.join(recipe.operators)} node matches {recipe.int8!r}")
    return names


def _figures(graph: onnx.GraphProto, recipe: TensorRT) -> dict[str, Any]:
    makers = {name: node.op_type for node in graph.node for name in node.output}
    quantized: dict[str, int] = {}
    for node in graph.node:
        if node.op_type != "QuantizeLinear" and any(
            makers.get(name) == "DequantizeLinear" for name in node.input
        ):
            quantized[node.op_type] = quantized.get(node.op_type, 0) + 1
    return {
        "quantized": dict(sorted(quantized.items())),
        "pairs": sum(node.op_type == "DequantizeLinear" for node in graph.node),
        "rest": recipe.rest,
    }
