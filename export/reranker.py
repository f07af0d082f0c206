"""The re-ranker: a cross-modal transformer over a query's parts and one candidate's rows at a time.

Every candidate is a sequence of its own: a summary token, the query's parts, the candidate's rows (one of
each modality, the best segment of it). Tokens are the unified vectors, projected, with an embedding of what
they are; a part carries its signed weight, a row the calibrated evidence that was found for it (Nogueira and
Cho 2019, arXiv:1901.04085, on vectors instead of words). A last layer attends over the summaries of all
candidates (Pang et al. 2020, SetRank, arXiv:1912.05891): there are no positions anywhere, so the order of
candidates does not matter. Each pair (kind of part, modality of row) has a head of its own.

The logit is the log-odds of the fused score plus corrections whose last layers begin at zero: untrained, it
is the fused order. Some of what a transformer would have to learn from few examples is given to it as
features: evidence and cosine per modality, and how like a candidate is to those that fusion believes in
(pseudo-relevance feedback; Lavrenko and Croft 2001).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.functional import gelu

from export.errors import WeightsError

__all__ = ["KINDS", "ROWS", "Block", "Reranker", "Shape", "load_reranker"]

EMBEDDING_DIM = 1024
KINDS = ("padding", "text", "image", "audio", "video", "transcript")
"""Kinds of a query's vectors by number; a transcript is what was heard in a sound."""
ROWS = ("text", "image", "audio", "video")
"""Modalities of a candidate's rows by place."""
_ODDS_FLOOR = 1e-6
_EVIDENCE_FLOOR = 1e-4
_MASKED = -1e4
_LIKE = (0, 1)
"""Rows that are compared between candidates: texts and pictures, which nearly every item has."""
FEATURES = 4 * len(ROWS) + len(KINDS) + 4 + 2 * len(_LIKE)


@dataclass(frozen=True)
class Shape:
    """Size of a re-ranker. ``scores``: whether it sees fused scores and evidence, or vectors alone."""

    layers: int = 2
    width: int = 128
    heads: int = 4
    hidden: int = 256
    scores: bool = True


