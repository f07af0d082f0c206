"""How probably a place is looked at, from the log alone.

The position-based model says: click = looked at (by the place) and attractive (by the item). Both are
unknown; expectation-maximisation finds them, with a logistic regression for the attraction, so that an item
that stood in one place only says something too (Wang, Golbandi, Bendersky, Metzler and Najork, "Position bias
estimation for unbiased learning to rank in personal search", WSDM 2018). Only answers with a click are used:
of the others it is not known that anybody looked at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from training.feedback_log import Answer, Floats

__all__ = ["PLACES", "estimate_examination"]

PLACES = 10
ROUNDS = 100
FLOOR = 0.02
SMOOTHING = 5.0
"""Pseudo-looks per place, towards 1 / place (eta 1 of Joachims et al. 2017): few clicks say little."""


def estimate_examination(answers: Sequence[Answer], seed: int = 0) -> Floats:
    """Probability of a look per place 1..PLACES, relative to the first, never rising, at least FLOOR.

    Raises:
        ValueError: no answer has a click.
    """
    with_clicks = [answer for answer in answers if answer.clicked.any()]
    if not with_clicks:
        raise ValueError("no clicks to learn from")
    torch.manual_seed(seed)
    place = np.concatenate([np.minimum(answer.position, PLACES) - 1 for answer in with_clicks])
    clicked = np.concatenate([answer.clicked for answer in with_clicks]).astype(np.float64)
    inputs = np.concatenate(
        [np.column_stack([answer.base, answer.features, answer.pairs]) for answer in with_clicks]
    )
    spread = inputs.std(axis=0)
    inputs = (inputs - inputs.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)
    x = torch.from_numpy(np.column_stack([inputs, np.ones(len(inputs))]))
    weights = torch.zeros(x.shape[1], dtype=torch.float64)
    prior = 1.0 / np.arange(1, PLACES + 1)
    looks = prior.copy()
    attraction = np.full(len(place), min(0.5, max(clicked.mean(), 1e-3)))
    count = np.bincount(place, minlength=PLACES)
    for _ in range(ROUNDS):
        # E: of what was not clicked, how probably it was looked at, and how probably it attracts.
        look = looks[place]
        missed = 1 - look * attraction
        looked = clicked + (1 - clicked) * look * (1 - attraction) / missed
        attracted = clicked + (1 - clicked) * attraction * (1 - look) / missed
        # M
        total = np.bincount(place, weights=looked, minlength=PLACES)
        looks = np.clip((total + SMOOTHING * prior) / (count + SMOOTHING), FLOOR, 1.0)
        weights = _logistic(x, torch.from_numpy(attracted), weights)
        attraction = np.clip(torch.sigmoid(x @ weights).numpy(), 1e-4, 1 - 1e-4)
    relative = np.minimum.accumulate(looks / looks[0])
    examination: Floats = np.maximum(relative, FLOOR)
    return examination


def _logistic(x: torch.Tensor, target: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Weights of a logistic regression on soft targets, with a weak normal prior."""
    weights = start.clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS([weights], max_iter=5, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        fit = torch.nn.functional.binary_cross_entropy_with_logits(x @ weights, target, reduction="sum")
        value = fit + weights.square().sum() / 2
        torch.autograd.backward(value)
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach()
