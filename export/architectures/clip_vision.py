"""CLIP's vision tower (Radford et al. 2021, arXiv:2103.00020) of transformers, read at its class token."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from export.architectures.checkpoints import read_checkpoint

__all__ = ["ClipVision", "build", "state"]

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
_VISION, _PROJECTION = "vision_model.", "visual_projection.weight"


class ClipVision(nn.Module):
    """pixels UINT8 [B, side, side, 3], RGB -> FP32 [B, width], not normalised.

    With ``projection`` dimensions that is CLIP's space, shared with its texts; with 0 what lies before it.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, vision: CLIPVisionModel, projection: int) -> None:
        super().__init__()
        self.vision = vision
        hidden = vision.config.hidden_size
        self.projection = nn.Linear(hidden, projection, bias=False) if projection else None
        self.width = projection or hidden
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(3, 1, 1) * 255, persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.deviation
        hidden = self.vision.pre_layrnorm(self.vision.embeddings(x))
        hidden = self.vision.encoder(inputs_embeds=hidden).last_hidden_state
        pooled: torch.Tensor = self.vision.post_layernorm(hidden[:, 0])
        return pooled if self.projection is None else self.projection(pooled)


def build(config: Mapping[str, Any]) -> ClipVision:
    """``config``: the arguments of transformers' CLIPVisionConfig; ``projection_dim`` 0 leaves it out."""
    known = CLIPVisionConfig(**config)
    known._attn_implementation = "eager"
    return ClipVision(CLIPVisionModel(known), int(config.get("projection_dim", 0)))


def state(files: Mapping[str, Path], config: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """``weights``: a checkpoint of CLIPModel, without text tower and a projection nobody reads."""
    found = {}
    for name, tensor in read_checkpoint(files["weights"]).items():
        if name.startswith(_VISION) and not name.endswith("position_ids"):
            found[f"vision.{name.removeprefix(_VISION)}"] = tensor
        elif name == _PROJECTION and config.get("projection_dim", 0):
            found["projection.weight"] = tensor
    return found
