"""The CUDA C++ kernel, ``attend.cu``: built by nvcc, called through ctypes, for tensors on a GPU.

It is built once for the architectures that are asked for, into a file that carries the hash of the source and
of nvcc's version. It has been compiled for sm_80 and sm_90 and has not yet run on a GPU.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from kernels.keys import unpack
from kernels.sets import DeviceError, VectorSets

__all__ = ["ARCHITECTURES", "FLAGS", "SOURCE", "build", "load", "retrieve", "run"]

ARCHITECTURES: Final = ("80", "90")
SOURCE: Final = Path(__file__).with_name("attend.cu")
FLAGS: Final = ("-O3", "-std=c++17")
_KINDS: Final = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
_BUILD_S = 300
_SHARES = 128
"""Blocks of one query at most."""
_WARPS = 8
"""Of a block; each takes a candidate."""


def build(folder: Path) -> Path:
    """The library in ``folder``, compiled for ``ARCHITECTURES`` unless it is there.

    Raises:
        DeviceError: nvcc is missing or refuses the source; the message has what it said.
    """
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise DeviceError("the CUDA kernel needs nvcc (CUDA 12 or later) on the path")
    version = subprocess.run([nvcc, "--version"], capture_output=True, check=False, timeout=60).stdout
    name = hashlib.sha256(SOURCE.read_bytes() + version).hexdigest()[:16]
    library = folder / f"attend-{name}.so"
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / library.name
        architectures = [f"-gencode=arch=compute_{each},code=sm_{each}" for each in ARCHITECTURES]
        # A later GPU than those compiles the intermediate code of the last one for itself.
        architectures.append(f"-gencode=arch=compute_{ARCHITECTURES[-1]},code=compute_{ARCHITECTURES[-1]}")
        done = subprocess.run(
            [nvcc, *FLAGS, *architectures, "-shared", "-Xcompiler", "-fPIC", "-o", str(made), str(SOURCE)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILD_S,
        )
        if done.returncode:
            raise DeviceError(f"nvcc refused {SOURCE.name}: {(done.stderr or done.stdout).strip()[-2000:]}")
        made.rename(library)  # two builders may finish at once: either file is as good
    return library


def load(path: Path) -> ctypes.CDLL:
    """The library at ``path``, ready for ``run``."""
    library = ctypes.CDLL(str(path))
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    library.sensorium_best_of_shares.argtypes = [
        ctypes.c_int,
        *[pointer] * 5,
        *[count] * 2,
        ctypes.c_int,
        count,
        ctypes.c_float,
        ctypes.c_int,
        pointer,
    ]
    library.sensorium_cuda_error.argtypes = [ctypes.c_int]
    library.sensorium_cuda_error.restype = ctypes.c_char_p
    return library


def run(
    library: ctypes.CDLL, queries: VectorSets, candidates: VectorSets, k: int, temperature: float, stream: int
) -> tuple[Tensor, Tensor]:
    """What ``retrieve`` gives, by ``library`` on ``stream`` of the current device. Raises DeviceError."""
    tokens, segments = queries.rows.contiguous(), candidates.rows.contiguous()
    if tokens.dtype not in _KINDS:
        raise DeviceError(f"there is no CUDA kernel for {tokens.dtype}")
    offsets = [torch.from_numpy(sets.offsets).to(tokens.device) for sets in (queries, candidates)]
    shares = min(_SHARES, -(-len(candidates) // _WARPS))
    keys = torch.empty((len(queries), shares, k), dtype=torch.int64, device=tokens.device)
    if keys.numel():
        code = library.sensorium_best_of_shares(
            _KINDS[tokens.dtype],
            tokens.data_ptr(),
            offsets[0].data_ptr(),
            segments.data_ptr(),
            offsets[1].data_ptr(),
            keys.data_ptr(),
            len(queries),
            len(candidates),
            queries.dim,
            shares,
            1.0 / temperature,
            k,
            stream,
        )
        if code:
            raise DeviceError(f"CUDA: {library.sensorium_cuda_error(code).decode()}")
    return unpack(keys.flatten(1), k)


@functools.cache
def _built() -> ctypes.CDLL:
    return load(build(Path(os.environ.get("SENSORIUM_HOME", ".sensorium")) / "cache" / "kernels"))


def retrieve(
    queries: VectorSets, candidates: VectorSets, k: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """See ``kernels.retrieve``, which checks. Scores [b, k] float32 and candidates [b, k] int64.

    Raises:
        DeviceError: nvcc is missing, a type has no kernel, or CUDA refused.
    """
    device = queries.rows.device
    with torch.cuda.device(device):
        stream = torch.cuda.current_stream(device).cuda_stream
        return run(_built(), queries, candidates, k, temperature, stream)
