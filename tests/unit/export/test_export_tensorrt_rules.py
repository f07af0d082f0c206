"""What TensorRT needs from a graph: ModelOpt's graphs pass, and each rule catches a graph that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tensorrt_graphs import small_feeds, write_small

from export.errors import QdqError
from export.measure import drift
from export.profile import TensorRT
from export.qdq import write_plain, write_qdq
from export.samples import Sample
from export.sessions import open_session, run_all
from export.tensorrt_rules import violations

RECIPE = TensorRT(int8="^/", calibration=16, max_batch=8)
Change = Callable[[onnx.GraphProto], Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small graph in FP32, and as ModelOpt quantises it with the rest in FP16 and in FP32."""
    home = tmp_path_factory.mktemp("qdq")
    write_small(home / "fp32.onnx")
    for rest in ("fp16", "fp32"):
        recipe = RECIPE.model_copy(update={"rest": rest, "fp32_operators": ("LayerNormalization", "Softmax")})
        figures = write_qdq(
            home / "fp32.onnx", {"qdq.onnx": home / f"int8+{rest}.onnx"}, recipe, small_feeds(16)
        )
        # three projections and the output, no product of attention and no residual sum
        assert figures["quantized"] == {"Conv": 1, "Gemm": 1, "MatMul": 4}
    return home


@pytest.mark.parametrize("rest", ["fp16", "fp32"])
def test_modelopts_graph_is_one_that_tensorrt_takes(folder: Path, rest: str) -> None:
    model = onnx.load(str(folder / f"int8+{rest}.onnx"))
    assert violations(model) == []
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert (TensorProto.FLOAT16 in kinds) == (rest == "fp16")
    assert {node.op_type for node in model.graph.node} >= {"LayerNormalization", "QuantizeLinear"}
    assert [each.name for each in model.graph.input] == ["pixels"]
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


@pytest.mark.parametrize("rest", ["fp16", "fp32"])
def test_modelopts_graph_computes_the_same(folder: Path, rest: str) -> None:
    samples = [Sample("", "", feed) for feed in small_feeds(40)[16:]]
    full = run_all(open_session(folder / "fp32.onnx", 1), samples, 4)
    small = run_all(open_session(folder / f"int8+{rest}.onnx", 1, exact=True), samples, 4)
    assert drift(full, small)["embedding"]["worst"] > 0.99
    assert not np.array_equal(full["embedding"], small["embedding"])


def test_a_plain_graph_has_its_bytes_cast_first(folder: Path, tmp_path: Path) -> None:
    assert any("UINT8" in each for each in violations(onnx.load(str(folder / "fp32.onnx"))))
    write_plain(folder / "fp32.onnx", {"plain.onnx": tmp_path / "plain.onnx"})
    assert violations(onnx.load(str(tmp_path / "plain.onnx"))) == []
    samples = [Sample("", "", feed) for feed in small_feeds(4)]
    both = [
        run_all(open_session(path, 1), samples, 4)["embedding"]
        for path in (folder / "fp32.onnx", tmp_path / "plain.onnx")
    ]
    np.testing.assert_allclose(both[0], both[1], atol=1e-6)


def _of(graph: onnx.GraphProto, kind: str) -> onnx.NodeProto:
    return next(node for node in graph.node if node.op_type == kind)


def _constant(graph: onnx.GraphProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in graph.initializer if tensor.name == name)


def _set(graph: onnx.GraphProto, name: str, values: Any) -> None:
    _constant(graph, name).CopyFrom(numpy_helper.from_array(values, name))


def _values(graph: onnx.GraphProto, name: str) -> Any:
    return numpy_helper.to_array(_constant(graph, name))


def _before(graph: onnx.GraphProto, node: onnx.NodeProto, place: int) -> onnx.NodeProto:
    return next(each for each in graph.node if node.input[place] in each.output)


def _dynamic(graph: onnx.GraphProto) -> None:
    _of(graph, "Softmax").op_type = "DynamicQuantizeLinear"


def _integer(graph: onnx.GraphProto) -> None:
    _of(graph, "Softmax").op_type = "MatMulInteger"


def _foreign(graph: onnx.GraphProto) -> None:
    _of(graph, "QuantizeLinear").domain = "com.microsoft"


def _unknown(graph: onnx.GraphProto) -> None:
    _of(graph, "Softmax").op_type = "NonZero"


def _asymmetric(graph: onnx.GraphProto) -> None:
    zero = _of(graph, "QuantizeLinear").input[2]
    _set(graph, zero, np.ones_like(_values(graph, zero)))


