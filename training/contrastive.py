"""The learned block: symmetric InfoNCE (van den Oord et al. 2018; CLIP, Radford et al. 2021,
arXiv:2103.00020).

A residual on the semantic block, as in CLIP-Adapter (Gao et al. 2021, arXiv:2110.04544). It starts at zero
and is held near it, because some hundred catalogue pairs are soon learned by heart. Pairs of one meaning in
a batch are no negatives of each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cross_entropy, dropout, normalize

from export.adapters import ImageHead, TextHead
from training.alignment import Pairs

__all__ = ["Curve", "Schedule", "fit_learned"]


@dataclass(frozen=True)
class Schedule:
    """How long and how hard, chosen by cross-validation. There is no stopping on the validation split alone:
    the noise of its 131 queries (0.03 either way) is larger than what the residual adds, so it would stop at
    once."""

    steps: int = 80
    check_every: int = 10
    batch: int = 384
    catalogue_share: float = 0.5
    rate: float = 1e-5
    temperature: float = 0.07
    dropout: float = 0.6
    anchor: float = 10.0
    seed: int = 0


Curve = list[tuple[int, float | None, float]]
"""(step, training loss or None before the first step, validation figure), for the plot and the metrics
file."""


def fit_learned(
    text: TextHead,
    image: ImageHead,
    catalogue: Pairs,
    others: Pairs,
    views: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
    figure: Callable[[], float] | None,
    schedule: Schedule,
) -> Curve:
    """Train `text.learned` and `image.learned` in place.

    Args:
        text, image: heads from `fit_heads`.
        catalogue: pairs of the catalogue's train split; `others`: pairs from elsewhere, possibly none.
        views: features [n, views, 1280] and logits [n, views, 1000] of the catalogue pairs' augmented
            pictures.
        figure: validation figure of the heads as they are, for the curve; none, no curve.
    """
    torch.manual_seed(schedule.seed)
    rng = np.random.default_rng(schedule.seed)
    own_count, other_count = len(catalogue.meaning), len(others.meaning)
    with torch.no_grad():
        semantic, seen = _read(image, *views)
        foreign_semantic, foreign_seen = _read(image, others.features[:, None], others.logits[:, None])
    texts = torch.from_numpy(np.concatenate([catalogue.text, others.text]))
    weight = torch.from_numpy(np.concatenate([catalogue.weight, others.weight]))
    names: dict[str, int] = {}
    meaning = torch.tensor(
        [names.setdefault(name, len(names)) for name in catalogue.meaning + others.meaning]
    )
    trained = {**_named(text, "text"), **_named(image, "image")}
    start = {name: value.detach().clone() for name, value in trained.items()}
    optimiser = torch.optim.Adam(trained.values(), lr=schedule.rate)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, schedule.steps)
    own = min(own_count, int(schedule.batch * schedule.catalogue_share))
    other = min(other_count, schedule.batch - own)

    curve: Curve = [(0, None, figure())] if figure else []
    for step in range(1, schedule.steps + 1):
        near = torch.from_numpy(rng.choice(own_count, own, replace=False))
        view = torch.from_numpy(rng.integers(0, seen.shape[1], own))
        far = torch.from_numpy(rng.choice(max(other_count, 1), other, replace=False))
        rows = torch.cat([near, own_count + far])
        pictures = torch.cat([seen[near, view], foreign_seen[far, 0]]) - image.learned.mean
        named = torch.cat([semantic[near, view], foreign_semantic[far, 0]])
        residual = image.learned(dropout(pictures, schedule.dropout) + image.learned.mean)
        a = normalize(named + residual, dim=1)
        b = normalize(texts[rows] + text.learned(dropout(texts[rows], schedule.dropout)), dim=1)
        loss = _info_nce(a @ b.T / schedule.temperature, meaning[rows], weight[rows])
        drift = sum(((value - start[name]) ** 2).sum() for name, value in trained.items())
        optimiser.zero_grad()
        torch.autograd.backward(loss + schedule.anchor * drift / 384)
        optimiser.step()
        decay.step()
        if figure and step % schedule.check_every == 0:
            curve.append((step, float(loss.detach()), figure()))
    return curve


def _info_nce(scores: torch.Tensor, meaning: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    same = meaning[:, None] == meaning[None, :]
    diagonal = torch.eye(len(meaning), dtype=torch.bool)
    scores = scores.masked_fill(same & ~diagonal, -1e4)
    target = torch.arange(len(meaning))
    both = cross_entropy(scores, target, reduction="none") + cross_entropy(scores.T, target, reduction="none")
    return (both * weight).sum() / weight.sum() / 2


def _read(
    image: ImageHead, features: npt.NDArray[np.float32], logits: npt.NDArray[np.float32]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Semantic block [n, views, 384] and what the maps read [n, views, 1664]."""
    flat = torch.from_numpy(features).flatten(0, 1), torch.from_numpy(logits).flatten(0, 1)
    semantic, seen = image.semantic(*flat)
    return (
        semantic.reshape(*features.shape[:2], semantic.shape[1]),
        seen.reshape(*features.shape[:2], seen.shape[1]),
    )


def _named(head: TextHead | ImageHead, name: str) -> dict[str, torch.nn.Parameter]:
    return {f"{name}.{key}": value for key, value in head.learned.named_parameters()}
