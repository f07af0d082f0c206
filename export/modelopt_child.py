"""``python -m export.modelopt_child REQUEST``: NVIDIA ModelOpt over one graph, in a process of its own.

ModelOpt replaces functions of ONNX Runtime's quantiser and takes operators out of its registry, for the whole
process: the CPU's INT8 step, which uses the same quantiser, must not share one with it. The request is what
`export.qdq` writes; what goes wrong is told on standard error, with an exit code other than 0.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader

from export.external import write_graph
from export.ranges import nodes_beyond

__all__ = ["main"]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Rows of any shape, from the beginning as often as ModelOpt asks for it."""

    def __init__(self, feeds: list[dict[str, Any]]) -> None:
        self._feeds = feeds
        self._rest: Iterator[dict[str, Any]] = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        """The next input, None at the end."""
        return next(self._rest, None)

    def get_first(self) -> dict[str, Any]:
        """An input to look at shapes with."""
        return self._feeds[0]

    def rewind(self) -> None:
        """From the beginning again."""
        self._rest = iter(self._feeds)


def main(request: Path) -> None:
    """Read the request, write ``target``."""
    # seconds of imports, torch among them: an unusable request should not wait for them
    asked = json.loads(request.read_text(encoding="utf-8"))
    from modelopt.onnx.autocast import convert_to_mixed_precision
    from modelopt.onnx.quantization import quantize

    feeds = [dict(np.load(path)) for path in sorted(Path(asked["feeds"]).glob("*.npz"))]
    target, beside = Path(asked["target"]), bool(asked["beside"])
    quantized, chosen = target.with_name("quantized.onnx"), target.with_name("chosen.onnx")
    quantize(
        asked["source"],
        quantize_mode="int8",
        calibration_data_reader=_Reader(feeds),
        calibration_method=asked["method"],
        calibration_eps=["cpu"],
        op_types_to_quantize=asked["operators"],
        nodes_to_quantize=asked["nodes"],
        output_path=str(quantized),
        use_external_data_format=beside,
        high_precision_dtype="fp32",
        log_level="WARNING",
    )
    model = onnx.load(str(quantized))
    _only(model.graph, set(asked["names"]))
    if asked["rest"] == "fp32":
        write_graph(model, target, beside)
        return
    write_graph(model, chosen, beside)
    mixed = convert_to_mixed_precision(
        str(chosen),
        low_precision_type="fp16",
        keep_io_types=True,
        nodes_to_exclude=[
            *asked["fp32_nodes"],
            *(f"{re.escape(name)}$" for name in nodes_beyond(chosen, feeds)),
        ],
        op_types_to_exclude=asked["fp32_operators"],
        data_max=np.inf,  # ModelOpt need not look for values beyond it
    )
    write_graph(mixed, target, beside)


def _only(graph: onnx.GraphProto, chosen: set[str]) -> None:
    """Let all but the chosen nodes read what was there before Q and DQ.

    One pair serves every reader of a tensor, so a residual sum would be quantised with the matrix beside it.
    """
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.name in chosen or node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for place, name in enumerate(node.input):
            pair = makers.get(name)
            if pair is not None and pair.op_type == "DequantizeLinear" and pair.input[0] in makers:
                node.input[place] = makers[pair.input[0]].input[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