def _unsigned(graph: onnx.GraphProto) -> None:
    zero = _of(graph, "QuantizeLinear").input[2]
    _set(graph, zero, np.zeros_like(_values(graph, zero), np.uint8))


def _no_scale(graph: onnx.GraphProto) -> None:
    scale = _of(graph, "QuantizeLinear").input[1]
    _set(graph, scale, np.zeros_like(_values(graph, scale)))


def _computed_scale(graph: onnx.GraphProto) -> None:
    scale = _of(graph, "QuantizeLinear").input[1]
    tensor = _constant(graph, scale)
    tensor.name = f"{scale}_before"
    graph.node.insert(0, helper.make_node("Identity", [tensor.name], [scale], name="/computed"))


def _one_operand(graph: onnx.GraphProto) -> None:
    conv = _of(graph, "Conv")
    conv.input[1] = _before(graph, _before(graph, conv, 1), 0).input[0]


def _bias(graph: onnx.GraphProto) -> None:
    conv = _of(graph, "Conv")
    pair = _before(graph, conv, 1)
    conv.input[2] = pair.output[0]


def _one_scale(graph: onnx.GraphProto) -> None:
    pair = _before(graph, _of(graph, "Conv"), 1)
    for place in (1, 2):
        _set(graph, pair.input[place], _values(graph, pair.input[place])[:1].reshape(()))


def _wide(graph: onnx.GraphProto) -> None:
    _of(graph, "Cast").attribute[0].i = TensorProto.DOUBLE


def _softmax(graph: onnx.GraphProto) -> None:
    _of(graph, "Softmax").input[0] = _of(graph, "Conv").input[0]


def _alone(graph: onnx.GraphProto) -> None:
    quantized = _of(graph, "QuantizeLinear")
    graph.output.append(helper.make_tensor_value_info(quantized.output[0], TensorProto.INT8, None))
    for node in list(graph.node):
        if quantized.output[0] in node.input:
            graph.node.remove(node)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_dynamic, "precision belongs into Q and DQ"),
        (_integer, "precision belongs into Q and DQ"),
        (_foreign, "domain com.microsoft"),
        (_unknown, "not known to be supported"),
        (_asymmetric, "not symmetric"),
        (_unsigned, "is uint8, not int8"),
        (_no_scale, "not positive and finite"),
        (_computed_scale, "must be a constant"),
        (_one_operand, "one quantised operand"),
        (_bias, "quantised bias"),
        (_one_scale, "not scaled per output channel"),
        (_wide, "FP64"),
        (_softmax, "reads a quantised tensor"),
        (_alone, "not followed by DequantizeLinear"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_rule_catches_what_breaks_it(folder: Path, change: Change, told: str) -> None:
    model = onnx.load(str(folder / "int8+fp32.onnx"))
    change(model.graph)
    assert any(told in each for each in violations(model)), violations(model)


def test_mixed_types_do_not_pass(folder: Path) -> None:
    model = onnx.load(str(folder / "int8+fp16.onnx"))
    halves = [each for each in model.graph.initializer if each.data_type == TensorProto.FLOAT16]
    bias = next(each for each in halves if each.dims)
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias).astype(np.float32), bias.name))
    assert any("types do not fit" in each for each in violations(model))


def test_an_old_opset_does_not_pass(tmp_path: Path) -> None:
    write_small(tmp_path / "new.onnx")
    model = onnx.load(str(tmp_path / "new.onnx"))
    model.opset_import[0].version = 16
    assert any("opset 16" in each for each in violations(model))


def test_a_pattern_that_matches_nothing_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(QdqError, match="no MatMul"):
        write_qdq(
            folder / "fp32.onnx",
            {"x.onnx": tmp_path / "x.onnx"},
            RECIPE.model_copy(update={"int8": "^/nowhere", "operators": ("MatMul",)}),
            small_feeds(8),
        )


def test_modelopt_is_bounded_in_time(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(QdqError, match="not done after"):
        write_qdq(
            folder / "fp32.onnx", {"x.onnx": tmp_path / "x.onnx"}, RECIPE, small_feeds(8), timeout_s=0.01
        )
    assert list(tmp_path.iterdir()) == []


def test_what_modelopt_says_reaches_whoever_ran_it(folder: Path, tmp_path: Path) -> None:
    feeds = [{"pixels": np.zeros((1, 2, 3), np.uint8)}] * 8
    with pytest.raises(QdqError, match="ModelOpt failed"):
        write_qdq(folder / "fp32.onnx", {"x.onnx": tmp_path / "x.onnx"}, RECIPE, feeds)
