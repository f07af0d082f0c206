"""Cross-attention retrieval: a query's tokens attend to the segments of each candidate, and the best k win.

For a query with tokens q_1 .. q_T and a candidate with segments c_1 .. c_S, vectors of one space,

    s_tn = q_t . c_n                                     similarity
    a_tn = exp(s_tn / temperature) / sum_m exp(s_tm / temperature)       attention of token t
    score = 1/T sum_t sum_n a_tn s_tn                    attention-weighted similarity, averaged over tokens

That is cross attention whose keys and values are the segments (Lee, Chen, Hua, Hu and He, "Stacked Cross
Attention for Image-Text Matching", ECCV 2018, from words to regions, with the mean over words), compared with
what was attended to by dot product: q_t . sum_n a_tn c_n is sum_n a_tn s_tn, so one product of matrices does,
and neither the attended vectors nor their norms are needed. As the temperature falls it becomes the mean over
tokens of the greatest similarity (Khattab and Zaharia, "ColBERT", SIGIR 2020), as it rises the similarity of
the means.

A candidate without segments is never found, and a query without tokens finds nothing. The score matrix is
never written (Dao, Fu, Ermon, Rudra and Re, "FlashAttention", NeurIPS 2022, does so for attention itself):
each kernel keeps a tile of scores and the best k.

``reference.py`` says the same in torch, on padded arrays. ``cpu.py`` is NumPy and imports no torch;
``triton_path.py`` and ``cuda_path.py`` are for GPUs and have not yet run on one.
"""

from __future__ import annotations

import importlib
from typing import Final, Literal

import numpy as np

from kernels import cpu
from kernels.best import NONE, Best
from kernels.sets import (
    BoundError,
    DeviceError,
    KernelError,
    NotFiniteError,
    ShapeError,
    VectorSets,
)

__all__ = [
    "MAX_K",
    "MAX_THREADS",
    "MIN_TEMPERATURE",
    "NONE",
    "Best",
    "BoundError",
    "DeviceError",
    "KernelError",
    "NotFiniteError",
    "ShapeError",
    "VectorSets",
    "retrieve",
]

MAX_K: Final = 256
MAX_THREADS: Final = 64
MAX_QUERIES: Final = 65_535
"""What one dimension of a GPU's grid holds."""
MIN_TEMPERATURE: Final = 1e-4
MAX_TEMPERATURE: Final = 1e4


def retrieve(
    queries: VectorSets,
    candidates: VectorSets,
    k: int,
    temperature: float,
    threads: int = 1,
    gpu: Literal["triton", "cuda"] = "triton",
) -> Best:
    """The best ``k`` candidates of each query, by the kernel for the device that the rows are on.

    NumPy arrays and torch tensors on the CPU take the CPU path with at most ``threads`` threads, in float32,
    or float64 where either side is. Tensors on a GPU take the kernel that ``gpu`` names: the Triton language,
    or CUDA C++ where nvcc is; both sides are then float32, float16 or bfloat16 alike, and sums float32.

    Equal scores come by rising candidate. Products of float16 and of bfloat16 rows are exact in float32, so
    for all but float64 the error is that of float32 sums: below 1e-6 of the product of the longest rows.

    Raises:
        ShapeError: rows differ in d, in where they are, or, on a GPU, in type; too many queries.
        BoundError: ``k`` (1 to MAX_K), ``temperature`` or ``threads`` is out of range.
        DeviceError: there is no kernel for the device, or it could not be built or started.
    """
    if queries.dim != candidates.dim:
        raise ShapeError(f"queries have {queries.dim} dimensions, candidates {candidates.dim}")
    if len(queries) > MAX_QUERIES:
        raise ShapeError(f"at most {MAX_QUERIES} queries at once, not {len(queries)}")
    if not 1 <= k <= MAX_K:
        raise BoundError(f"k is 1 to {MAX_K}, not {k}")
    if not MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE:
        raise BoundError(f"a temperature is {MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g}, not {temperature}")
    if not 1 <= threads <= MAX_THREADS:
        raise BoundError(f"threads are 1 to {MAX_THREADS}, not {threads}")
    devices = {_device(queries), _device(candidates)}
    if len(devices) > 1:
        raise ShapeError(f"queries and candidates are on {' and '.join(sorted(devices))}")
    (device,) = devices
    if device == "cpu":
        return cpu.retrieve(_on_host(queries), _on_host(candidates), k, temperature, threads)
    if device != "cuda":
        raise DeviceError(f"there is no kernel for {device}")
    if queries.rows.dtype != candidates.rows.dtype:
        raise ShapeError(f"queries are {queries.rows.dtype}, candidates {candidates.rows.dtype}")
    try:
        path = importlib.import_module(f"kernels.{gpu}_path")
    except ImportError as error:
        raise DeviceError(f"the {gpu} kernel needs the package {error.name}") from error
    scores, found = path.retrieve(queries, candidates, k, temperature)
    return Best(scores.cpu().numpy(), found.cpu().numpy())


def _device(sets: VectorSets) -> str:
    return "cpu" if isinstance(sets.rows, np.ndarray) else str(sets.rows.device.type)


def _on_host(sets: VectorSets) -> VectorSets:
    if isinstance(sets.rows, np.ndarray):
        return sets
    rows = sets.rows.detach()
    # NumPy has no bfloat16; float32 holds each of its values.
    rows = rows.float() if str(rows.dtype) == "torch.bfloat16" else rows
    return VectorSets(rows.numpy(), sets.offsets)
