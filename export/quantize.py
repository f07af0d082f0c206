"""INT8 by ONNX Runtime's own quantiser, after the recipe of the profile.

Weights are symmetric int8 with a scale per output channel (MiniLM: cosine 0.995; one scale a tensor: 0.965).
Activations are uint8: dynamic ones get their scale at run time, each row its own (``rows``), static ones
(QDQ) from the smallest and largest value seen on calibration inputs. The range is not reduced: on CPUs
without VNNI the uint8 x int8 products of AVX2 may saturate, so figures hold for CPUs like the one the
manifest names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from export.errors import QuantizeError
from export.external import save_graph
from export.profile import Int8
from export.rows import scale_rows
from export.samples import Feed

__all__ = ["MODULES", "integer_share", "quantize"]

MODULES = ("external", "quantize", "rows")
"""What an INT8 graph depends on of this package, for the fingerprint of the step."""

_STATIC_OPERATORS = ["Conv", "Clip", "Relu", "Add", "Gemm", "MatMul"]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        """The next input, None at the end, as the quantiser asks for it."""
        return next(self._feeds, None)


def quantize(
    source: Path, files: Mapping[str, Path], recipe: Int8, feeds: Sequence[Feed]
) -> Mapping[str, Any]:
    """Write the INT8 form of ``source``.

    Args:
        source: FP32 ONNX graph.
        files: name -> path to write, of the graph and of its tensors where they stand beside it.
        recipe: which nodes, and how.
        feeds: calibration inputs, for static recipes.

    Returns:
        Figures: quantised nodes by kind, share of the weights that are integers, bytes.

    Raises:
        QuantizeError: a pattern matches nothing, the quantiser fails, or fewer of the weights than the recipe
            asks for became integers.
    """
    figures: dict[str, Any] = {"calibration_inputs": len(feeds)}
    beside = len(files) > 1
    target = next(path for name, path in files.items() if name.endswith(".onnx"))
    with TemporaryDirectory(prefix="int8-", dir=target.parent) as folder:
        current = Path(folder) / "prepared.onnx"
        try:
            quant_pre_process(
                str(source), str(current), skip_symbolic_shape=True, save_as_external_data=beside
            )
            if recipe.static is not None:
                nodes = _nodes(current, recipe.static, _STATIC_OPERATORS)
                figures["static_nodes"] = len(nodes)
                quantize_static(
                    str(current),
                    str(Path(folder) / "static.onnx"),
                    _Reader(feeds),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=_STATIC_OPERATORS,
                    nodes_to_quantize=nodes,
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    calibrate_method=CalibrationMethod.MinMax,
                    use_external_data_format=beside,
                )
                current = Path(folder) / "static.onnx"
            if recipe.dynamic is not None:
                nodes = _nodes(current, recipe.dynamic, ["MatMul"])
                figures["dynamic_nodes"] = len(nodes)
                quantize_dynamic(
                    str(current),
                    str(Path(folder) / "dynamic.onnx"),
                    op_types_to_quantize=["MatMul"],
                    nodes_to_quantize=nodes,
                    per_channel=True,
                    weight_type=QuantType.QInt8,
                    use_external_data_format=beside,
                )
                current = Path(folder) / "dynamic.onnx"
                figures["scaled_rows"] = scale_rows(current)
        except QuantizeError:
            raise
        # the quantiser has no error tree of its own: ValueError, RuntimeError, AttributeError come out of it
        except Exception as error:
            raise QuantizeError(f"{source.name}: {type(error).__name__}: {error}") from error
        share = integer_share(current)
        if share < recipe.integers_min:
            raise QuantizeError(f"{source.name}: only {share:.0%} of the weights became integers")
        save_graph(current, files)
    written = sum(path.stat().st_size for path in files.values())
    return {**figures, "integer_weights": round(share, 4), "bytes": written}


def integer_share(path: Path) -> float:
    """Part of a graph's weights that is stored as 8-bit integers.

    Weights are constants of at least 1,024 elements; tables that are only looked up in do not count.
    """
    graph = onnx.load(str(path), load_external_data=False).graph
    sizes = {True: 0, False: 0}
    tables = {name for node in graph.node if node.op_type in ("Gather", "Slice") for name in node.input}
    for tensor in graph.initializer:
        if tensor.name in tables:
            continue
        count = 1
        for side in tensor.dims:
            count *= side
        if count >= 1024:
            sizes[tensor.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)] += count
    return sizes[True] / max(1, sum(sizes.values()))


def _nodes(path: Path, pattern: str, operators: Sequence[str]) -> list[str]:
    graph = onnx.load(str(path), load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    names = [
        node.name
        for node in graph.node
        if node.op_type in operators
        and re.search(pattern, node.name)
        # attention multiplies two activations: dynamic quantisation leaves those products alone
        and (node.op_type != "MatMul" or node.input[1] in constants)
    ]
    if not names:
        raise QuantizeError(f"no {', '.join(operators)} node matches {pattern!r}")
    return names
