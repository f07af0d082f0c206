"""A small graph of the operators that the encoders have, for the tests of what TensorRT needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.samples import Feed

SIDE, WIDTH = 16, 32


def write_small(path: Path, opset: int = 17) -> None:
    """UINT8 pictures [batch, 2, 16, 16, 3] -> [batch, 32].

    A reshape before the cast, as clips have it, then a convolution, a residual block with LayerNormalization
    and attention of one head, and a head.
    """
    random = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        values = random.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        return numpy_helper.from_array(values, name)

    def integers(name: str, *values: int) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(values, np.int64), name)

    def node(kind: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
        return helper.make_node(kind, inputs, [output], name=f"/{output}/{kind}", **attributes)

    nodes = [
        node("Reshape", ["pixels", "pictures"], "flat"),
        node("Cast", ["flat"], "floats", to=TensorProto.FLOAT),
        node("Transpose", ["floats"], "planes", perm=[0, 3, 1, 2]),
        node("Div", ["planes", "scale"], "scaled"),
        node("Conv", ["scaled", "conv", "conv_bias"], "patches", kernel_shape=[4, 4], strides=[4, 4]),
        node("Reshape", ["patches", "rows"], "columns"),
        node("Transpose", ["columns"], "tokens", perm=[0, 2, 1]),
        node("LayerNormalization", ["tokens", "gain", "shift"], "normed", axis=-1),
        *(node("MatMul", ["normed", name], f"{name}s") for name in ("query", "key", "value")),
        node("Transpose", ["keys"], "turned", perm=[0, 2, 1]),
        node("MatMul", ["querys", "turned"], "scores"),
        node("Softmax", ["scores"], "weighted", axis=-1),
        node("MatMul", ["weighted", "values"], "mixed"),
        node("MatMul", ["mixed", "out"], "back"),
        node("Add", ["tokens", "back"], "residual"),
        node("ReduceMean", ["residual"], "pooled", axes=[1], keepdims=0),
        node("Gemm", ["pooled", "head", "head_bias"], "each", transB=1),
        node("Reshape", ["each", "clips"], "frames"),
        node("ReduceMean", ["frames"], "embedding", axes=[1], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 2, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", WIDTH])],
        [
            integers("pictures", -1, SIDE, SIDE, 3),
            integers("rows", 0, 0, -1),
            integers("clips", -1, 2, WIDTH),
            numpy_helper.from_array(np.array(128, np.float32), "scale"),
            weights("conv", WIDTH, 3, 4, 4),
            numpy_helper.from_array(np.zeros(WIDTH, np.float32), "conv_bias"),
            numpy_helper.from_array(np.ones(WIDTH, np.float32), "gain"),
            numpy_helper.from_array(np.zeros(WIDTH, np.float32), "shift"),
            *(weights(name, WIDTH, WIDTH) for name in ("query", "key", "value", "out", "head")),
            numpy_helper.from_array(np.zeros(WIDTH, np.float32), "head_bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def small_feeds(count: int) -> list[Feed]:
    """Pictures with edges in them, so that ranges differ."""
    random = np.random.default_rng(1)
    noise = random.integers(0, 80, (count, 1, 2, SIDE, SIDE, 3))
    noise[:, :, :, : SIDE // 2] += random.integers(0, 170, (count, 1, 1, 1, 1, 3))
    return [{"pixels": pictures.astype(np.uint8)} for pictures in noise]
