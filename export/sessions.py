"""ONNX Runtime sessions of an export, and batches of real inputs run through them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from export.samples import Feed, Sample

__all__ = ["batches", "open_session", "run_all", "stack"]


def open_session(
    path: Path, threads: int, exact: bool = False, in_order: bool = False
) -> onnxruntime.InferenceSession:
    """A CPU session with a bounded number of threads that do not spin between calls.

    ``exact`` computes pairs of Q and DQ as the graph has them, in place of this processor's integer kernels;
    ``in_order`` computes a node as soon as it can be, the first in the graph first.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if exact:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if in_order:
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def stack(feeds: Sequence[Feed]) -> Feed:
    """One batch out of rows of equal shape."""
    return {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}


def batches(samples: Sequence[Sample], size: int) -> Iterator[tuple[list[int], Feed]]:
    """Batches between equal shapes, as the server forms them, with the positions of their rows."""
    groups: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for i, sample in enumerate(samples):
        groups[tuple(array.shape for array in sample.feed.values())].append(i)
    for rows in groups.values():
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            yield part, stack([samples[i].feed for i in part])


def run_all(
    session: onnxruntime.InferenceSession, samples: Sequence[Sample], size: int, without: Sequence[str] = ()
) -> dict[str, NDArray[np.float32]]:
    """Every output by name but for some, FP32 [len(samples), dims], in batches of at most ``size``."""
    names = [output.name for output in session.get_outputs() if output.name not in without]
    found: dict[str, dict[int, NDArray[np.float32]]] = {name: {} for name in names}
    for rows, feed in batches(samples, size):
        for name, values in zip(names, session.run(names, feed), strict=True):
            found[name].update(zip(rows, values, strict=True))
    return {name: np.stack([rows[i] for i in range(len(samples))]) for name, rows in found.items()}
