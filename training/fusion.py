"""Late fusion: how much each pair's evidence counts for a query of one modality, by maximum a posteriori.

    log-odds = bias + sum over pairs of trust * weight * log(1 + exp(l - floor)),    weight >= 0

with l the calibrated log-odds of a pair that found the item; one that did not adds nothing, as one far below
its floor does. It is logistic regression (Platt, 1999, for one pair) on evidence that begins to count at a
learned floor: rising in every pair, and a probability again. `orchestrator/evidence.py` serves the same
formula. A pair with little data stays near its prior: half the weight of independent evidence, from a floor
near the odds of any candidate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["LOG_ODDS", "Examples", "Weights", "error", "fit", "log_odds", "noisy_or"]

LOG_ODDS = (-60.0, 15.0)
"""As `orchestrator/evidence.py` bounds them."""
PRIOR_WEIGHT, PRIOR_WEIGHT_SPREAD = 0.5, 1.0
PRIOR_FLOOR, PRIOR_FLOOR_SPREAD = -5.0, 1.5
MIN_WEIGHT = 1e-4
"""A weight below it is 0: the pair says nothing."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Examples:
    """Candidates of queries of one modality.

    `odds` [n, pairs] are calibrated log-odds, NaN where a pair did not find the item; `trust` [n, pairs] is
    0..1; `relevant` [n]; `query` [n] is which query each belongs to.
    """

    pairs: tuple[str, ...]
    odds: Floats
    trust: Floats
    relevant: npt.NDArray[np.bool_]
    query: npt.NDArray[np.int32]

    def take(self, rows: npt.NDArray[np.bool_]) -> Examples:
        return Examples(self.pairs, self.odds[rows], self.trust[rows], self.relevant[rows], self.query[rows])


@dataclass(frozen=True)
class Weights:
    """`bias`, and `weight` and `floor` by pair."""

    bias: float
    weight: Mapping[str, float]
    floor: Mapping[str, float]

    def __call__(self, examples: Examples) -> Floats:
        """Probabilities [n]."""
        weight = np.array([self.weight[pair] for pair in examples.pairs])
        floor = np.array([self.floor[pair] for pair in examples.pairs])
        odds = np.where(np.isnan(examples.odds), -np.inf, examples.odds)
        counted = (np.nan_to_num(examples.trust) * np.logaddexp(0, odds - floor)) @ weight
        p: Floats = 1 / (1 + np.exp(-(self.bias + counted)))
        return p


def log_odds(probability: npt.NDArray[np.floating]) -> Floats:
    """Of calibrated scores; NaN stays."""
    p = probability.astype(np.float64)
    with np.errstate(divide="ignore"):
        odds: Floats = np.clip(np.log(p) - np.log1p(-p), *LOG_ODDS)
    return odds


def fit(examples: Examples) -> Weights:
    """The most probable weights.

    Raises:
        ValueError: there is no relevant or no irrelevant example.
    """
    positive, count = int(examples.relevant.sum()), len(examples.relevant)
    if not 0 < positive < count:
        raise ValueError("fusion needs relevant and irrelevant examples")
    size = len(examples.pairs)
    odds = torch.from_numpy(np.nan_to_num(examples.odds))
    trust = torch.from_numpy(np.where(np.isnan(examples.odds), 0.0, examples.trust))
    target = torch.from_numpy(examples.relevant).double()
    log_weight = torch.full((size,), math.log(PRIOR_WEIGHT), dtype=torch.float64, requires_grad=True)
    floor = torch.full((size,), PRIOR_FLOOR, dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(math.log(positive / (count - positive)), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [log_weight, floor, bias], max_iter=200, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        counted = (trust * torch.nn.functional.softplus(odds - floor)) @ log_weight.exp()
        value = torch.nn.functional.binary_cross_entropy_with_logits(bias + counted, target, reduction="sum")
        value = value + (((log_weight - math.log(PRIOR_WEIGHT)) / PRIOR_WEIGHT_SPREAD) ** 2).sum() / 2
        value = value + (((floor - PRIOR_FLOOR) / PRIOR_FLOOR_SPREAD) ** 2).sum() / 2
        torch.autograd.backward(value)
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    weight = log_weight.detach().exp().numpy()
    return Weights(
        float(bias.detach()),
        {pair: float(w) if w >= MIN_WEIGHT else 0.0 for pair, w in zip(examples.pairs, weight, strict=True)},
        dict(zip(examples.pairs, map(float, floor.detach().numpy()), strict=True)),
    )


def noisy_or(examples: Examples) -> Floats:
    """The fusion without weights, for comparison: probabilities [n] as `orchestrator/fusion.py` has them."""
    evidence = np.nan_to_num(examples.trust / (1 + np.exp(-np.nan_to_num(examples.odds))))
    doubt = np.ones(len(examples.relevant))
    for own in _sources(examples.pairs):
        doubt *= 1 - evidence[:, own].max(axis=1)
    return 1 - doubt


def _sources(pairs: Sequence[str]) -> list[list[int]]:
    """Columns that look at the same rows: a pair and its native space."""
    sources: dict[str, list[int]] = {}
    for column, pair in enumerate(pairs):
        sources.setdefault(pair.removesuffix("/native"), []).append(column)
    return list(sources.values())


def error(p: Floats, relevant: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error over bins of equal width (Guo et al. 2017, arXiv:1706.04599)."""
    place = np.minimum((p * bins).astype(int), bins - 1)
    total = 0.0
    for number in range(bins):
        inside = place == number
        if inside.any():
            total += abs(float(p[inside].mean()) - float(relevant[inside].mean())) * float(inside.mean())
    return total
