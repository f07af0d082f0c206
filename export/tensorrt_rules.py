"""What TensorRT needs from a graph, checked without TensorRT.

A strongly typed network computes what the graph says and in the types that it says: a pair of Q and DQ in a
wrong place is not repaired, it costs speed or stops the parser. The rules are those of NVIDIA's documentation
for TensorRT 11 (explicit quantisation, operators of the ONNX parser).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

__all__ = ["OPSETS", "violations"]

OPSETS = range(17, 26)
"""17: LayerNormalization is one operator (decomposed, FP16 overflows). 25: the newest that is parsed."""
_QDQ_IN_HALF = 19  # the opset from which Q and DQ take FP16

_WEIGHTED = ("Conv", "MatMul", "Gemm")
_QUANTIZABLE = (
    *_WEIGHTED,
    "Add",
    "AveragePool",
    "Clip",
    "ConvTranspose",
    "GlobalAveragePool",
    "MaxPool",
    "Mul",
)
_INTEGER = ("ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul")
# fmt: off
_OPERATORS = frozenset((
    "Abs", "Add", "And", "ArgMax", "ArgMin", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip",
    "Concat", "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "Cos", "CumSum", "DequantizeLinear",
    "Div", "Einsum", "Elu", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements",
    "GatherND", "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Greater", "GreaterOrEqual",
    "GroupNormalization", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization",
    "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "MatMul", "Max",
    "MaxPool", "Mean", "Min", "Mod", "Mul", "Neg", "Not", "OneHot", "Or", "PRelu", "Pad", "Pow",
    "QuantizeLinear", "Range", "Reciprocal", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Resize", "Round", "ScatterElements",
    "ScatterND", "Shape", "Sigmoid", "Sign", "Sin", "Size", "Slice", "Softmax", "Softplus", "Split", "Sqrt",
    "Squeeze", "Sub", "Sum", "Tanh", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Where", "Xor",
))
# fmt: on
"""Operators of the parser that encoders use; look one up in NVIDIA's list before you add it."""


def violations(model: onnx.ModelProto) -> list[str]:
    """Every rule that the graph breaks, one sentence each; none if TensorRT should take it."""
    return [*_of_the_whole(model), *_of_types(model), *_of_pairs(model.graph)]


def _of_the_whole(model: onnx.ModelProto) -> Iterator[str]:
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset not in OPSETS:
        yield f"opset {opset} is none of {OPSETS.start} to {OPSETS.stop - 1}"
    halves = {name for name, array in _constants(model.graph).items() if array.dtype == np.float16}
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            yield f"{node.name} is of the domain {node.domain}"
        elif node.op_type in _INTEGER:
            yield f"{node.name} is {node.op_type}: precision belongs into Q and DQ"
        elif node.op_type not in _OPERATORS:
            yield f"{node.name} is {node.op_type}, which is not known to be supported"
        if node.op_type in _PAIR and node.input[1] in halves and opset < _QDQ_IN_HALF:
            yield f"{node.name} has an FP16 scale, which needs opset {_QDQ_IN_HALF}"


_PAIR = ("QuantizeLinear", "DequantizeLinear")
_LARGE = 1 << 16  # elements; no shape is that long


