"""wav2vec 2.0 (Baevski et al. 2020, arXiv:2006.11477) of transformers, pooled over time by attention.

The pooling weighs each frame by a small network and takes the weighted mean (Okabe et al. 2018, "Attentive
statistics pooling", arXiv:1803.10963, its mean). It is no part of the published checkpoint: it is trained
with the adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from export.architectures.checkpoints import read_checkpoint

__all__ = ["build", "state"]

_MASKED = -1e9  # finite, so that a row in which everything is masked stays a number
_QUIET = 1e-7  # what the published feature extractor adds to the variance


class AttentivePooling(nn.Module):
    """(frames FP32 [B, T, D], valid FP32 [B, T]) -> FP32 [B, out]: a weighted mean over valid frames."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.inner, self.score = nn.Linear(width, hidden), nn.Linear(hidden, 1)
        self.outer = nn.Linear(width, out)

    def forward(self, frames: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        scores = self.score(torch.tanh(self.inner(frames))) + (1.0 - valid[:, :, None]) * _MASKED
        out: torch.Tensor = self.outer((torch.softmax(scores, dim=1) * frames).sum(dim=1))
        return out


class Wav2Vec2(nn.Module):
    """(samples FP32 [B, N], mask INT64 [B, N], ones then zeros) -> (FP32 [B, width], logits FP32 [B, T, V]).

    A sound gives the same in every bucket: its mean and variance, its frames, attention and pooling see only
    what was computed from unmasked samples. Frames are 20 ms apart; logits of masked frames say "blank".
    Sounds of less than one frame (25 ms) are read with the silence after them; a row without any gives zeros.
    """

    learned: ClassVar[str] = "pool"

    def __init__(self, model: Wav2Vec2ForCTC, width: int, pooled: int) -> None:
        super().__init__()
        self.wav2vec2, self.ctc = model.wav2vec2, model.lm_head
        config = model.config
        self._frames = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self._blank = config.pad_token_id
        self.pool = AttentivePooling(config.hidden_size, pooled, width)
        self.width = width

    def forward(self, samples: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        count = mask.sum(dim=1)
        heard = mask.float()
        size = count.float().clamp(min=1.0)[:, None]
        centred = (samples - (samples * heard).sum(dim=1, keepdim=True) / size) * heard
        variance = centred.square().sum(dim=1, keepdim=True) / size
        x = centred * torch.rsqrt(variance + _QUIET)
        x = self.wav2vec2.feature_extractor(x).transpose(1, 2)
        x = self.wav2vec2.feature_projection(x)[0]
        length = count
        for kernel, stride in self._frames:
            length = torch.div(length - kernel, stride, rounding_mode="floor") + 1
        length = length.clamp(min=1)
        valid = (torch.arange(x.shape[1], device=x.device)[None, :] < length[:, None]).float()
        x = x * valid[:, :, None]
        encoder = self.wav2vec2.encoder
        x = x + encoder.pos_conv_embed(x)
        bias = (1.0 - valid[:, None, None, :]) * _MASKED
        for layer in encoder.layers:
            x = layer(x, attention_mask=bias)
        x = encoder.layer_norm(x)
        logits = self.ctc(x)
        blank = torch.zeros_like(logits)
        blank[:, :, self._blank] = -_MASKED
        logits = logits * valid[:, :, None] + blank * (1.0 - valid[:, :, None])
        return self.pool(x, valid) * (count > 0).float()[:, None], logits


def build(config: Mapping[str, Any]) -> Wav2Vec2:
    """``config``: ``width`` of what is given, ``pooling`` hidden units, else arguments of Wav2Vec2Config.

    Only the variant whose layers are normalised first (``do_stable_layer_norm``) is read.

    Raises:
        ValueError: another variant.
    """
    arguments = dict(config)
    width, pooled = int(arguments.pop("width")), int(arguments.pop("pooling"))
    known = Wav2Vec2Config(**arguments)
    if not known.do_stable_layer_norm or known.feat_extract_norm != "layer":
        raise ValueError("wav2vec2 is read with do_stable_layer_norm and feat_extract_norm: layer alone")
    known._attn_implementation = "eager"
    return Wav2Vec2(Wav2Vec2ForCTC(known), width, pooled)


def state(files: Mapping[str, Path], _: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """``weights``: a checkpoint of Wav2Vec2ForCTC."""
    found = {}
    for name, tensor in read_checkpoint(files["weights"]).items():
        name = name.replace("conv.weight_g", "conv.parametrizations.weight.original0")
        name = name.replace("conv.weight_v", "conv.parametrizations.weight.original1")
        if name.startswith("lm_head."):
            found[f"ctc.{name.removeprefix('lm_head.')}"] = tensor
        elif name.startswith("wav2vec2."):
            found[name] = tensor
    return found
