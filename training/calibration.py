"""Similarity to probability, per (query modality -> item modality): a logistic that can only rise.

Platt's scaling (Platt 1999, with his smoothed targets) on the `DEPTH` nearest candidates of every query,
because those are what fusion compares: p is the probability that a candidate as near as this one is
relevant. The slope's logarithm has a normal prior, which keeps pairs with few or perfectly separated
examples finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

__all__ = [
    "BORROWED_FROM",
    "DEPTH",
    "Examples",
    "Logistic",
    "calibrate",
    "expected_error",
    "fit_logistic",
    "nearest",
]

DEPTH = 100
MIN_RELEVANT = 8
PRIOR_SLOPE, PRIOR_SPREAD = 12.0, 1.0
BORROWED_FROM = {
    "text->video": "text->image",
    "video->text": "image->text",
    "image->video": "image->image",
    "video->image": "image->image",
    "video->video": "image->image",
    "audio->video": "audio->image",
    "video->audio": "image->audio",
    "image->audio": "text->audio",
    "audio->audio": "text->audio",
}
"""Where a pair with fewer than MIN_RELEVANT relevant examples takes its logistic from."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Examples:
    """Candidates: similarity float64 [n] and whether each was relevant, bool [n]."""

    similarity: Floats
    relevant: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Logistic:
    """p = 1 / (1 + exp(-(scale * similarity + bias))), scale > 0."""

    scale: float
    bias: float

    def __call__(self, similarity: Floats) -> Floats:
        out: Floats = 1 / (1 + np.exp(-(self.scale * similarity + self.bias)))
        return out


def nearest(similarity: npt.NDArray[np.floating], relevant: npt.NDArray[np.bool_]) -> Examples:
    """The DEPTH nearest candidates of each query, from [queries, items] of similarities and judgements."""
    depth = min(DEPTH, similarity.shape[1])
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :depth]
    return Examples(
        np.take_along_axis(similarity, order, axis=1).ravel().astype(np.float64),
        np.take_along_axis(relevant, order, axis=1).ravel(),
    )


def fit_logistic(examples: Examples) -> Logistic:
    """Maximum a posteriori by L-BFGS.

    Raises:
        ValueError: there is no relevant or no irrelevant example.
    """
    positive = int(examples.relevant.sum())
    negative = int(examples.relevant.size - positive)
    if not positive or not negative:
        raise ValueError("a logistic needs relevant and irrelevant examples")
    x = torch.from_numpy(examples.similarity)
    high, low = (positive + 1) / (positive + 2), 1 / (negative + 2)
    target = torch.where(torch.from_numpy(examples.relevant), high, low).double()
    centre = float(x.mean())
    log_scale = torch.tensor(math.log(PRIOR_SLOPE), dtype=torch.float64, requires_grad=True)
    offset = torch.tensor(math.log(positive / negative), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_scale, offset], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        logits = log_scale.exp() * (x - centre) + offset
        fit = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
        value = fit + ((log_scale - math.log(PRIOR_SLOPE)) / PRIOR_SPREAD) ** 2 / 2
        torch.autograd.backward(value)
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    scale = float(log_scale.detach().exp())
    return Logistic(scale, float(offset.detach()) - scale * centre)


def expected_error(examples: Examples, logistic: Callable[[Floats], Floats], bins: int = 15) -> float:
    """Expected calibration error over bins of equal width (Guo et al. 2017, arXiv:1706.04599)."""
    p = logistic(examples.similarity)
    place = np.minimum((p * bins).astype(int), bins - 1)
    total = 0.0
    for number in range(bins):
        inside = place == number
        if inside.any():
            total += abs(float(p[inside].mean()) - float(examples.relevant[inside].mean())) * inside.mean()
    return total


def calibrate(examples: Mapping[str, Examples], pairs: Sequence[str]) -> dict[str, tuple[Logistic, str]]:
    """A logistic for every pair, with where it comes from: its own name, or that of the pair it was borrowed
    from.

    Raises:
        ValueError: a pair has too few relevant examples, and so has what it may borrow from.
    """
    fitted = {
        name: fit_logistic(found) for name, found in examples.items() if found.relevant.sum() >= MIN_RELEVANT
    }
    out: dict[str, tuple[Logistic, str]] = {}
    for name in pairs:
        source = name
        while source not in fitted:
            if source not in BORROWED_FROM:
                raise ValueError(
                    f"{name}: fewer than {MIN_RELEVANT} relevant examples and nothing to borrow from"
                )
            source = BORROWED_FROM[source]
        out[name] = fitted[source], source
    return out
