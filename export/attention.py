"""Attention fusion: the parts of a query composed into one vector for each modality of rows.

The tokens are the parts, each its unified vector (of a sound also its native one) with what it is and its
share of the weights, and one token for each modality that is searched. They attend to one another without
positions, so the order of parts does not matter. What comes out is a residual on the weighted sum of the
parts, and the layer that makes it begins at zero: untrained, it is weighted averaging (Rocchio, 1971).
Composition by a residual on the example follows TIRG (Vo et al. 2019, arXiv:1812.07119).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.functional import normalize

from export.adapters import AUDIO_NATIVE_DIM, EMBEDDING_DIM
from export.errors import WeightsError
from export.reranker import KINDS, ROWS, Block

__all__ = ["Attention", "AttentionShape", "load_attention"]


@dataclass(frozen=True)
class AttentionShape:
    """Size of the model."""

    layers: int = 2
    width: int = 128
    heads: int = 4
    hidden: int = 256


class Attention(nn.Module):
    """B queries of at most P parts.

    (query FP32 [B, P, 1024], native FP32 [B, P, 512], zeros where a part has none, query_kind INT64 [B, P] by
    `export.reranker.KINDS`, 0 for padding, query_weight FP32 [B, P] signed) -> composed FP32 [B, 4, 1024],
    unit norm, by `export.reranker.ROWS`. Scaling all weights of a query changes nothing.
    """

    def __init__(self, shape: AttentionShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        width = shape.width
        self.project = nn.Linear(EMBEDDING_DIM, width)
        self.heard = nn.Linear(AUDIO_NATIVE_DIM, width, bias=False)
        self.kind = nn.Embedding(len(KINDS), width)
        self.weight = nn.Linear(1, width, bias=False)
        # A part that is pushed away speaks in another way than one that is wanted, not only less.
        self.against = nn.Linear(EMBEDDING_DIM, width, bias=False)
        self.row = nn.Parameter(torch.randn(len(ROWS), width) * 0.1)
        self.layers = nn.ModuleList(
            Block(width, shape.heads, shape.hidden, dropout) for _ in range(shape.layers)
        )
        self.last = nn.LayerNorm(width)
        self.change = nn.Linear(width, EMBEDDING_DIM)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)

    def forward(self, query: Tensor, native: Tensor, query_kind: Tensor, query_weight: Tensor) -> Tensor:
        asked = (query_kind > 0).float()
        weight = query_weight * asked
        share = weight / weight.abs().sum(dim=1, keepdim=True).clamp(min=1e-6)
        parts = self.project(query) + self.heard(native) + self.kind(query_kind)
        parts = parts + self.weight(share.unsqueeze(-1))
        parts = parts + self.against(query) * (share < 0).float().unsqueeze(-1)
        rows = self.row.expand(query.shape[0], -1, -1)
        tokens = torch.cat([rows, parts], dim=1)
        mask = torch.cat([torch.ones_like(rows[:, :, 0]), asked], dim=1)
        for layer in self.layers:
            tokens = layer(tokens, mask)
        summed = normalize((share.unsqueeze(-1) * query).sum(dim=1, keepdim=True), dim=-1)
        composed: Tensor = normalize(summed + self.change(self.last(tokens[:, : len(ROWS)])), dim=-1)
        return composed


def load_attention(path: Path) -> tuple[Attention, dict[str, Any]]:
    """A trained model in eval mode, and what its training said of it.

    Tensors may be FP16; the safetensors metadata holds `shape` and `about` as JSON.

    Raises:
        WeightsError: the file is missing, damaged, or of another architecture.
    """
    try:
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        model = Attention(AttentionShape(**json.loads(said["shape"])))
        model.load_state_dict(state)
        about: dict[str, Any] = json.loads(said["about"])
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(f"{path}: {error}; run `make attend`, or restore the file from git") from error
    except (RuntimeError, TypeError) as error:  # load_state_dict on shapes and names, the shape on arguments
        raise WeightsError(f"{path} does not fit attention fusion: {error}") from error
    return model.eval().requires_grad_(False), about
