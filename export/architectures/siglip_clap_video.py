"""A clip as SigLIP sees its frames and CLAP hears its sound track: no encoder and no weights of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize, pad

from export.architectures import clap, siglip

__all__ = ["build", "state"]


class SiglipClapVideo(nn.Module):
    """(frames UINT8 [B, T, side, side, 3], samples FP32 [B, N], mask INT64 [B, N]) -> FP32 [B, width].

    Three blocks of equal weight, each of unit norm: the mean of the frames, the mean absolute difference of
    neighbours, and the sound track (zeros without one). ``unify`` gives the mean of the frames alone.
    """

    def __init__(self, vision: nn.Module, sound: clap.ClapSound, seen: int) -> None:
        super().__init__()
        self.vision, self.sound, self._seen = vision, sound, seen
        self.width = 2 * seen + sound.width

    def forward(self, frames: torch.Tensor, samples: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen = normalize(self.vision(frames.reshape(-1, *frames.shape[2:])), dim=-1)
        seen = seen.reshape(frames.shape[0], frames.shape[1], -1)
        change = (seen[:, 1:] - seen[:, :-1]).abs().mean(dim=1)
        blocks = [normalize(seen.mean(dim=1), dim=-1), normalize(change, dim=-1), self.sound(samples, mask)]
        return torch.cat(blocks, dim=-1)

    def unify(self, given: torch.Tensor) -> torch.Tensor:
        return pad(given[:, : self._seen], (0, clap.EMBEDDING_DIM - self._seen))


def build(config: Mapping[str, Any]) -> SiglipClapVideo:
    """``config``: ``vision`` as siglip has it, ``sound`` as clap has it."""
    vision = siglip.build(config["vision"])
    return SiglipClapVideo(vision, clap.build(config["sound"]), int(config["vision"]["hidden_size"]))


def state(files: Mapping[str, Path], config: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The files of both; SigLIP's is ``text_weights``."""
    vision = siglip.state({"weights": files["text_weights"]}, config["vision"])
    found = {f"vision.{name}": tensor for name, tensor in vision.items()}
    return found | {f"sound.{name}": tensor for name, tensor in clap.state(files, config["sound"]).items()}
