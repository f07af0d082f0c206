"""Nodes that see values too large for FP16, found where they arise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tensorrt_graphs import small_feeds, write_small

from export.errors import QdqError
from export.external import write_graph
from export.ranges import nodes_beyond


def _graph(path: Path, beside: bool = False) -> None:
    """x -> (x * 1000) * 0.001, beside it the number of elements and a slice that is empty."""
    nodes = [
        helper.make_node("Mul", ["x", "much"], ["large"], name="larger"),
        helper.make_node("Mul", ["large", "little"], ["y"], name="smaller"),
        helper.make_node("Neg", ["y"], ["z"], name="small"),
        helper.make_node("Size", ["x"], ["count"], name="count"),
        helper.make_node("Slice", ["x", "end", "end"], ["none"], name="none"),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
            [
                helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n"]),
                helper.make_tensor_value_info("count", TensorProto.INT64, []),
                helper.make_tensor_value_info("none", TensorProto.FLOAT, [None]),
            ],
            [
                numpy_helper.from_array(np.full(2048, 1000, np.float32), "much"),
                numpy_helper.from_array(np.array(0.001, np.float32), "little"),
                numpy_helper.from_array(np.array([2048], np.int64), "end"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    write_graph(model, path, beside)


def _row(value: float) -> dict[str, np.ndarray]:
    return {"x": np.full(2048, value, np.float32)}


@pytest.mark.parametrize("beside", [False, True])
def test_what_reads_or_writes_a_large_value_is_named(beside: bool, tmp_path: Path) -> None:
    _graph(tmp_path / "g.onnx", beside)
    assert nodes_beyond(tmp_path / "g.onnx", [_row(0.5)]) == [], "a count of 2,048 is no float"
    assert nodes_beyond(tmp_path / "g.onnx", [_row(0.5), _row(-0.6)]) == ["larger", "smaller"]
    assert nodes_beyond(tmp_path / "g.onnx", [_row(0.6)], limit=600.5) == []
    left = {"g.onnx", "g.data"} if beside else {"g.onnx"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_infinity_is_too_large(tmp_path: Path) -> None:
    _graph(tmp_path / "g.onnx")
    odd = _row(0.1)
    odd["x"][1000] = float("inf")
    feeds = [_row(0.1), odd, _row(0.1)]
    assert set(nodes_beyond(tmp_path / "g.onnx", feeds)) == {"larger", "smaller", "small", "count", "none"}


def test_operators_that_would_be_fused_are_seen(tmp_path: Path) -> None:
    write_small(tmp_path / "small.onnx")
    everything = nodes_beyond(tmp_path / "small.onnx", small_feeds(2), limit=0.0)
    floats = [
        node.name for node in onnx.load(str(tmp_path / "small.onnx")).graph.node if "flat" not in node.output
    ]
    assert everything == floats, "all but the one that moves bytes"


def test_a_value_whose_type_nobody_knows_is_an_error(tmp_path: Path) -> None:
    _graph(tmp_path / "g.onnx")
    model = onnx.load(str(tmp_path / "g.onnx"))
    model.opset_import.append(helper.make_opsetid("elsewhere", 1))
    model.graph.node.append(helper.make_node("Strange", ["x"], ["w"], name="strange", domain="elsewhere"))
    onnx.save(model, str(tmp_path / "g.onnx"))
    with pytest.raises(QdqError, match="no type can be told of 1 values, the first: w"):
        nodes_beyond(tmp_path / "g.onnx", [_row(1.0)])


_CHAIN, _VALUES = 60, 2_000_000
_GROWTH = """
import resource, sys
from pathlib import Path
import numpy as np
from export.ranges import nodes_beyond

def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

feeds = [{"x": np.ones(%d, np.float32)}]
before = peak()
assert len(nodes_beyond(Path(sys.argv[1]), feeds, limit=1.5)) == %d
print(peak() - before)
"""


def test_values_are_not_kept_after_they_were_looked_at(tmp_path: Path) -> None:
    """60 values of 8 MB, each read once: 480 MB, if all were held to the end."""
    nodes = [
        helper.make_node("Add", [f"v{i}" if i else "x", "one"], [f"v{i + 1}"], name=f"add{i}")
        for i in range(_CHAIN)
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info(f"v{_CHAIN}", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.array(1, np.float32), "one")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "chain.onnx"))
    program = _GROWTH % (_VALUES, _CHAIN)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "chain.onnx")],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert int(done.stdout) < 200e6
