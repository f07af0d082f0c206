"""The learned block: a residual on the semantic block, as in CLIP-Adapter (Gao et al. 2021,
arXiv:2110.04544).

It starts at zero and is held near it, because some hundred catalogue pairs are soon learned by heart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import dropout, normalize

from export.adapters import IMAGE_DIM, ImageHead, Projection, TextHead
from training.alignment import Pairs
from training.hard_negatives import cluster, draw
from training.objective import Objective, drop_modalities

__all__ = ["Curve", "Schedule", "fit_learned"]


@dataclass(frozen=True)
class Schedule:
    """How long and how hard. There is no stopping on the validation split alone: the noise of its 131 queries
    (0.03 either way) is larger than what the residual adds, so it would stop at once. The number of steps is
    chosen by cross-validation.

    `hidden` is the width of the residuals' inner layers (0: linear), `views` how many augmented views of a
    catalogue picture are seen, `clusters` the k-means clusters that batches are drawn from, refreshed each
    epoch (0: drawn evenly), `confidence` whether a pair counts by what the classifier is sure of. The others
    stand in `Objective` and `drop_modalities`.
    """

    steps: int = 80
    check_every: int = 10
    batch: int = 384
    catalogue_share: float = 0.5
    rate: float = 1e-5
    temperature: float = 0.07
    dropout: float = 0.6
    anchor: float = 10.0
    hidden: int = 0
    views: int = 3
    learn_temperature: bool = False
    modality_dropout: float = 0.0
    clusters: int = 0
    uncertainty: bool = False
    confidence: bool = False
    seed: int = 0


SCALARS_RATE = 1e-2
"""Of temperature and uncertainties, which have some steps only."""
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
    for head in (text, image):
        _start(head, schedule.hidden)
    items = _Items(image, catalogue, others, views, schedule)
    objective = Objective(schedule.temperature, schedule.learn_temperature, schedule.uncertainty)
    trained = [*text.learned.parameters(), *image.learned.parameters()]
    start = [value.detach().clone() for value in trained]
    scalars = [value for value in objective.parameters() if value.requires_grad]
    groups: list[dict[str, Any]] = [{"params": trained}, {"params": scalars, "lr": SCALARS_RATE}]
    optimiser = torch.optim.Adam(groups, lr=schedule.rate)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, schedule.steps)
    epoch = max(1, items.count // schedule.batch)

    curve: Curve = [(0, None, figure())] if figure else []
    for step in range(1, schedule.steps + 1):
        if schedule.clusters and step % epoch == 1 % epoch:
            items.refresh(text, image, schedule.clusters, schedule.seed + step)
        rows = items.draw(rng)
        seen, named, texts = items.read(rows, rng)
        residual = image.learned(dropout(seen - image.learned.mean, schedule.dropout) + image.learned.mean)
        a = normalize(named + residual, dim=1)
        b = normalize(texts + text.learned(dropout(texts, schedule.dropout)), dim=1)
        loss = objective(a, b, items.meaning[rows], items.weight[rows], (rows >= items.own).long())
        drift = sum(((value - old) ** 2).sum() for value, old in zip(trained, start, strict=True))
        optimiser.zero_grad()
        torch.autograd.backward(loss + schedule.anchor * drift / 384)
        optimiser.step()
        objective.clamp()
        decay.step()
        if figure and step % schedule.check_every == 0:
            curve.append((step, float(loss.detach()), figure()))
    return curve


def _start(head: TextHead | ImageHead, hidden: int) -> None:
    """A residual that is zero, with an inner layer of `hidden` or none; it reads what it has read."""
    old = head.learned
    new = Projection(len(old.mean), old.outer.out_features, hidden)
    new.mean.copy_(old.mean)
    new.scale.copy_(old.scale)
    nn.init.zeros_(new.outer.weight)
    nn.init.zeros_(new.outer.bias)
    head.learned, head.hidden = new, hidden


class _Items:
    """What batches are made of: the catalogue's pairs first, then the others."""

    def __init__(
        self,
        image: ImageHead,
        catalogue: Pairs,
        others: Pairs,
        views: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
        schedule: Schedule,
    ) -> None:
        self._image, self._schedule = image, schedule
        self.own = len(catalogue.meaning)
        self.count = self.own + len(others.meaning)
        own = min(self.own, int(schedule.batch * schedule.catalogue_share))
        self._sizes = own, min(len(others.meaning), schedule.batch - own)
        features, logits = (array[:, : schedule.views] for array in views)
        with torch.no_grad():
            near = _read(image, features, logits)
            far = _read(image, others.features[:, None], others.logits[:, None])
        # pictures from elsewhere are seen in one view only
        many = near[0].shape[1]
        self._named, self._seen = (
            torch.cat([here, there.expand(-1, many, -1)]) for here, there in zip(near, far, strict=True)
        )
        self._texts = torch.from_numpy(np.concatenate([catalogue.text, others.text]))
        self._parts = torch.from_numpy(np.concatenate([catalogue.split_text(), others.split_text()]))
        weight = torch.from_numpy(np.concatenate([catalogue.weight, others.weight]))
        if schedule.confidence:
            sure = torch.from_numpy(np.concatenate([catalogue.logits, others.logits])) - image.prior
            sure = torch.softmax(sure / image.temperature, dim=1).amax(dim=1)
            weight = weight * sure / sure.mean()
        self.weight = weight
        names: dict[str, int] = {}
        meanings = catalogue.meaning + others.meaning
        self.meaning = torch.tensor([names.setdefault(name, len(names)) for name in meanings])
        self._clusters: npt.NDArray[np.intp] | None = None

    def refresh(self, text: TextHead, image: ImageHead, count: int, seed: int) -> None:
        """New clusters, of picture and text together as they are embedded now."""
        with torch.no_grad():
            a = normalize(self._named[:, 0] + image.learned(self._seen[:, 0]), dim=1)
            b = normalize(self._texts + text.learned(self._texts), dim=1)
        self._clusters = cluster(normalize(a + b, dim=1).numpy(), count, seed)

    def draw(self, rng: np.random.Generator) -> torch.Tensor:
        if self._clusters is not None:
            return torch.from_numpy(draw(self._clusters, self.own, self._sizes, rng))
        own, other = self._sizes
        near = rng.choice(self.own, own, replace=False)
        far = rng.choice(max(self.count - self.own, 1), other, replace=False)
        return torch.from_numpy(np.concatenate([near, self.own + far]))

    def read(
        self, rows: torch.Tensor, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the picture's residual reads, what it is added to, and the text, of one view of each row."""
        view = torch.from_numpy(rng.integers(0, self._seen.shape[1], len(rows)))
        seen, named, texts = self._seen[rows, view], self._named[rows, view], self._texts[rows]
        if not self._schedule.modality_dropout:
            return seen, named, texts
        parts = self._parts[rows]
        present = torch.ones(len(rows), 4, dtype=torch.bool)
        present[:, 2:] = parts.any(dim=2)
        kept = drop_modalities(present, self._schedule.modality_dropout)
        # an input that is dropped stands at its mean, and its part of the semantic block is left out
        mask = kept[:, :2].float().repeat_interleave(torch.tensor([IMAGE_DIM, seen.shape[1] - IMAGE_DIM]), 1)
        image = self._image
        seen = image.learned.mean + (seen - image.learned.mean) * mask
        with torch.no_grad():
            words = normalize(seen[:, IMAGE_DIM:] - image.words_mean, dim=1) * kept[:, 1:2]
            mapped = normalize(image.semantic_map(seen), dim=1)
            share = torch.where(kept[:, :2].all(dim=1), image.mix, kept[:, 0].float())[:, None]
            named = normalize((1 - share) * words + share * mapped, dim=1)
        return seen, named, normalize((parts * kept[:, 2:, None]).sum(dim=1), dim=1)


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
