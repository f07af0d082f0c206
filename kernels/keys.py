"""What the GPU kernels leave: a score and a candidate in one integer, which sorts as they are to be sorted.

The upper half is a float32 score, its bits turned so that they rise as it does; the lower half counts down as
candidates count up. So of two keys the greater is the better, and no two are equal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.best import NONE

__all__ = ["NOTHING", "unpack"]

NOTHING = -(2**63)
"""No candidate."""
_HALF = 0xFFFFFFFF


def unpack(keys: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Scores [b, k] float32 and candidates [b, k] int64 of the ``k`` best of ``keys`` [b, m] int64.

    -inf and ``NONE`` where there is no candidate, or none any more.
    """
    kept = torch.full((len(keys), k), NOTHING, dtype=torch.int64, device=keys.device)
    best = keys.sort(dim=1, descending=True).values[:, :k]
    kept[:, : best.shape[1]] = best
    rising = (kept >> 32).to(torch.int32)
    bits = rising ^ ((rising >> 31) & 0x7FFFFFFF)
    nothing = kept == NOTHING
    scores = bits.view(torch.float32).masked_fill(nothing, -torch.inf)
    return scores, (_HALF - (kept & _HALF)).masked_fill(nothing, NONE)
