"""The definition in torch, eagerly, on padded arrays: what the kernels are held against, and what
``make bench-kernels`` calls PyTorch eager. It writes the whole score matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["retrieve", "scores"]


def scores(
    tokens: Tensor, token_mask: Tensor, segments: Tensor, segment_mask: Tensor, temperature: float
) -> Tensor:
    """Scores [b, n] of ``tokens`` [b, t, d] and ``segments`` [n, s, d], masks true where there is a vector.

    Computed in the type of the inputs. -inf where either set is empty; what is masked must be finite.
    """
    similarity = torch.einsum("btd,nsd->btns", tokens, segments)
    weights = (similarity / temperature).masked_fill(~segment_mask, -torch.inf).softmax(-1)
    attended = (weights * similarity).sum(-1)
    attended = attended.masked_fill(~token_mask[:, :, None], 0.0)
    mean = attended.sum(1) / token_mask.sum(1)[:, None]
    here = token_mask.any(1)[:, None] & segment_mask.any(1)
    return mean.masked_fill(~here, -torch.inf)


def retrieve(
    tokens: Tensor,
    token_mask: Tensor,
    segments: Tensor,
    segment_mask: Tensor,
    k: int,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Scores and candidates [b, min(k, n)], best first, equal scores by rising candidate."""
    found = scores(tokens, token_mask, segments, segment_mask, temperature)
    best, order = found.sort(dim=1, descending=True, stable=True)
    return best[:, :k], order[:, :k]
