"""SigLIP's two towers (Zhai et al. 2023, arXiv:2303.15343) of transformers. The checkpoints of SigLIP 2
(Tschannen et al. 2025, arXiv:2502.14786) with a fixed resolution have this architecture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import SiglipTextConfig, SiglipTextModel, SiglipVisionConfig, SiglipVisionModel

from export.architectures.checkpoints import read_checkpoint

__all__ = ["build", "state"]

_TOWERS = {"text": "text_model.", "vision": "vision_model."}


class SiglipText(nn.Module):
    """(input_ids, attention_mask INT64 [B, L]) -> FP32 [B, width], not normalised.

    Texts are padded to the window that the model was trained on, 64 tokens, without a mask, and read at its
    last place. Longer ones are read in windows; the mean is over those that hold tokens.
    """

    def __init__(self, model: SiglipTextModel) -> None:
        super().__init__()
        self.text = model
        self._window = model.config.max_position_embeddings
        self.width = model.config.projection_size

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        rows = input_ids.shape[0]
        ids, mask = (_whole(each, self._window) for each in (input_ids, attention_mask))
        hidden = self.text.embeddings(input_ids=ids.reshape(-1, self._window))
        hidden = self.text.encoder(inputs_embeds=hidden).last_hidden_state
        read = self.text.head(self.text.final_layer_norm(hidden)[:, -1]).reshape(rows, -1, self.width)
        holds = mask.reshape(rows, -1, self._window)[:, :, :1].float()
        pooled: torch.Tensor = (read * holds).sum(dim=1) / holds.sum(dim=1).clamp(min=1.0)
        return pooled


class SiglipVision(nn.Module):
    """pixels UINT8 [B, side, side, 3], RGB -> FP32 [B, width], not normalised."""

    def __init__(self, model: SiglipVisionModel) -> None:
        super().__init__()
        self.vision = model
        self.width = model.config.hidden_size

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        hidden = self.vision.encoder(inputs_embeds=self.vision.embeddings(x)).last_hidden_state
        pooled: torch.Tensor = self.vision.head(self.vision.post_layernorm(hidden))
        return pooled


def _whole(x: torch.Tensor, window: int) -> torch.Tensor:
    """[B, L] -> zeros behind it up to whole windows; L is a bucket, at most a window or a multiple of one."""
    padded = torch.cat([x, torch.zeros_like(x[:, :1]).expand(-1, window)], dim=1)
    return padded[:, : (x.shape[1] + window - 1) // window * window]


def build(config: Mapping[str, Any]) -> nn.Module:
    """``config``: ``tower``, text or vision, else the arguments of that tower's configuration."""
    arguments = dict(config)
    if arguments.pop("tower") == "text":
        text = SiglipTextConfig(**arguments)
        text._attn_implementation = "eager"
        return SiglipText(SiglipTextModel(text))
    vision = SiglipVisionConfig(**arguments)
    vision._attn_implementation = "eager"
    return SiglipVision(SiglipVisionModel(vision))


def state(files: Mapping[str, Path], config: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """``weights``: a checkpoint of SiglipModel, of which one tower is taken."""
    tower = config["tower"]
    prefix = _TOWERS[tower]
    return {
        f"{tower}.{name.removeprefix(prefix)}": tensor
        for name, tensor in read_checkpoint(files["weights"]).items()
        if name.startswith(prefix) and not name.endswith("position_ids")
    }
