"""What the learned block minimises: symmetric InfoNCE, its temperature, its weights, and modality dropout."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

__all__ = ["MODALITIES", "Objective", "drop_modalities"]

MODALITIES = ("picture features", "class words", "description or title", "keywords")
SIDES = (slice(0, 2), slice(2, 4))
TEMPERATURES = (0.01, 0.5)


class Objective(nn.Module):
    """Symmetric InfoNCE (van den Oord et al. 2018, arXiv:1807.03748; CLIP, Radford et al. 2021,
    arXiv:2103.00020) over the pairs of a batch. Pairs of one meaning are no negatives of each other.

    `learn_temperature` makes the logarithm of the scale a parameter, clamped to TEMPERATURES, as in CLIP.
    `uncertainty` learns one log-variance s for each direction and source, and adds exp(-s) loss + s / 2
    (Kendall et al. 2018, arXiv:1705.07115): what is uncertain counts for less.
    """

    def __init__(self, temperature: float, learn_temperature: bool, uncertainty: bool) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learn_temperature)
        self.log_variance = nn.Parameter(torch.zeros(2, 2), requires_grad=uncertainty)

    def temperature(self) -> Tensor:
        low, high = TEMPERATURES
        return torch.exp(-self.log_scale).clamp(low, high)

    def forward(self, a: Tensor, b: Tensor, meaning: Tensor, weight: Tensor, source: Tensor) -> Tensor:
        """a, b [n, d] unit norm; meaning, source (0 the catalogue, 1 others) and weight [n]."""
        scores = a @ b.T / self.temperature()
        same = meaning[:, None] == meaning[None, :]
        scores = scores.masked_fill(same & ~torch.eye(len(meaning), dtype=torch.bool), -1e4)
        target = torch.arange(len(meaning))
        both = torch.stack([cross_entropy(side, target, reduction="none") for side in (scores, scores.T)])
        total = weight.sum()
        if not self.log_variance.requires_grad:
            return (both * weight).sum() / total / 2
        spread = self.log_variance[:, source]
        return ((torch.exp(-spread) * both + spread / 2) * weight).sum() / total / 2

    @torch.no_grad()
    def clamp(self) -> None:
        """Keeps the temperature's parameter where its gradient is not zero; after each step."""
        low, high = TEMPERATURES
        self.log_scale.clamp_(-math.log(high), -math.log(low))


def drop_modalities(present: Tensor, probability: float) -> Tensor:
    """Which of an item's modalities stay for one step: bool [n, 4] in the order of MODALITIES.

    Each that is there is dropped with `probability`, by itself (ModDrop, Neverova et al. 2016,
    arXiv:1501.00102). Where that would leave a picture without input or an item without text, one of that
    side stays, so every item keeps a pair to learn from. Sounds are not among them: their head is fitted
    afterwards, to the texts' finished vectors.
    """
    luck = torch.rand(present.shape).masked_fill(~present, -1.0)
    kept = present & (luck >= probability)
    for side in SIDES:
        best = luck[:, side].argmax(dim=1, keepdim=True)
        kept[:, side] |= torch.zeros_like(kept[:, side]).scatter(1, best, True) & present[:, side]
    return kept
