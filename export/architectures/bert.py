"""BERT (Devlin et al. 2019, arXiv:1810.04805) of transformers, read at its [CLS] token."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import BertConfig, BertModel

from export.architectures.checkpoints import read_checkpoint
from export.encoders import WINDOW, TextEncoder

__all__ = ["build", "state"]

_PREFIX = "bert."


class ClsEncoder(TextEncoder):
    """(input_ids, attention_mask INT64 [B, L]) -> FP32 [B, width], not normalised.

    A row of several windows is the mean of the first vectors of those that hold tokens; only the first window
    begins with [CLS].
    """

    def __init__(self, bert: BertModel) -> None:
        super().__init__(bert)
        self.width = bert.config.hidden_size

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        rows, length = input_ids.shape
        windows = (length + WINDOW - 1) // WINDOW
        first = self.tokens(input_ids, attention_mask)[:, 0].reshape(rows, windows, -1)
        holds = attention_mask.reshape(rows, windows, -1)[:, :, :1].float()
        return (first * holds).sum(dim=1) / holds.sum(dim=1).clamp(min=1.0)


def build(config: Mapping[str, Any]) -> nn.Module:
    """``config`` holds the arguments of transformers' BertConfig."""
    known = BertConfig(**config)
    known._attn_implementation = "eager"
    return ClsEncoder(BertModel(known, add_pooling_layer=False))


def state(files: Mapping[str, Path], _: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """``weights``: a checkpoint of BertForPreTraining or BertModel. Pooler and language head are left out."""
    found = {}
    for name, tensor in read_checkpoint(files["weights"]).items():
        plain = name.removeprefix(_PREFIX)
        if plain.startswith(("embeddings.", "encoder.")) and not plain.endswith("position_ids"):
            # checkpoints converted from TensorFlow call the parts of LayerNorm gamma and beta
            plain = plain.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
                "LayerNorm.beta", "LayerNorm.bias"
            )
            found[f"bert.{plain}"] = tensor
    return found
