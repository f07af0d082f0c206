"""The learned block: symmetric InfoNCE (van den Oord et al. 2018; CLIP, Radford et al. 2021,
arXiv:2103.00020).

It starts from the ridge map and the identity and is held near them, because some hundred catalogue pairs are
soon learned by heart. Pairs of one meaning in a batch are no negatives of each other.
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
    """How long and how hard. `patience` counts checks without a better validation figure."""

    steps: int = 400
    check_every: int = 20
    patience: int = 5
    batch: int = 384
    catalogue_share: float = 0.5
    rate: float = 3e-4
    temperature: float = 0.07
    dropout: float = 0.3
    anchor: float = 1.0
    seed: int = 0


Curve = list[tuple[int, float, float]]
"""(step, training loss, validation figure), for the plot and the metrics file."""


def fit_learned(
    text: TextHead,
    image: ImageHead,
    catalogue: Pairs,
    others: Pairs,
    views: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
    figure: Callable[[], float],
    schedule: Schedule,
) -> Curve:
    """Train `text.learned` and `image.learned` in place; the best checked state is what stays.

    Args:
        text, image: heads from `fit_heads`.
        catalogue: pairs of the catalogue's train split; `others`: pairs from elsewhere, possibly none.
        views: features [n, views, 1280] and logits [n, views, 1000] of the catalogue pairs' augmented
        pictures. figure: validation figure of the heads as they are; higher is better.
    """
    torch.manual_seed(schedule.seed)
    rng = np.random.default_rng(schedule.seed)
    image.train()
    with torch.no_grad():
        seen = _seen(image, *views)
        foreign = _seen(image, others.features[:, None], others.logits[:, None])[:, 0]
        # the ridge map's outputs are short; InfoNCE steps need outputs of about unit length
        length = image.learned(seen[:, 0]).norm(dim=1).mean()
        image.learned.outer.weight.data /= length
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
    own = min(len(catalogue.meaning), int(schedule.batch * schedule.catalogue_share))
    foreign_rows = min(len(others.meaning), schedule.batch - own)

    best, best_state, waited = figure(), dict(start), 0
    curve: Curve = [(0, float("nan"), best)]
    for step in range(1, schedule.steps + 1):
        near = torch.from_numpy(rng.choice(len(catalogue.meaning), own, replace=False))
        view = torch.from_numpy(rng.integers(0, seen.shape[1], own))
        far = torch.from_numpy(rng.choice(max(len(others.meaning), 1), foreign_rows, replace=False))
        rows = torch.cat([near, len(catalogue.meaning) + far])
        pictures = dropout(torch.cat([seen[near, view], foreign[far]]) - image.learned.mean, schedule.dropout)
        a = normalize(image.learned(pictures + image.learned.mean), dim=1)
        b = normalize(text.learned(texts[rows]), dim=1)
        loss = _info_nce(a @ b.T / schedule.temperature, meaning[rows], weight[rows])
        drift = sum(((value - start[name]) ** 2).sum() for name, value in trained.items())
        optimiser.zero_grad()
        torch.autograd.backward(loss + schedule.anchor * drift / 384)
        optimiser.step()
        decay.step()
        if step % schedule.check_every == 0:
            found = figure()
            curve.append((step, float(loss.detach()), found))
            if found > best:
                best, waited = found, 0
                best_state = {name: value.detach().clone() for name, value in trained.items()}
            elif (waited := waited + 1) >= schedule.patience:
                break
    with torch.no_grad():
        for name, value in trained.items():
            value.copy_(best_state[name])
    image.eval()
    return curve


def _info_nce(scores: torch.Tensor, meaning: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    same = meaning[:, None] == meaning[None, :]
    diagonal = torch.eye(len(meaning), dtype=torch.bool)
    scores = scores.masked_fill(same & ~diagonal, -1e4)
    target = torch.arange(len(meaning))
    both = cross_entropy(scores, target, reduction="none") + cross_entropy(scores.T, target, reduction="none")
    return (both * weight).sum() / weight.sum() / 2


def _seen(
    image: ImageHead, features: npt.NDArray[np.float32], logits: npt.NDArray[np.float32]
) -> torch.Tensor:
    """What the maps read: [n, views, 1280 + 384]."""
    words = image.words(torch.from_numpy(logits).flatten(0, 1)).reshape(
        *logits.shape[:2], image.prototypes.shape[1]
    )
    return torch.cat([torch.from_numpy(features), words], dim=2)


def _named(head: TextHead | ImageHead, name: str) -> dict[str, torch.nn.Parameter]:
    return {f"{name}.{key}": value for key, value in head.learned.named_parameters()}
