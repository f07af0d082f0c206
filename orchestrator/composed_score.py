"""What nearness to a composed vector says for an item: the learned weights of ``embedding.json``.

    log-odds = bias + sum over modalities of weight * log(1 + exp(scale * cosine - offset))

The same form as the learned fusion of a part's evidence (``evidence.py``): a modality that an item does not
have adds nothing. The result is mixed with the fused score in log-odds; the share was chosen on validation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.types import Modality

__all__ = ["ComposedScore", "RowScore"]

_MAX_ODDS, _MIN_ODDS = 15.0, -60.0


@dataclass(frozen=True, slots=True)
class RowScore:
    """What a cosine with rows of one modality counts for. ``weight`` is at least 0, ``scale`` above."""

    weight: float
    scale: float
    offset: float

    def count(self, cosine: float) -> float:
        """What it adds to the log-odds, at least 0."""
        return self.weight * _softplus(self.scale * cosine - self.offset)


@dataclass(frozen=True, slots=True)
class ComposedScore:
    """Of one kind of query. ``default``: whether it is composed unless it says otherwise; ``share`` (0..1) is
    that of the composed score beside the fused one."""

    default: bool
    share: float
    bias: float
    rows: Mapping[Modality, RowScore]

    def mixed(self, cosines: Mapping[Modality, float], fused: float) -> float:
        """The probability, 0..1, of an item with these cosines and this fused score."""
        counts = (self.rows[row].count(cosine) for row, cosine in cosines.items() if row in self.rows)
        odds = self.share * (self.bias + sum(counts)) + (1.0 - self.share) * _log_odds(fused)
        return 1.0 / (1.0 + math.exp(-min(max(odds, _MIN_ODDS), _MAX_ODDS)))


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _log_odds(probability: float) -> float:
    if probability <= 0.0:
        return _MIN_ODDS
    if probability >= 1.0:
        return _MAX_ODDS
    return min(max(math.log(probability) - math.log1p(-probability), _MIN_ODDS), _MAX_ODDS)
