"""Recipes for TensorRT of big encoders, on small ones of the same architectures and random weights."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto
from small_profile import small_inputs, small_profile

from export.encoded import graphs_of
from export.graphs import export_graph
from export.measure import drift
from export.profile import TensorRT
from export.qdq import write_qdq
from export.sessions import open_session, run_all
from export.settings import Settings
from export.tensorrt_rules import violations


@pytest.mark.parametrize(
    ("name", "model", "matrices"),
    # encode_audio and attend of `reference`: test_export_random; the other graphs are made of the same parts
    [
        ("reference", "encode_video", 10),
        ("open", "encode_audio", 20),
    ],
)
def test_a_recipes_graph_keeps_to_the_rules_and_computes_the_same(
    name: str, model: str, matrices: int, tmp_path: Path
) -> None:
    profile = small_profile(name=name)
    graph, recipe, inputs = graphs_of(profile)[model], profile.tensorrt[model], small_inputs(model)
    module = graph.build(profile, Settings(), lambda: pytest.fail("no heads")).eval().requires_grad_(False)
    export_graph(graph, module, tmp_path / "fp32.onnx")
    figures = write_qdq(
        tmp_path / "fp32.onnx",
        {"qdq.onnx": tmp_path / "qdq.onnx"},
        recipe,
        [sample.feed for sample in inputs],
    )
    assert figures["quantized"] == {"MatMul": matrices}
    made = onnx.load(str(tmp_path / "qdq.onnx"))
    assert violations(made) == []
    halves, kept = _halves(made), [node for node in made.graph.node if _is_kept(node, recipe)]
    assert kept
    assert [node.name for node in kept if halves & {*node.input, *node.output}] == []
    assert halves, "the rest is FP16"
    full, small = (
        run_all(open_session(tmp_path / f"{each}.onnx", 1, exact=True), inputs, 1, graph.timed)
        for each in ("fp32", "qdq")
    )
    assert all(row["worst"] > 0.99 for row in drift(full, small).values())


def _is_kept(node: onnx.NodeProto, recipe: TensorRT) -> bool:
    """Whether the recipe says FP32, by operator or by name."""
    if node.op_type in ("Cast", "QuantizeLinear", "DequantizeLinear", "Constant"):
        return False
    named = recipe.fp32 is not None and re.match(recipe.fp32, node.name) is not None
    return named or node.op_type in recipe.fp32_operators


def _halves(model: onnx.ModelProto) -> set[str]:
    """Names of the FP16 tensors."""
    graph, half = onnx.shape_inference.infer_shapes(model).graph, TensorProto.FLOAT16
    computed = {each.name for each in graph.value_info if each.type.tensor_type.elem_type == half}
    return computed | {each.name for each in graph.initializer if each.data_type == half}
