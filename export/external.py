"""Weights beside the graph, for graphs that protobuf cannot hold: it ends at 2 GiB.

``<precision>.onnx`` then names ``<precision>.data`` as the place of its tensors, and both always stand in one
folder. The name is the same while an export works, and where the graph is served.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

__all__ = ["LIMIT_BYTES", "data_name", "graph_files", "is_large", "save_graph", "write_graph"]

LIMIT_BYTES = 2**31 - 2**26
"""Of weights; the rest is room for the graph itself."""
_SMALL_BYTES = 1024
"""Tensors below this stay in the graph."""


def is_large(parameters: int) -> bool:
    """Whether so many FP32 weights need a file beside the graph."""
    return parameters * 4 > LIMIT_BYTES


def data_name(graph: str) -> str:
    """``fp32.onnx`` -> ``fp32.data``."""
    return str(Path(graph).with_suffix(".data"))


def graph_files(graph: str, large: bool) -> tuple[str, ...]:
    """Names of the files that a graph consists of."""
    return (graph, data_name(graph)) if large else (graph,)


def save_graph(written: Path, files: Mapping[str, Path]) -> None:
    """Put a graph, with tensors beside it or not, where ``files`` says: name -> path of each of its files."""
    graph = next(name for name in files if name.endswith(".onnx"))
    if len(files) == 1:
        written.replace(files[graph])
        return
    target = files[graph]
    with TemporaryDirectory(prefix="external-", dir=target.parent) as folder:
        path = Path(folder) / graph
        write_graph(onnx.load(str(written)), path, beside=True)
        shutil.move(path, target)
        shutil.move(Path(folder) / data_name(graph), files[data_name(graph)])


def write_graph(model: onnx.ModelProto, path: Path, beside: bool) -> None:
    """Write ``model``, its tensors in a new file of the same stem if they are to stand ``beside`` it.

    The model in memory has lost those tensors afterwards.
    """
    if not beside:
        onnx.save_model(model, str(path))
        return
    (path.parent / data_name(path.name)).unlink(missing_ok=True)  # onnx would write behind what is there
    onnx.save_model(
        model,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=data_name(path.name),
        size_threshold=_SMALL_BYTES,
    )
