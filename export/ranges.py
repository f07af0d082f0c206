"""Which nodes of a graph see values too large for FP16, measured on real inputs.

The rule is that of ModelOpt's AutoCast, whose own measuring holds every intermediate value in memory: 21 GB
for a sound of 30 s in wav2vec2-large. Here the graph reduces each value where it arises: the memory is that
of the graph, and any number of inputs can be looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.shape_inference import infer_shapes

from export.errors import QdqError
from export.samples import Feed
from export.sessions import open_session

__all__ = ["LIMIT", "nodes_beyond"]

LIMIT = 512.0
"""Beyond it neighbours in FP16 are half a unit apart, and more."""
_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)


def nodes_beyond(source: Path, feeds: Iterable[Feed], limit: float = LIMIT) -> list[str]:
    """Names of the nodes that read or write a float beyond ``limit``, positive or negative.

    Args:
        source: FP32 graph of standard operators, Q/DQ among them; tensors beside it are read. A second
            graph stands beside it while this works.
        feeds: real inputs, batch in front.
        limit: of the absolute value.

    Raises:
        QdqError: the type of a value cannot be told.
    """
    # tensors in a file beside the graph stay there: shapes are inferred in memory, which ends at 2 GiB
    model = onnx.load(str(source), load_external_data=False)
    around = [(node.name, {*node.input, *node.output}) for node in model.graph.node]
    watched = _watch(model.graph, _floats(model))
    path = source.with_name(f"{source.stem}-watched.onnx")
    try:
        onnx.save_model(model, str(path))
        session = open_session(path, len(os.sched_getaffinity(0)), exact=True, in_order=True)
        largest = np.zeros(len(watched))
        for feed in feeds:
            values = session.run(list(watched), feed)
            largest = np.maximum(largest, [np.max(value, initial=0.0) for value in values])
    finally:
        path.unlink(missing_ok=True)
    beyond = {name for name, value in zip(watched.values(), largest, strict=True) if value > limit}
    return [name for name, tensors in around if tensors & beyond]


def _floats(model: onnx.ModelProto) -> list[str]:
    graph = infer_shapes(model).graph
    kinds = {
        each.name: each.type.tensor_type.elem_type
        for each in (*graph.input, *graph.value_info, *graph.output)
    }
    made = [name for node in graph.node for name in node.output if name]
    if unknown := [name for name in made if not kinds.get(name)]:
        raise QdqError(f"no type can be told of {len(unknown)} values, the first: {unknown[0]}")
    return [name for name in (*(each.name for each in graph.input), *made) if kinds[name] in _FLOATS]


def _watch(graph: onnx.GraphProto, names: list[str]) -> dict[str, str]:
    """Give the largest magnitude of every value instead of what is given; returns new output -> value."""
    watched = {f"largest of {name}": name for name in names}
    outputs = {name: output for output, name in watched.items()}
    order: list[onnx.NodeProto] = []

    def look(made: Iterable[str]) -> None:
        for name in made:
            if name in outputs:
                magnitude, largest = f"magnitude of {name}", outputs[name]
                order.append(helper.make_node("Abs", [name], [magnitude], name=magnitude))
                # an empty value can only be reduced if its dimensions are kept
                order.append(helper.make_node("ReduceMax", [magnitude], [largest], name=largest, keepdims=1))

    look(each.name for each in graph.input)
    for node in graph.node:
        order.append(node)
        look(node.output)
    del graph.node[:], graph.output[:]
    graph.node.extend(order)
    graph.output.extend(helper.make_empty_tensor_value_info(output) for output in watched)
    return watched
