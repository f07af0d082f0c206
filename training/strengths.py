"""How much each part of a profile, and each pair of modalities, should count: fitted to clicks.

Every liked item against every item of the same answer that was not clicked, by logistic loss (RankNet: Burges
et al. 2005), weighted by the inverse of the probability that the liked one's place is looked at
(propensity-weighted ranking: Joachims, Swaminathan and Schnabel, WSDM 2017). The scores go through the same
bound as on the server. A normal prior holds the logarithms of the strengths, and the pairs' weights, near
what is in force: few clicks move little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from training.feedback_log import FEATURES, Answer, Floats

__all__ = ["Weights", "fit_weights", "likings", "scores"]

MAX_INVERSE = 10.0
"""Inverse propensities above it are clipped: a little bias for much less variance."""
CAP = 1.0
"""The server's bound in log-odds (SENSORIUM_PERSONALISE__MAX_LOG_ODDS)."""
LEAST = 0.01
FEATURE_SPREAD, PAIR_SPREAD = 1.0, 0.3
PRIOR_WEIGHT = 20.0


@dataclass(frozen=True)
class Weights:
    """Log-odds per unit: `features` by the names of FEATURES, at least 0; `pairs` per share of evidence."""

    features: Mapping[str, float]
    pairs: Mapping[str, float]


def likings(answer: Answer, examination: Floats) -> Floats:
    """float64 [n]: of what was liked, the clipped inverse of the probability of a look; else 0."""
    place = np.minimum(answer.position, len(examination)) - 1
    inverse: Floats = np.minimum(1 / examination[place], MAX_INVERSE) * answer.liked
    return inverse


def scores(answer: Answer, weights: Weights, names: Sequence[str], cap: float = CAP) -> Floats:
    """float64 [n] log-odds of an answer's items under `weights`, as the server would have it."""
    pull = answer.features @ np.array([weights.features[name] for name in FEATURES])
    pull = pull + answer.pairs @ np.array([weights.pairs.get(name, 0.0) for name in names])
    moved: Floats = answer.base + cap * np.tanh(pull / cap)
    return moved


def fit_weights(
    answers: Sequence[Answer], names: Sequence[str], examination: Floats, start: Weights, cap: float = CAP
) -> Weights:
    """The most probable weights a posteriori, by L-BFGS.

    Raises:
        ValueError: nothing in `answers` was liked.
    """
    useful = [answer for answer in answers if answer.liked.any() and not answer.clicked.all()]
    if not useful:
        raise ValueError("nothing was liked, so there is nothing to learn")
    first, second, weight = _pairs(useful, examination)
    columns = ("base", "features", "pairs")
    stacked = {name: torch.from_numpy(np.concatenate([getattr(a, name) for a in useful])) for name in columns}
    before = torch.tensor([max(start.features[name], LEAST) for name in FEATURES], dtype=torch.float64).log()
    pairs_before = torch.tensor([start.pairs.get(name, 0.0) for name in names], dtype=torch.float64)
    logs = before.clone().requires_grad_(True)
    pairs = pairs_before.clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS([logs, pairs], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        pull = stacked["features"] @ logs.exp() + stacked["pairs"] @ pairs
        score = stacked["base"] + cap * torch.tanh(pull / cap)
        fit = (weight * torch.nn.functional.softplus(score[second] - score[first])).sum()
        prior = ((logs - before) / FEATURE_SPREAD).square().sum()
        prior = prior + ((pairs - pairs_before) / PAIR_SPREAD).square().sum()
        value = fit + PRIOR_WEIGHT * prior / 2
        torch.autograd.backward(value)
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    learned = logs.detach().exp().tolist()
    return Weights(
        {name: float(value) for name, value in zip(FEATURES, learned, strict=True)},
        {name: float(value) for name, value in zip(names, pairs.detach().tolist(), strict=True)},
    )


def _pairs(answers: Sequence[Answer], examination: Floats) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows of liked and of not clicked items, counted over all answers, and the weight of each pair.

    The pairs of one liked item share its weight, so that long answers do not count for more.
    """
    first: list[int] = []
    second: list[int] = []
    weight: list[float] = []
    offset = 0
    for answer in answers:
        inverse = likings(answer, examination)
        others = np.flatnonzero(~answer.clicked)
        for liked in np.flatnonzero(answer.liked):
            first += [offset + int(liked)] * len(others)
            second += (offset + others).tolist()
            weight += [float(inverse[liked]) / len(others)] * len(others)
        offset += len(answer.base)
    return torch.tensor(first), torch.tensor(second), torch.tensor(weight, dtype=torch.float64)
