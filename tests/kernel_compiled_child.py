"""Compiles the Triton kernel for GPUs that are not there; a process of its own, where kernels are not
interpreted.

python kernel_compiled_child.py OUT.json    gives, for each, the size of its machine code and of what it needs
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kernels.triton_path import TILES, best_of_share

ARGUMENTS = {
    "tokens": "*{0}",
    "token_offsets": "*i64",
    "segments": "*{0}",
    "segment_offsets": "*i64",
    "keys": "*i64",
    "candidates": "i32",
    "dim": "i32",
    "tiles": "i32",
    "inverse_temperature": "fp32",
}


def compiled(architecture: int, dtype: str) -> dict[str, int]:
    constants = {**TILES, "best_size": TILES["candidate_tile"], "as_float32": False}
    signature = {name: kind.format(dtype) for name, kind in ARGUMENTS.items()}
    signature |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(fn=best_of_share, signature=signature, constexprs=constants)
    made = triton.compile(source, target=GPUTarget("cuda", architecture, 32))
    return {
        "cubin_bytes": len(made.asm["cubin"]),
        "shared_bytes": made.metadata.shared,
        "tensor_core_products": made.asm["ptx"].count("mma.sync") + made.asm["ptx"].count("wgmma.mma"),
    }


if __name__ == "__main__":
    found = {f"{sm}/{dtype}": compiled(sm, dtype) for sm, dtype in ((80, "fp32"), (90, "bf16"))}
    Path(sys.argv[1]).write_text(json.dumps(found))