class Block(nn.Module):
    """Pre-norm self-attention and feed-forward: ([N, L, width], mask [N, L]) -> [N, L, width]."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        count, length, width = x.shape
        asked, keys, values = (
            part.reshape(count, length, self.heads, self.size).transpose(1, 2)
            for part in self.attend(self.before(x)).split(width, dim=-1)
        )
        fit = asked @ keys.transpose(-1, -2) / self.size**0.5 + _MASKED * (1 - mask[:, None, None, :])
        seen = (torch.softmax(fit, dim=-1) @ values).transpose(1, 2).reshape(count, length, width)
        x = x + self.dropout(self.join(seen))
        out: Tensor = x + self.dropout(self.narrow(gelu(self.widen(self.between(x)))))
        return out


class Reranker(nn.Module):
    """Scores of C candidates for each of B queries of at most Q vectors, all FP32 but the kinds.

    (query [B, Q, 1024], query_kind INT64 [B, Q] by `KINDS`, query_weight [B, Q] signed,
    rows [B, C, 4, 1024] by `ROWS`, zeros where there is none, evidence [B, C, Q, 4] in 0..1,
    fused [B, C] in 0..1) -> score [B, C], a probability.
    """

    scale: Tensor
    bias: Tensor

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        width = shape.width
        self.project = nn.Linear(EMBEDDING_DIM, width)
        self.kind = nn.Embedding(len(KINDS), width)
        self.row_kind = nn.Parameter(torch.randn(len(ROWS), width) * 0.1)
        self.summary = nn.Parameter(torch.randn(width) * 0.1)
        self.weight = nn.Linear(1, width, bias=False)
        self.found = nn.Linear(2, width)
        self.layers = nn.ModuleList(
            Block(width, shape.heads, shape.hidden, dropout) for _ in range(shape.layers)
        )
        self.among = Block(width, shape.heads, shape.hidden, dropout)
        self.pairs = nn.Parameter(torch.zeros(len(KINDS), len(ROWS), width))
        self.last = nn.LayerNorm(width)
        self.whole = nn.Linear(width, 1)
        self.features = nn.Sequential(nn.Linear(FEATURES, 32), nn.GELU(), nn.Linear(32, 1))
        self.plain = nn.Linear(FEATURES, 1)
        self.trust = nn.Parameter(torch.ones(()))
        for layer in (self.whole, self.plain, self.features[2]):
            assert isinstance(layer, nn.Linear)
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("bias", torch.zeros(()))

    def forward(
        self,
        query: Tensor,
        query_kind: Tensor,
        query_weight: Tensor,
        rows: Tensor,
        evidence: Tensor,
        fused: Tensor,
    ) -> Tensor:
        logit = self.logit(query, query_kind, query_weight, rows, evidence, fused)
        return torch.sigmoid(self.scale * logit + self.bias)

    def logit(
        self,
        query: Tensor,
        query_kind: Tensor,
        query_weight: Tensor,
        rows: Tensor,
        evidence: Tensor,
        fused: Tensor,
    ) -> Tensor:
        """Before calibration: [B, C]."""
        asked = (query_kind > 0).float()
        present = (rows.abs().sum(dim=-1) > 0).float()
        listed = present.amax(dim=-1)
        liked = asked * (query_weight > 0).float()
        for_it = (evidence * liked[:, None, :, None]).amax(dim=2)
        against = (evidence * (asked - liked)[:, None, :, None]).amax(dim=2)
        tokens, mask = self._tokens(query, query_kind, query_weight, rows, asked, present, for_it, against)
        batch, count, length, width = tokens.shape
        tokens, flat = tokens.reshape(-1, length, width), mask.reshape(-1, length)
        for layer in self.layers:
            tokens = layer(tokens, flat)
        tokens = tokens.reshape(batch, count, length, width)
        whole = self.last(self.among(tokens[:, :, 0], listed))
        size = len(ROWS)
        parts, found = tokens[:, :, 1:-size], tokens[:, :, -size:]
        # [B, C, Q, 4]: one head for every kind of part and modality of row
        headed = parts[:, :, :, None] * self.pairs[query_kind][:, None]
        pair = (headed * found[:, :, None]).sum(dim=-1) / width**0.5
        share = query_weight / query_weight.abs().sum(dim=1, keepdim=True).clamp(min=1e-6) * asked
        spoken = (pair * present[:, :, None]).sum(dim=-1) * share[:, None]
        total: Tensor = spoken.sum(dim=-1) + self.whole(whole).squeeze(-1)
        if not self.shape.scores:
            return total
        odds = torch.logit(fused, _ODDS_FLOOR)
        features = self._features(
            query, query_kind, query_weight, rows, present, listed, liked, for_it, against, odds
        )
        learned = self.plain(features) + self.features(features)
        logit: Tensor = self.trust * odds + total + learned.squeeze(-1)
        return logit

    def _tokens(
        self,
        query: Tensor,
        query_kind: Tensor,
        query_weight: Tensor,
        rows: Tensor,
        asked: Tensor,
        present: Tensor,
        for_it: Tensor,
        against: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """(summary, parts, rows) of every candidate [B, C, 1 + Q + 4, width], and which of them count."""
        batch, count = rows.shape[:2]
        parts = self.project(query) + self.kind(query_kind) + self.weight(query_weight.unsqueeze(-1))
        found = self.project(rows) + self.row_kind
        if self.shape.scores:
            found = found + self.found(torch.stack([for_it, against], dim=-1))
        summary = self.summary.expand(batch, count, 1, -1)
        tokens = torch.cat([summary, parts[:, None].expand(-1, count, -1, -1), found], dim=2)
        ones = torch.ones_like(present[:, :, :1])
        return tokens, torch.cat([ones, asked[:, None].expand(-1, count, -1), present], dim=2)

    def _features(
        self,
        query: Tensor,
        query_kind: Tensor,
        query_weight: Tensor,
        rows: Tensor,
        present: Tensor,
        listed: Tensor,
        liked: Tensor,
        for_it: Tensor,
        against: Tensor,
        odds: Tensor,
    ) -> Tensor:
        """[B, C, FEATURES], each of the order of 1."""
        batch, count = odds.shape
        cosine = torch.einsum("bqd,bcmd->bcqm", query, rows)
        nearest = (cosine * liked[:, None, :, None]).amax(dim=2)
        # early fusion: one vector a query and an item, rows concatenated
        summed = (cosine * query_weight[:, None, :, None]).sum(dim=(2, 3))
        early = 4 * summed / present.sum(dim=2).clamp(min=1).sqrt()
        ahead = early - (early + _MASKED * (1 - listed)).amax(dim=1, keepdim=True)
        kinds = (torch.nn.functional.one_hot(query_kind, len(KINDS)) * liked.unsqueeze(-1)).amax(dim=1)
        best = (odds + _MASKED * (1 - listed)).amax(dim=1, keepdim=True)
        return torch.cat(
            [
                torch.logit(for_it, _EVIDENCE_FLOOR) / 4,
                against,
                4 * nearest,
                present,
                kinds[:, None].expand(batch, count, -1),
                (odds / 4).unsqueeze(-1),
                ((odds - best) / 4).unsqueeze(-1),
                early.unsqueeze(-1),
                ahead.unsqueeze(-1),
                *_likeness(rows, present, listed, odds),
            ],
            dim=-1,
        )


def _likeness(rows: Tensor, present: Tensor, listed: Tensor, odds: Tensor) -> list[Tensor]:
    """How like a candidate is to the others, as far as fusion believes in those: on the mean, and to one."""
    belief = torch.softmax(odds + _MASKED * (1 - listed), dim=1)[:, None, :]
    place = torch.cumsum(torch.ones_like(odds), dim=1)
    other = (place[:, :, None] != place[:, None, :]).float()
    out = []
    for row in _LIKE:
        vectors, there = rows[:, :, row], present[:, :, row]
        like = vectors @ vectors.transpose(1, 2)
        among = other * there[:, None, :] * there[:, :, None]
        mean = (like * among * belief).sum(dim=2) / (among * belief).sum(dim=2).clamp(min=1e-6)
        # the power leaves near-twins only
        twin = (torch.relu(like) ** 8 * among * torch.sigmoid(odds)[:, None, :]).amax(dim=2)
        out += [mean.unsqueeze(-1), twin.unsqueeze(-1)]
    return out


def load_reranker(path: Path) -> tuple[Reranker, dict[str, object]]:
    """A trained re-ranker in eval mode, and what its training said of it.

    Tensors may be FP16; the safetensors metadata holds `shape` and `about` as JSON.

    Raises:
        WeightsError: the file is missing, damaged, or of another architecture.
    """
    try:
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        model = Reranker(Shape(**json.loads(said["shape"])))
        model.load_state_dict(state)
        about: dict[str, object] = json.loads(said["about"])
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(f"{path}: {error}; run `make rerank`, or restore the file from git") from error
    except (RuntimeError, TypeError) as error:  # load_state_dict on shapes and names, Shape on arguments
        raise WeightsError(f"{path} does not fit the re-ranker: {error}") from error
    return model.eval().requires_grad_(False), about
