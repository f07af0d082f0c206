"""Motion by SlowFast, appearance by CLIP, joined by one trained matrix: a clip's 2,048 dimensions.

That matrix is trained with the adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.functional import normalize

from export.architectures import clip_vision
from export.architectures.checkpoints import read_checkpoint
from export.architectures.slowfast import SlowFast, renamed

__all__ = ["build", "state"]

_MEAN, _DEVIATION = 0.45 * 255, 0.225 * 255


class SlowFastClip(nn.Module):
    """(frames UINT8 [B, T, side, side, 3], samples FP32 [B, N], mask INT64 [B, N]) -> FP32 [B, width].

    T is a multiple of 4. CLIP reads ``stills`` of the frames, evenly chosen; its mean, of unit norm, and that
    of SlowFast are joined. The sound track is not read.
    """

    learned: ClassVar[str] = "fusion"

    def __init__(self, motion: SlowFast, clip: clip_vision.ClipVision, stills: int, width: int) -> None:
        super().__init__()
        self.motion, self.clip, self._stills = motion, clip, stills
        self.fusion = nn.Linear(motion.width + clip.width, width)
        self.width = width

    def forward(self, frames: torch.Tensor, samples: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        moving = (frames.permute(0, 4, 1, 2, 3).float() - _MEAN) / _DEVIATION
        moved = normalize(self.motion(moving), dim=-1)
        every = frames.shape[1] // self._stills
        stills = frames[:, every // 2 :: every][:, : self._stills]
        seen = self.clip(stills.reshape(-1, *frames.shape[2:]))
        seen = normalize(seen.reshape(frames.shape[0], self._stills, -1).mean(dim=1), dim=-1)
        out: torch.Tensor = self.fusion(torch.cat([moved, seen], dim=-1))
        return out


def build(config: Mapping[str, Any]) -> SlowFastClip:
    """``config``: ``width``, ``stills``, SlowFast's ``depths`` and ``channels``, ``clip``: clip_vision's."""
    motion = SlowFast(tuple(config["depths"]), int(config["channels"]))
    clip = clip_vision.build(config["clip"])
    return SlowFastClip(motion, clip, int(config["stills"]), int(config["width"]))


def state(files: Mapping[str, Path], config: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """``clip``: a checkpoint of CLIPModel; ``motion``: PyTorchVideo's of SlowFast."""
    clip = clip_vision.state({"weights": files["clip"]}, config["clip"])
    motion = renamed(read_checkpoint(files["motion"], "model_state"))
    found = {f"clip.{name}": tensor for name, tensor in clip.items()}
    return found | {f"motion.{name}": tensor for name, tensor in motion.items()}
