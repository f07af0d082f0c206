"""Parity step: the ONNX graph must compute what torch computes, on real inputs and at several shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from export.errors import ParityError
from export.graphs import Graph
from export.samples import Sample
from export.sessions import batches, open_session

__all__ = ["check_parity"]


def check_parity(
    graph: Graph, module: nn.Module, path: Path, samples: Sequence[Sample], max_abs: float
) -> Mapping[str, Any]:
    """Compare every output on every sample, in batches of one and of up to four.

    Returns:
        Figures: the largest absolute difference per output, inputs and distinct shapes that were compared.

    Raises:
        ParityError: a difference above ``max_abs``, or a value that is not finite.
    """
    session = open_session(path, torch.get_num_threads())
    worst = dict.fromkeys(graph.outputs, 0.0)
    shapes = set()
    for size in (1, 4):
        for _, feed in batches(samples, size):
            shapes.add(tuple(array.shape for array in feed.values()))
            with torch.inference_mode():
                outputs = module(*(torch.from_numpy(feed[name]) for name in graph.inputs))
            expected = outputs if isinstance(outputs, tuple) else (outputs,)
            found = session.run(list(graph.outputs), feed)
            for name, one, other in zip(graph.outputs, expected, found, strict=True):
                difference = float(np.abs(one.numpy() - other).max())
                # written so that NaN fails too
                if not difference <= max_abs:
                    raise ParityError(
                        f"{graph.name}: {name} differs by {difference:.2e}, allowed is {max_abs:.0e}, at "
                        f"{[array.shape for array in feed.values()]}"
                    )
                worst[name] = max(worst[name], difference)
    return {"max_abs": worst, "inputs": len(samples), "shapes": len(shapes)}
