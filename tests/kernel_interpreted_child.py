"""Runs the Triton kernel by Triton's interpreter over all cases; a process of its own, because the
environment decides for the whole process whether kernels are interpreted.

python kernel_interpreted_child.py OUT.npz    with TRITON_INTERPRET=1
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from kernel_cases import CASES, inputs

from kernels import triton_path

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def main(out: str) -> None:
    found = {}
    for case in CASES:
        for dtype in DTYPES:
            scores, candidates = triton_path.retrieve(*inputs(case, dtype), case.k, case.temperature)
            found[f"{case.name}/{dtype}/scores"] = scores.numpy()
            found[f"{case.name}/{dtype}/candidates"] = candidates.numpy()
    np.savez(out, **found)


if __name__ == "__main__":
    main(sys.argv[1])