def _of_types(model: onnx.ModelProto) -> Iterator[str]:
    graph = model.graph
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.DOUBLE:
            yield f"{tensor.name} is FP64"
    for node in graph.node:
        if node.op_type == "Cast" and _attribute(node, "to") == TensorProto.DOUBLE:
            yield f"{node.name} casts to FP64"
    bytes_in = {tensor.name for tensor in graph.input if _type(tensor) == TensorProto.UINT8}
    for node in graph.node:
        if node.op_type != "Cast" and bytes_in & set(node.input):
            yield f"{node.name} reads a UINT8 input: only a Cast may"
    try:
        onnx.shape_inference.infer_shapes(_without_weights(model), check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        yield f"types do not fit: {str(error).strip().splitlines()[-1]}"


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph, large constants by type and shape alone: with them it may be too large for protobuf."""
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    light.graph.value_info.extend(model.graph.value_info)
    for tensor in model.graph.initializer:
        if np.prod(tensor.dims, dtype=np.int64) < _LARGE:
            light.graph.initializer.append(tensor)
        else:
            light.graph.initializer.add(
                name=tensor.name,
                dims=tensor.dims,
                data_type=tensor.data_type,
                data_location=TensorProto.EXTERNAL,
            )
    return light


def _of_pairs(graph: onnx.GraphProto) -> Iterator[str]:
    constants = _constants(graph)
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in graph.node:
        if node.op_type in _PAIR:
            yield from _of_scale(node, constants)
        if node.op_type == "QuantizeLinear":
            after = readers.get(node.output[0], [])
            if not after or any(each.op_type != "DequantizeLinear" for each in after):
                yield f"{node.name} is not followed by DequantizeLinear alone"
            elif any(not _same_scale(node, each, constants) for each in after):
                yield f"{node.name} and its DequantizeLinear differ in scale"
        elif node.op_type == "DequantizeLinear":
            source = makers.get(node.input[0])
            if node.input[0] not in constants and (source is None or source.op_type != "QuantizeLinear"):
                yield f"{node.name} dequantises what nothing quantised"
        elif node.op_type in _WEIGHTED:
            yield from _of_weighted(node, makers, constants)
        elif node.op_type not in _QUANTIZABLE and any(
            name in makers and makers[name].op_type == "DequantizeLinear" for name in node.input
        ):
            yield f"{node.name} is {node.op_type} and reads a quantised tensor"


def _of_scale(node: onnx.NodeProto, constants: Mapping[str, Any]) -> Iterator[str]:
    scale = constants.get(node.input[1])
    if scale is None:
        yield f"{node.name} has a scale that is computed: it must be a constant"
    elif not (np.isfinite(scale).all() and (scale > 0).all()):
        yield f"{node.name} has a scale that is not positive and finite"
    zero = constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if zero is None:
        yield f"{node.name} has no constant zero point, so its type is not INT8"
    elif zero.dtype != np.int8:
        yield f"{node.name} is {zero.dtype}, not int8"
    elif zero.any():
        yield f"{node.name} is not symmetric: its zero point is not 0"


def _of_weighted(
    node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], constants: Mapping[str, Any]
) -> Iterator[str]:
    pairs = [makers.get(name) for name in node.input[:2]]
    quantized = [pair is not None and pair.op_type == "DequantizeLinear" for pair in pairs]
    if any(quantized) and not all(quantized):
        yield f"{node.name} ({node.op_type}) has one quantised operand: it needs both or none"
    bias = makers.get(node.input[2]) if len(node.input) > 2 else None
    if bias is not None and bias.op_type == "DequantizeLinear":
        yield f"{node.name} has a quantised bias"
    if not all(quantized):
        return
    for place, pair in enumerate(pairs):
        assert pair is not None
        source = makers.get(pair.input[0])
        tensor = pair.input[0] if source is None else source.input[0]
        scale = constants.get(pair.input[1])
        if scale is None:
            continue  # told by the rule of scales
        if tensor not in constants:
            if scale.size != 1:
                yield f"{pair.name} scales an activation per channel: TensorRT takes one scale a tensor"
        elif place == 1 and not _per_channel(node, pair, constants[tensor], scale):
            yield f"{node.name} ({node.op_type}) has weights that are not scaled per output channel"


def _per_channel(node: onnx.NodeProto, pair: onnx.NodeProto, weights: Any, scale: Any) -> bool:
    if node.op_type == "Conv" or (node.op_type == "Gemm" and _attribute(node, "transB")):
        channel = 0
    else:
        channel = weights.ndim - 1
    axis = _attribute(pair, "axis", 1) % weights.ndim
    return bool(axis == channel and scale.shape == (weights.shape[channel],))


def _same_scale(one: onnx.NodeProto, other: onnx.NodeProto, constants: Mapping[str, Any]) -> bool:
    return one.input[1] == other.input[1] or np.array_equal(
        constants.get(one.input[1], np.nan), constants.get(other.input[1], np.nan)
    )


def _constants(graph: onnx.GraphProto) -> dict[str, Any]:
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and (value := _attribute(node, "value", None)) is not None:
            found[node.output[0]] = numpy_helper.to_array(value)
    return found


def _attribute(node: onnx.NodeProto, name: str, default: Any = 0) -> Any:
    return next(
        (onnx.helper.get_attribute_value(each) for each in node.attribute if each.name == name), default
    )


def _type(tensor: onnx.ValueInfoProto) -> int:
    return int(tensor.type.tensor_type.elem_type)
