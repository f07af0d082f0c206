"""CLAP's sound tower (Wu et al. 2023, arXiv:2211.06687) of transformers, from the waveform on.

CLAP's texts live in a space of their own, and a query has one text vector. So a sound is carried into the
space of the texts by words (as pictures are in ``lite``: Norouzi et al. 2013, arXiv:1312.5650): the words of
``sounds.txt`` that CLAP finds in it, as a convex combination of what the profile's text encoder makes of
them. CLAP's own text tower is needed only while exporting.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn.functional import conv1d, normalize, pad
from transformers import (
    ClapAudioConfig,
    ClapAudioModelWithProjection,
    ClapTextConfig,
    ClapTextModelWithProjection,
)
from transformers.audio_utils import mel_filter_bank

from export.architectures import siglip
from export.architectures.checkpoints import read_checkpoint
from export.errors import WeightsError

__all__ = ["ClapSound", "build", "state", "words"]

SECONDS, RATE_HZ, UP = 10, 16000, 3
"""A sound is read for ten seconds; CLAP reads 48 kHz, three times what decoders give."""
EMBEDDING_DIM = 1024
_WINDOW, _HOP, _MELS = 1024, 480, 64
_LOW_HZ, _HIGH_HZ = 50.0, 14000.0
_FLOOR = 1e-10
_TAPS = 32  # of the interpolation filter, on either side of a sample of 16 kHz
WORDS = Path(__file__).with_name("sounds.txt")


class LogMel(nn.Module):
    """samples FP32 [B, N], mask INT64 [B, N] at 16 kHz -> FP32 [B, 1, 1001, 64], decibels.

    Ten seconds: shorter sounds are repeated whole and padded with silence, as in CLAP's training; of longer
    ones the beginning is read. 48 kHz is reached by a windowed sinc; the transform is a convolution.
    """

    def __init__(self) -> None:
        super().__init__()
        taps = np.arange(-_TAPS * UP, _TAPS * UP + 1)
        sinc = np.sinc(taps / UP) * np.hanning(taps.size + 2)[1:-1]
        self.interpolate = nn.Buffer(torch.from_numpy(sinc).float()[None, None], persistent=False)
        bins = np.arange(_WINDOW // 2 + 1)[:, None] * np.arange(_WINDOW)[None] * (2 * np.pi / _WINDOW)
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
        basis = np.concatenate([np.cos(bins) * hann, np.sin(bins) * hann])
        filters = mel_filter_bank(
            bins.shape[0], _MELS, _LOW_HZ, _HIGH_HZ, RATE_HZ * UP, norm="slaney", mel_scale="slaney"
        )
        self.basis = nn.Buffer(torch.from_numpy(basis).float()[:, None], persistent=False)
        self.mel = nn.Buffer(torch.from_numpy(filters).float(), persistent=False)

    def forward(self, samples: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        length = SECONDS * RATE_HZ
        count = mask.sum(dim=1, keepdim=True).clamp(min=1, max=length)
        place = torch.arange(length, device=samples.device)[None]
        whole = torch.div(length, count, rounding_mode="floor") * count
        repeated = torch.gather(pad(samples, (0, 1)), 1, place % count)
        sound = repeated * (place < whole).float()
        spread = torch.stack([sound, *[torch.zeros_like(sound)] * (UP - 1)], dim=2).reshape(
            -1, 1, length * UP
        )
        fine = conv1d(spread, self.interpolate, padding=_TAPS * UP)
        framed = conv1d(pad(fine, (_WINDOW // 2, _WINDOW // 2), mode="reflect"), self.basis, stride=_HOP)
        power = framed.square()
        power = power[:, : _WINDOW // 2 + 1] + power[:, _WINDOW // 2 + 1 :]
        mel = torch.matmul(power.transpose(1, 2), self.mel).clamp(min=_FLOOR)
        return (torch.log10(mel) * 10.0)[:, None]


class ClapSound(nn.Module):
    """(samples FP32 [B, N], mask INT64 [B, N]) -> FP32 [B, 512]; zeros where the mask is all zeros.

    ``unify`` carries that on: FP32 [B, 512] -> [B, 1024], the texts' space and zeros behind it.
    """

    bank: torch.Tensor
    texts: torch.Tensor
    scale: torch.Tensor

    def __init__(self, model: ClapAudioModelWithProjection, count: int, text_width: int, top: int) -> None:
        super().__init__()
        self.hear, self.clap, self._top = LogMel(), model, top
        self.width = model.config.projection_dim
        self.register_buffer("bank", normalize(torch.randn(count, self.width), dim=-1))
        self.register_buffer("texts", normalize(torch.randn(count, text_width), dim=-1))
        self.register_buffer("scale", torch.tensor(14.3))

    def forward(self, samples: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        mel = self.hear(samples, mask)
        longer = torch.zeros(mel.shape[0], 1, dtype=torch.bool, device=mel.device)
        found: torch.Tensor = self.clap(input_features=mel, is_longer=longer).audio_embeds
        return normalize(found, dim=-1) * (mask.sum(dim=1) > 0).float()[:, None]

    def unify(self, given: torch.Tensor) -> torch.Tensor:
        best, places = torch.topk(given @ self.bank.T, self._top, dim=-1)
        share = torch.softmax(best * self.scale, dim=-1)
        named = torch.matmul(share.unsqueeze(1), self.texts[places]).squeeze(1)
        return pad(named, (0, EMBEDDING_DIM - named.shape[-1]))


def words() -> list[str]:
    """Sounds by name, one a line of ``sounds.txt``."""
    return [line for line in WORDS.read_text(encoding="utf-8").splitlines() if line.strip()]


def build(config: Mapping[str, Any]) -> ClapSound:
    """``config``: ``top`` words name a sound, ``text_width`` and ``siglip`` are the profile's text encoder's,
    ``text``, arguments of ClapTextConfig, else those of ClapAudioConfig."""
    arguments = {name: value for name, value in config.items() if name not in _OWN}
    known = ClapAudioConfig(**arguments)
    known._attn_implementation = "eager"
    model = ClapAudioModelWithProjection(known)
    return ClapSound(model, len(words()), int(config["text_width"]), int(config["top"]))


def state(files: Mapping[str, Path], config: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """``weights`` and ``tokenizer``: of ClapModel; ``text_weights`` and ``text_tokenizer``: of the profile's
    text encoder, a SiglipModel. The words are read by both. Raises WeightsError."""
    checkpoint = read_checkpoint(files["weights"])
    sounds = _of(checkpoint, ("audio_model.", "audio_projection."), build(config).clap)
    found = {f"clap.{name}": tensor for name, tensor in sounds.items()}
    known = ClapTextConfig(**config["text"])
    known._attn_implementation = "eager"
    tower: nn.Module = ClapTextModelWithProjection(known)
    text = siglip.build(config["siglip"])
    try:
        tower.eval().load_state_dict(_of(checkpoint, ("text_model.", "text_projection."), tower))
        text.eval().load_state_dict(siglip.state({"weights": files["text_weights"]}, config["siglip"]))
    except RuntimeError as error:
        raise WeightsError(f"the texts that name sounds: {error}") from error
    ids, mask = _tokens(files["tokenizer"], known.pad_token_id or 0)
    plain, there = _tokens(files["text_tokenizer"], 0)
    with torch.inference_mode():
        bank = tower(input_ids=ids, attention_mask=mask).text_embeds
        texts = text(plain, there)
    found["bank"], found["texts"] = normalize(bank, dim=-1), normalize(texts, dim=-1)
    found["scale"] = checkpoint["logit_scale_a"].exp()
    return found


_OWN = ("top", "text_width", "siglip", "text")
_TABLES = ("position_ids", "token_type_ids", "relative_position_index")
"""Constants that transformers computes: which of them are in a file depends on the version that wrote it."""


def _of(
    checkpoint: Mapping[str, torch.Tensor], prefixes: tuple[str, ...], module: nn.Module
) -> dict[str, torch.Tensor]:
    """The tensors of a part of the checkpoint, with the tables of the module that reads them."""
    tables = {name: table for name, table in module.state_dict().items() if name.endswith(_TABLES)}
    return tables | {
        name: tensor
        for name, tensor in checkpoint.items()
        if name.startswith(prefixes) and not name.endswith(_TABLES)
    }


def _tokens(path: Path, padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of all words, INT64 twice: at most 64 tokens each."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(64)
    tokenizer.enable_padding(pad_id=padding)
    rows = tokenizer.encode_batch(words())
    return torch.tensor([row.ids for row in rows]), torch.tensor([row.attention_mask for row in rows])
