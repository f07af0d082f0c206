"""Dynamic INT8 with a scale for every row of activations, in place of one for the whole batch.

ONNX Runtime's quantiser scales the activations of a matrix product by the least and greatest value of the
batch, so a vector depends on what else is in it: equal texts had a cosine of 0.993 beside others, and sounds
scored up to 0.3 apart. A row of its own scale (a token, a frame of sound) depends on nothing else;
LLM.int8() (arXiv 2208.07339) calls it vector-wise. Activations stay uint8, with 128 for zero.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from export.errors import QuantizeError

__all__ = ["scale_rows"]

_ZERO, _STEP, _LEAST, _ONE, _AXES = "rows_zero", "rows_step", "rows_least", "rows_one", "rows_axes"
_CONSTANTS = {
    _ZERO: np.uint8(128),
    _STEP: np.float32(1 / 127),
    _LEAST: np.float32(1e-12),  # of a row of zeros
    _ONE: np.float32(1),
    _AXES: np.array([-1], np.int64),
}


def scale_rows(path: Path) -> int:
    """Rewrites what ``quantize_dynamic`` wrote to ``path``; the number of activations that are scaled.

    Raises:
        QuantizeError: the quantiser writes its products in another way than this knows.
    """
    model = onnx.load(str(path), load_external_data=False)  # what stands beside it stays there
    graph = model.graph
    opset = next(each.version for each in model.opset_import if not each.domain)
    maker = {output: node for node in graph.node for output in node.output}
    nodes: list[NodeProto] = []
    replaced: set[str] = set()
    for node in graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            nodes += _quantised(node, opset)
        elif node.op_type == "Mul" and _scales_product(node, maker):
            scales = maker[node.input[1]]
            replaced.add(scales.output[0])
            nodes += _rescaled(node, row=scales.input[0], column=scales.input[1])
        else:
            nodes.append(node)
    nodes = [node for node in nodes if node.output[0] not in replaced]
    products = sum(node.op_type == "MatMulInteger" for node in nodes)
    if products != len(replaced):
        raise QuantizeError(f"{path.name}: {len(replaced)} of {products} products are scaled as expected")
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    for name, value in _CONSTANTS.items():
        if name in used:
            graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path))
    return sum(node.op_type == "QuantizeLinear" and node.input[1] == _ONE for node in nodes)


def _quantised(node: NodeProto, opset: int) -> list[NodeProto]:
    (source,), (quantised, scale, zero) = node.input, node.output
    size, most, step, unit = (f"{quantised}_{part}" for part in ("size", "most", "step", "unit"))
    return [
        helper.make_node("Abs", [source], [size], name=size),
        _greatest(size, most, opset),
        helper.make_node("Mul", [most, _STEP], [step], name=step),
        helper.make_node("Max", [step, _LEAST], [scale], name=scale),
        helper.make_node("Div", [source, scale], [unit], name=unit),
        helper.make_node("QuantizeLinear", [unit, _ONE, _ZERO], [quantised], name=quantised),
        helper.make_node("Identity", [_ZERO], [zero], name=zero),
    ]


def _greatest(source: str, target: str, opset: int) -> NodeProto:
    """Of each row."""
    if opset < 18:
        return helper.make_node("ReduceMax", [source], [target], name=target, axes=[-1], keepdims=1)
    return helper.make_node("ReduceMax", [source, _AXES], [target], name=target, keepdims=1)


def _scales_product(node: NodeProto, maker: dict[str, NodeProto]) -> bool:
    """Whether ``node`` is product * (scale of the activations * scales of the weights)."""
    cast, scales = maker.get(node.input[0]), maker.get(node.input[1])
    if cast is None or scales is None or cast.op_type != "Cast" or scales.op_type != "Mul":
        return False
    product = maker.get(cast.input[0])
    return product is not None and product.op_type == "MatMulInteger"


def _rescaled(node: NodeProto, row: str, column: str) -> list[NodeProto]:
    """One after the other: ONNX Runtime 1.32 takes a product with both scales for one with a single scale of
    activations, and computes something else."""
    between = f"{node.output[0]}_columns"
    return [
        helper.make_node("Mul", [node.input[0], column], [between], name=between),
        helper.make_node("Mul", [between, row], list(node.output), name=node.name),
    ]
